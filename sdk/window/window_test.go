package window

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestOpen(t *testing.T) {
	for _, test := range []struct {
		window, at string
		open       bool
	}{
		{"", "2026-06-01T12:00:00Z", true},
		{"01:00-04:30", "2026-06-01T01:00:00Z", true},
		{"01:00-04:30", "2026-06-01T04:29:59Z", true},
		{"01:00-04:30", "2026-06-01T04:30:00Z", false},
		{"Mon-Fri 01:00-04:30 Europe/Zurich", "2026-06-01T00:59:00+02:00", false}, // a Monday
		{"Mon-Fri 01:00-04:30 Europe/Zurich", "2026-05-31T23:00:00Z", true},
		{"Mon-Fri 01:00-04:30 Europe/Zurich", "2026-06-06T02:00:00+02:00", false}, // Saturday
		{"fri-mon 01:00-04:30", "2026-06-07T02:00:00Z", true},                     // Sunday
		{"Fri 22:00-02:00", "2026-06-06T01:59:00Z", true},                         // in the night to Saturday
		{"Fri 22:00-02:00", "2026-06-05T01:59:00Z", false},                        // in the night to Friday
		{"Mon 00:00-24:00", "2026-06-01T23:59:59Z", true},
		{"Mon 01:00-02:00; Sat,Sun 00:00-24:00", "2026-06-07T10:00:00Z", true},
		{"Mon 01:00-02:00; Sat,Sun 00:00-24:00", "2026-06-01T02:00:00Z", false},
		// Summer time in Zurich: 02:00 to 03:00 is left out on 2026-03-29 and comes twice on 2026-10-25.
		{"02:15-02:45 Europe/Zurich", "2026-03-29T03:30:00+02:00", false},
		{"02:15-04:00 Europe/Zurich", "2026-03-29T03:00:00+02:00", true},
		{"02:15-02:45 Europe/Zurich", "2026-10-25T02:30:00+02:00", true},
		{"02:15-02:45 Europe/Zurich", "2026-10-25T02:50:00+02:00", false},
		{"02:15-02:45 Europe/Zurich", "2026-10-25T02:30:00+01:00", true},
	} {
		if got := parse(t, test.window).Open(at(t, test.at)); got != test.open {
			t.Errorf("%q at %s: open %v", test.window, test.at, got)
		}
	}
}

func TestNext(t *testing.T) {
	for _, test := range []struct{ window, from, next string }{
		{"", "2026-06-01T12:00:00Z", "2026-06-01T12:00:00Z"},
		{"01:00-04:30", "2026-06-01T12:00:00Z", "2026-06-02T01:00:00Z"},
		{"01:00-04:30", "2026-06-01T02:00:00Z", "2026-06-01T02:00:00Z"},
		{"Mon 01:00-04:30", "2026-06-01T04:30:00Z", "2026-06-08T01:00:00Z"},
		{"Mon 01:00-02:00; Sat 05:00-06:00", "2026-06-01T04:30:00Z", "2026-06-06T05:00:00Z"},
		{"02:15-02:45 Europe/Zurich", "2026-03-28T12:00:00+01:00", "2026-03-30T02:15:00+02:00"}, // not on the 29th
		{"Sun 02:15-02:45 Europe/Zurich", "2026-03-23T12:00:00+01:00", "2026-04-05T02:15:00+02:00"},
		{"02:15-04:00 Europe/Zurich", "2026-03-28T12:00:00+01:00", "2026-03-29T03:00:00+02:00"},
		{"02:15-02:45 Europe/Zurich", "2026-10-25T02:50:00+02:00", "2026-10-25T02:15:00+01:00"}, // a second time
	} {
		next, ok := parse(t, test.window).Next(at(t, test.from))
		if want := at(t, test.next); !ok || !next.Equal(want) {
			t.Errorf("%q after %s: %s, want %s", test.window, test.from, next, want)
		}
	}
}

