// Package window knows maintenance windows: the times of a week in which a
// component may be disturbed.
//
//	window = span *( ";" span ) / "closed" [ ":" reason ]
//	span   = [ days ] time "-" time [ zone ]
//	days   = day [ "-" day ] *( "," day [ "-" day ] )    ; Mon … Sun
//	time   = HH:MM                                       ; 00:00 to 24:00
//	zone   = IANA name                                   ; UTC if it is left out
//
// As in "Mon-Fri 01:00-04:30 Europe/Zurich; Sat,Sun 00:00-24:00". A span
// whose end is not after its start ends on the next day; its days are those on
// which it starts. What the clock on the wall shows in the zone decides, also
// when summer time begins or ends: a span in the hour that is left out does
// not come on that day, and one in the hour that comes twice comes twice. A
// closed window never opens: so the back end passes on one that it cannot read.
package window

import (
	"fmt"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // small devices have no zone files
)

// A Window is when a component may be disturbed. The zero value is any time.
type Window struct {
	spans  []span
	closed bool
}

// A span is open from start to end, in minutes since midnight, on its days.
type span struct {
	days       [7]bool // by time.Weekday
	start, end int
	zone       *time.Location
}

const day = 24 * 60 // minutes

// Bounds of what Parse takes: a window comes from outside.
const (
	maxText  = 512
	maxSpans = 16
)

// Parse reads a window; "" is any time.
func Parse(text string) (Window, error) {
	if text == "" {
		return Window{}, nil
	}
	if len(text) > maxText {
		return Window{}, fmt.Errorf("the window has %d bytes, more than %d", len(text), maxText)
	}
	if rest, closed := strings.CutPrefix(text, "closed"); closed && (rest == "" || rest[0] == ':') {
		return Window{closed: true}, nil
	}
	parts := strings.Split(text, ";")
	if len(parts) > maxSpans {
		return Window{}, fmt.Errorf("the window has %d spans, more than %d", len(parts), maxSpans)
	}
	var w Window
	for _, part := range parts {
		s, err := parseSpan(part)
		if err != nil {
			return Window{}, fmt.Errorf(`cannot read window %q: %w; want spans such as "Mon-Fri 01:00-04:30 Europe/Zurich", separated by ";"`, strings.TrimSpace(part), err)
		}
		w.spans = append(w.spans, s)
	}
	return w, nil
}

func parseSpan(text string) (s span, err error) {
	s.days, s.zone = [7]bool{true, true, true, true, true, true, true}, time.UTC
	fields := strings.Fields(text)
	if len(fields) > 0 && !strings.Contains(fields[0], ":") {
		if s.days, err = parseDays(fields[0]); err != nil {
			return s, err
		}
		fields = fields[1:]
	}
	if len(fields) == 0 {
		return s, fmt.Errorf("there are no times")
	}
	if len(fields) > 2 {
		return s, fmt.Errorf("%q is too much", fields[2])
	}
	if len(fields) == 2 {
		if s.zone, err = parseZone(fields[1]); err != nil {
			return s, err
		}
	}
	start, end, found := strings.Cut(fields[0], "-")
	if !found {
		return s, fmt.Errorf("%q has no end", fields[0])
	}
	if s.start, err = parseTime(start); err != nil {
		return s, err
	}
	if s.end, err = parseTime(end); err != nil {
		return s, err
	}
	if s.start == s.end || s.start == day {
		return s, fmt.Errorf("%q is no time at all; the whole day is 00:00-24:00", fields[0])
	}
	return s, nil
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

func parseDays(text string) (days [7]bool, err error) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, to := slices.Index(dayNames, strings.ToLower(first)), slices.Index(dayNames, strings.ToLower(last))
		if from < 0 || to < 0 {
			return days, fmt.Errorf("%q is no day: they are Mon, Tue, Wed, Thu, Fri, Sat and Sun", part)
		}
		for d := from; ; d = (d + 1) % 7 {
			if days[d] = true; d == to {
				break
			}
		}
	}
	return days, nil
}

