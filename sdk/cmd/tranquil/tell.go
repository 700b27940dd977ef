package main

import (
	"fmt"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/reported"
)

// A teller says how updates go: a line for each step, and on a terminal a bar
// below. Programs get an object each time that something has changed.
type teller struct {
	*bar
	said  string
	told  time.Time // when, and how much was downloaded by then
	bytes int64
	pause time.Duration // until it is told again
}

func (s *session) teller() teller { return teller{bar: s.bar("")} }

// How often a download says how far it is: less and less often, since one may
// take a day.
const (
	tellFirst = 3 * time.Second
	tellMost  = time.Minute
)

// say prints a line for each step, and when the component will be back.
func (t *teller) say(s *session, component string, u updateReport) error {
	if s.JSON {
		return t.sayJSON(s, component, u)
	}
	step := fmt.Sprint(u.Phase, u.Step, u.Back, u.Until, u.For, u.ForUntil)
	if step != t.said {
		t.clear()
		fmt.Fprintln(s.out, u.going())
		t.said, t.told, t.bytes, t.pause = step, time.Now(), u.Bytes, tellFirst
	} else if took := time.Since(t.told); t.out == nil && u.Bytes > t.bytes && took >= t.pause {
		fmt.Fprintf(s.out, "%s, %s/s\n", u.going(), amount(int64(float64(u.Bytes-t.bytes)/took.Seconds())))
		t.told, t.bytes, t.pause = time.Now(), u.Bytes, min(2*t.pause, tellMost)
	}
	t.what = component
	t.show(int64(1000*u.Progress), 1000)
	return nil
}

func (t *teller) sayJSON(s *session, component string, u updateReport) error {
	if now := fmt.Sprintf("%+v", u); now != t.said {
		t.said = now
		return s.line(eventOf(component, u))
	}
	return nil
}

// ended prints how an update has ended.
func (s *session) ended(component string, u updateReport) error {
	if s.JSON {
		return s.line(eventOf(component, u))
	}
	_, err := fmt.Fprintln(s.out, u.ending())
	return err
}

// eventOf is an update as the hub tells it in its events.
func eventOf(component string, u updateReport) iothub.UpdateEvent {
	return iothub.UpdateEvent{Component: component, Outcome: reported.Outcome{Update: reported.Update(u)}}
}