// TestFits: what does not fit into the rest of a window waits for another one.
func TestFits(t *testing.T) {
	for _, test := range []struct{ window, from, long, fits string }{
		{"01:00-04:30", "2026-06-01T02:00:00Z", "0s", "2026-06-01T02:00:00Z"},
		{"01:00-04:30", "2026-06-01T02:00:30Z", "2h29m30s", "2026-06-01T02:00:30Z"},
		{"01:00-04:30", "2026-06-01T02:00:30Z", "2h29m31s", "2026-06-02T01:00:00Z"},
		{"01:00-04:30", "2026-06-01T02:00:00Z", "3h31m", ""},
		{"Mon 01:00-02:00; Sat 05:00-07:00", "2026-06-01T00:30:00Z", "90m", "2026-06-06T05:00:00Z"},
		{"Mon 23:00-24:00; Tue 00:00-01:00", "2026-06-01T12:00:00Z", "2h", "2026-06-01T23:00:00Z"},
		{"00:00-24:00", "2026-06-01T12:00:00Z", "9999h", "2026-06-01T12:00:00Z"},
		{"01:30-03:30 Europe/Zurich", "2026-03-28T12:00:00+01:00", "2h", "2026-03-30T01:30:00+02:00"}, // an hour is left out
		{"02:15-02:45 Europe/Zurich", "2026-10-25T00:00:00+02:00", "31m", ""},                         // twice, and no longer
		{"01:30-03:30 Europe/Zurich", "2026-10-24T12:00:00+02:00", "3h", "2026-10-25T01:30:00+02:00"}, // an hour comes twice
		{"closed", "2026-06-01T12:00:00Z", "0s", ""},
	} {
		long, err := time.ParseDuration(test.long)
		if err != nil {
			t.Fatal(err)
		}
		fits, ok := parse(t, test.window).Fits(at(t, test.from), long)
		if ok != (test.fits != "") || ok && !fits.Equal(at(t, test.fits)) {
			t.Errorf("%q for %s from %s: %s, %t, want %s", test.window, test.long, test.from, fits, ok, test.fits)
		}
	}
}

func TestErrors(t *testing.T) {
	for window, cause := range map[string]string{
		"at night":                    `"at" is no day`,
		"Mon-Tag 01:00-02:00":         `"Mon-Tag" is no day`,
		"01:00":                       "has no end",
		"1:00-2:00":                   `"1:00" is no time`,
		"25:00-26:00":                 `"25:00" is no time`,
		"00:60-02:00":                 `"00:60" is no time`,
		"01:00-01:00":                 "no time at all",
		"24:00-01:00":                 "no time at all",
		"01:00-02:00 Zurich":          `"Zurich" is no time zone`,
		"01:00-02:00 Local":           `"Local" is no time zone`,
		"01:00-02:00 UTC often":       `"often" is too much`,
		"Mon":                         "there are no times",
		"01:00-02:00;":                "there are no times",
		strings.Repeat("x", 600):      "more than 512",
		strings.Repeat("Mon 1-2;", 9): "is no time",
		strings.Repeat(";", 20):       "more than 16",
	} {
		if _, err := Parse(window); err == nil || !strings.Contains(err.Error(), cause) {
			t.Errorf("%q: %v, want %q", window, err, cause)
		}
	}
}

// Whatever the window and the zone, also around the days on which summer time
// begins or ends: Next is open, nothing is open before it, and what is open
// follows from what the clock on the wall shows.
func TestProperties(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	zones := []string{"", "UTC", "Europe/Zurich", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"}
	for range 300 {
		days := []string{"", "Sun ", "Sat-Mon ", "Tue,Thu "}[random.IntN(4)]
		text := days + clock(random.IntN(24), random.IntN(60)) + "-" + clock(random.IntN(24), random.IntN(60)) + " " + zones[random.IntN(len(zones))]
		w, err := Parse(text)
		if err != nil {
			continue // from and to are the same
		}
		// days around the changes of 2026, in both hemispheres
		begin := at(t, []string{"2026-03-28T00:00:00Z", "2026-10-24T00:00:00Z", "2026-04-04T00:00:00Z", "2026-03-07T00:00:00Z", "2026-10-31T00:00:00Z"}[random.IntN(5)])
		from := begin.Add(time.Duration(random.IntN(48*60)) * time.Minute)
		next, ok := w.Next(from)
		if !ok || !w.Open(next) {
			t.Fatalf("%q after %s: %s, %v, which is not open", text, from, next, ok)
		}
		for m := from; m.Before(next); m = m.Add(time.Minute) {
			if w.Open(m) {
				t.Fatalf("%q after %s: %s, but it is open at %s", text, from, next, m)
			}
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "Mon-Fri 01:00-04:30 Europe/Zurich", "Sat,Sun 00:00-24:00; 23:00-01:00 UTC", "01:00-02:00 ../../etc/passwd", ";;", "sun-sat 24:00-00:00"} {
		f.Add(seed, int64(1774742400))
	}
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		w, err := Parse(text)
		if err != nil {
			return
		}
		from := time.Unix(unix%(1<<33), 0)
		if next, ok := w.Next(from); ok && (!w.Open(next) || next.Before(from)) {
			t.Errorf("%q after %s: %s", text, from, next)
		}
		long := time.Duration(unix%(1<<20)) * time.Second
		if fits, ok := w.Fits(from, long); ok && long > 0 && (fits.Before(from) || !w.Open(fits) || !w.Open(fits.Add(min(long, 7*day*time.Minute)-1))) {
			t.Errorf("%q for %s after %s: %s", text, long, from, fits)
		}
	})
}

func parse(t *testing.T, text string) Window {
	t.Helper()
	w, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