func parseTime(text string) (minutes int, err error) {
	hour, minute := 0, 0
	if len(text) == len("00:00") {
		if _, err = fmt.Sscanf(text, "%02d:%02d", &hour, &minute); err == nil && text == clock(hour, minute) &&
			minute < 60 && hour*60+minute <= day {
			return hour*60 + minute, nil
		}
	}
	return 0, fmt.Errorf("%q is no time from 00:00 to 24:00", text)
}

func clock(hour, minute int) string { return fmt.Sprintf("%02d:%02d", hour, minute) }

// parseZone refuses "Local": what it is changes with the device.
func parseZone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("%q is no time zone such as Europe/Zurich", name)
	}
	return zone, nil
}

// Open reports whether the component may be disturbed at t.
func (w Window) Open(t time.Time) bool {
	return !w.closed && len(w.spans) == 0 || slices.ContainsFunc(w.spans, func(s span) bool { return s.open(t) })
}

func (s span) open(t time.Time) bool {
	t = t.In(s.zone)
	now, today := t.Hour()*60+t.Minute(), t.Weekday()
	if s.end > s.start {
		return s.days[today] && now >= s.start && now < s.end
	}
	yesterday := (today + 6) % 7
	return s.days[today] && now >= s.start || s.days[yesterday] && now < s.end
}

// horizon is how far Next looks: a span of one day in the week may not come
// twice in a row, if summer time begins on that day.
const horizon = 15

// Next returns the first moment from t on at which the window is open. ok is
// false if it is closed, or that is more than two weeks away.
func (w Window) Next(t time.Time) (next time.Time, ok bool) {
	if w.Open(t) {
		return t, true
	}
	for _, s := range w.spans {
		for _, c := range s.candidates(t) {
			if c.After(t) && s.open(c) && (!ok || c.Before(next)) {
				next, ok = c, true
			}
		}
	}
	return next, ok
}

// Fits returns the first moment from t on from which the window stays open for
// that long; a week is as good as for ever. ok is false if there is none within
// two weeks.
func (w Window) Fits(t time.Time, long time.Duration) (at time.Time, ok bool) {
	long = min(long, 7*day*time.Minute)
	for end := t.AddDate(0, 0, horizon); t.Before(end); {
		if t, ok = w.Next(t); !ok {
			return at, false
		}
		open := w.openFor(t, long)
		if open >= long {
			return t, true
		}
		t = t.Add(open)
	}
	return at, false
}

// openFor is how long the window stays open from t on, or long if that is less.
func (w Window) openFor(t time.Time, long time.Duration) time.Duration {
	open := time.Duration(0)
	for open < long && w.Open(t.Add(open)) {
		open = t.Add(open).Truncate(time.Minute).Add(time.Minute).Sub(t) // spans begin and end with a minute
	}
	return min(open, long)
}

// candidates are the moments after t at which the span may open: when the
// clock shows its start, which it may do twice on a day, and when the clock is
// set forward beyond its start.
func (s span) candidates(t time.Time) (all []time.Time) {
	t = t.In(s.zone)
	for d := range horizon {
		year, month, date := t.Date()
		shown := time.Date(year, month, date+d, 0, s.start, 0, 0, time.UTC)
		around := time.Date(year, month, date+d, 12, 0, 0, 0, s.zone)
		for _, at := range []time.Time{around.AddDate(0, 0, -1), around, around.AddDate(0, 0, 1)} {
			_, offset := at.Zone()
			all = append(all, shown.Add(-time.Duration(offset)*time.Second).In(s.zone))
		}
		if _, change := around.ZoneBounds(); !change.IsZero() {
			all = append(all, change)
		}
	}
	if _, change := t.ZoneBounds(); !change.IsZero() {
		all = append(all, change)
	}
	return all
}
