package manager

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// noon is on a Monday.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

const (
	a = "application/a"
	b = "application/b"
)

// waiting is the record of an update that waits to be admitted.
func waiting(component, version string, requires map[string]string) *engine.Record {
	return &engine.Record{Step: "admit", Waiting: &engine.Wait{For: "something"}, Update: engine.Update{
		ID: "id-" + component, Component: component, Requires: requires, To: engine.Installed{Version: version},
	}}
}

func TestPermit(t *testing.T) {
	terms := func(t engine.Terms) engine.Wishes { return engine.Wishes{Terms: t} }
	night := "01:00-04:00"
	for name, test := range map[string]struct {
		wishes engine.Wishes
		asks   bool
		urgent bool
		away   time.Duration // predicted
		now    time.Time
		wait   string
		until  string
		cause  string
	}{
		"nothing in the way":        {},
		"window closed":             {wishes: terms(engine.Terms{Window: night}), wait: "the maintenance window 01:00-04:00", until: "2026-06-02T01:00:00Z"},
		"window that never opens":   {wishes: terms(engine.Terms{Window: "closed: window cannot be read"}), wait: "the maintenance window closed: window cannot be read"},
		"now, while it never opens": {wishes: terms(engine.Terms{Window: "closed: window cannot be read", Now: "2.0.0"})},
		"window open":               {wishes: terms(engine.Terms{Window: "12:00-13:00"})},
		"window open long enough":   {wishes: terms(engine.Terms{Window: "11:00-13:00"}), away: time.Hour},
		"window that closes too soon": {
			wishes: terms(engine.Terms{Window: "11:00-13:00"}), away: 61 * time.Minute, until: "2026-06-02T11:00:00Z",
			wait: "the maintenance window 11:00-13:00 to be open for the predicted downtime of 1h1m0s",
		},
		"window that is too short":   {wishes: terms(engine.Terms{Window: "11:00-13:00"}), away: 3 * time.Hour, cause: "is never open for as long as the predicted downtime of 3h0m0s"},
		"too short, and now":         {wishes: terms(engine.Terms{Window: "11:00-13:00", Now: "2.0.0"}), away: 3 * time.Hour},
		"now":                        {wishes: terms(engine.Terms{Window: night, Now: "2.0.0"})},
		"now, for another version":   {wishes: terms(engine.Terms{Window: night, Now: "1.5.0"}), wait: "window", until: "2026-06-02T01:00:00Z"},
		"a clock that was never set": {wishes: terms(engine.Terms{Window: night}), now: time.Unix(7200, 0), wait: "a clock that is set"},
		"asks":                       {wishes: terms(engine.Terms{Consent: "ask"}), wait: "consent to update id-application/a"},
		"the device asks":            {asks: true, wait: "consent"},
		"urgent":                     {urgent: true, asks: true, wishes: terms(engine.Terms{Window: night})},
		"consent":                    {asks: true, wishes: terms(engine.Terms{Consented: "id-application/a"})},
		"consent to another":         {asks: true, wishes: terms(engine.Terms{Consented: "older"}), wait: "consent"},
		"refused":                    {asks: true, wishes: terms(engine.Terms{Refused: "id-application/a"}), cause: "consent was refused"},
		"cancelled":                  {wishes: terms(engine.Terms{Refused: "id-application/a"}), cause: "cancelled as asked"},
		"another was refused":        {wishes: terms(engine.Terms{Refused: "older"})},
		"consent at the device":      {asks: true, wishes: engine.Wishes{Answer: engine.Answer{Update: "id-application/a", Yes: true}}},
		"refused at the device":      {asks: true, wishes: engine.Wishes{Answer: engine.Answer{Update: "id-application/a"}}, cause: "consent was refused"},
		"answered for another":       {asks: true, wishes: engine.Wishes{Answer: engine.Answer{Update: "older"}}, wait: "consent"},
		"now is no consent":          {asks: true, wishes: terms(engine.Terms{Now: "2.0.0"}), wait: "consent"},
		"consent and window":         {asks: true, wishes: terms(engine.Terms{Window: night}), wait: "consent to update id-application/a; the maintenance window 01:00-04:00"},
	} {
		t.Run(name, func(t *testing.T) {
			now := test.now
			if now.IsZero() {
				now = noon
			}
			r := waiting(a, "2.0.0", nil)
			r.Update.Urgent, r.Update.Predicted = test.urgent, test.away
			err := Permit([]Standing{{Component: a, Wishes: test.wishes, Asks: test.asks, Unfinished: r}}, r.Update, now)
			expect(t, err, test.wait, test.cause)
			var wait engine.Wait
			if errors.As(err, &wait); test.until != "" && wait.Until.Format(time.RFC3339) != test.until {
				t.Errorf("until %s, want %s", wait.Until, test.until)
			}
		})
	}
}

func TestRequirements(t *testing.T) {
	v1 := engine.Installed{Version: "1.0.0"}
	needs := map[string]string{b: ">=2.0.0"}
	wish := func(version string) engine.Wishes { return engine.Wishes{Wish: engine.Wish{Version: version}} }
	back := waiting(b, "2.0.0", nil)
	back.Back = true
	for name, test := range map[string]struct {
		other       []Standing
		known       time.Time
		wait, cause string
	}{
		"met":                     {other: []Standing{{Component: b, Installed: engine.Installed{Version: "2.1.0"}}}},
		"not here":                {cause: "application/b >=2.0.0, and this device has no such component"},
		"wished":                  {other: []Standing{{Component: b, Installed: v1, Wishes: wish("2.0.0")}}, wait: "the update of application/b, since the package requires >=2.0.0"},
		"wished by package":       {other: []Standing{{Component: b, Installed: v1, Wishes: engine.Wishes{Wish: engine.Wish{Package: "x.tar"}}}}, wait: "the update of application/b"},
		"wished too low":          {other: []Standing{{Component: b, Installed: v1, Wishes: wish("1.5.0")}}, cause: `installed is "1.0.0", and asked for is 1.5.0`},
		"under way":               {other: []Standing{{Component: b, Installed: v1, Unfinished: waiting(b, "2.0.0", nil)}}, wait: "the update of application/b"},
		"turns back":              {other: []Standing{{Component: b, Installed: v1, Unfinished: back}}, cause: "no update of it is asked for"},
		"nobody asks":             {other: []Standing{{Component: b, Installed: v1}}, cause: "no update of it is asked for"},
		"nobody asks yet":         {other: []Standing{{Component: b, Installed: v1}}, known: noon.Add(-time.Second), wait: "somebody to ask for application/b >=2.0.0"},
		"failed":                  {other: []Standing{{Component: b, Installed: v1, Wishes: engine.Wishes{Wish: wish("2.0.0").Wish, Settled: wish("2.0.0").Wish}}}, cause: "no update of it is asked for"},
		"cycle":                   {other: []Standing{{Component: b, Installed: v1, Unfinished: waiting(b, "2.0.0", map[string]string{a: ">=2.0.0"})}}, cause: "neither can be first: application/a requires application/b requires application/a"},
		"cycle through a third":   {other: []Standing{{Component: b, Installed: v1, Unfinished: waiting(b, "2.0.0", map[string]string{"application/c": ">=2"})}, {Component: "application/c", Unfinished: waiting("application/c", "2.0.0", map[string]string{a: "2.0.0"})}}, cause: "neither can be first"},
		"a circle beside the way": {other: []Standing{{Component: b, Installed: v1, Unfinished: waiting(b, "2.0.0", map[string]string{"application/c": ">=2"})}, {Component: "application/c", Unfinished: waiting("application/c", "2.0.0", map[string]string{b: ">=2.0.0"})}}, wait: "the update of application/b"},
	} {
		t.Run(name, func(t *testing.T) {
			r := waiting(a, "2.0.0", needs)
			all := append([]Standing{{Component: a, Installed: v1, Unfinished: r, Known: test.known}}, test.other...)
			expect(t, Permit(all, r.Update, noon), test.wait, test.cause)
		})
	}
}

// expect holds a permission against a wait or a refusal, or neither.
func expect(t *testing.T, err error, waitFor, cause string) {
	t.Helper()
	var wait engine.Wait
	waits := errors.As(err, &wait)
	switch {
	case waitFor == "" && cause == "" && err == nil:
	case waitFor != "" && waits && strings.Contains(wait.For, waitFor):
	case cause != "" && !waits && err != nil && strings.Contains(err.Error(), cause):
	default:
		t.Errorf("got %v, want wait %q, cause %q", err, waitFor, cause)
	}
}

func TestNext(t *testing.T) {
	v1 := engine.Installed{Version: "1.0.0"}
	wished := Standing{Component: b, Installed: v1, Wishes: engine.Wishes{Wish: engine.Wish{Version: "2.0.0"}}}
	held := wished
	held.NotBefore = noon.Add(time.Second)
	closed := Standing{Component: a, Installed: v1, Unfinished: waiting(a, "2.0.0", nil), Wishes: engine.Wishes{Terms: engine.Terms{Window: "01:00-04:00"}}}
	closed.Unfinished.Waiting = &engine.Wait{For: "the maintenance window 01:00-04:00", Until: time.Date(2026, 6, 2, 1, 0, 0, 0, time.UTC)}
	at := func(s Standing, change func(*engine.Record)) Standing {
		r := *s.Unfinished
		change(&r)
		s.Unfinished = &r
		return s
	}
	moved := closed
	moved.Wishes.Terms.Window = "02:00-04:00"
	now := closed
	now.Wishes.Terms.Now = "2.0.0"
	reboot := at(closed, func(r *engine.Record) { r.Waiting = &engine.Wait{For: "a reboot", Boot: "x"} })
	for name, test := range map[string]struct {
		all  []Standing
		now  time.Time
		want Move
	}{
		"nothing":                      {[]Standing{{Component: a, Installed: v1}}, noon, Move{}},
		"a wish":                       {[]Standing{wished}, noon, Move{Component: b, Decision: Update}},
		"a wish that is held":          {[]Standing{held}, noon, Move{}},
		"one that waits holds none up": {[]Standing{closed, wished}, noon, Move{Component: b, Decision: Update}},
		"it waits":                     {[]Standing{closed}, noon, Move{}},
		"the window opens":             {[]Standing{wished, closed}, noon.Add(13 * time.Hour), Move{Component: a, Decision: Resume}},
		"the window is another one":    {[]Standing{moved}, noon, Move{Component: a, Decision: Resume}},
		"now":                          {[]Standing{now}, noon, Move{Component: a, Decision: Resume}},
		"interrupted":                  {[]Standing{at(closed, func(r *engine.Record) { r.Waiting = nil })}, noon, Move{Component: a, Decision: Resume}},
		"cancelled":                    {[]Standing{at(closed, func(r *engine.Record) { r.Cancelled = "why" })}, noon, Move{Component: a, Decision: Resume}},
		"reboot":                       {[]Standing{reboot}, noon, Move{}},
		"reboot, cancelled":            {[]Standing{at(reboot, func(r *engine.Record) { r.Cancelled = "why" })}, noon, Move{Component: a, Decision: Resume}},
		"space":                        {[]Standing{at(closed, func(r *engine.Record) { r.Waiting = &engine.Wait{For: "room", Poll: true} })}, noon, Move{Component: a, Decision: Resume}},
	} {
		got, some := Next(test.all, test.now)
		if got != test.want || some != (test.want != Move{}) {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}
