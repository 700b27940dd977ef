package engine

import (
	"errors"
	"fmt"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// A slowWorld is a world in which updates have to wait: for consent, and then
// for a reboot after each switch.
type slowWorld struct {
	*world
	engine    *Engine
	consented bool
	boots     int
	written   map[string]string // versions that were switched to, and the boot in which that was
	waits     int
}

func newSlowWorld(t *testing.T, p packages) *slowWorld {
	t.Helper()
	w, e := newWorld(t, p)
	s := &slowWorld{world: w, engine: e, written: map[string]string{}}
	e.Boot = func(string) string { return fmt.Sprint(s.boots) }
	s.boots++
	e.Permit = func(Update) error {
		if s.consented {
			return nil
		}
		return Wait{For: "consent"}
	}
	w.switched = func(version string) error {
		if s.written[version] == "" {
			s.written = map[string]string{version: e.boot("")}
		}
		if s.written[version] == e.boot("") {
			return fmt.Errorf("the slot is written: %w", updater.ErrReboot)
		}
		return nil
	}
	return s
}

// serve gives an update what it waits for, until it has ended. It reports
// whether the power was lost on the way.
func (s *slowWorld) serve(t *testing.T) (o Outcome, whole bool) {
	t.Helper()
	whole = true
	for range 20 {
		o, err := s.update(t, s.engine, "2.0.0")
		var wait Wait
		switch {
		case err == nil:
			return o, whole
		case s.budget == 0:
			s.budget, whole = -1, false
		case errors.As(err, &wait) && wait.Boot != "":
			s.boots++
			s.waits++
		case errors.As(err, &wait):
			s.consented = true
			s.waits++
		default:
			t.Fatalf("%v, journal %+v", err, s.journal)
		}
	}
	t.Fatalf("the update does not end: %+v", s.journal)
	return o, whole
}

// The power fails after every operation of an update that waits for consent
// and for reboots, for some that fail on the way.
func TestPowerCutsWhileWaiting(t *testing.T) {
	p := build(t, "1m")
	for _, failAt := range []string{"", "snapshot", "stop", "apply", "start2.0.0"} {
		cutEverywhere(t, "fail="+failAt, func(t *testing.T, cut int) bool {
			s := newSlowWorld(t, p)
			s.budget, s.failAt, s.failOnce = cut, failAt, true
			o, whole := s.serve(t)
			s.check(t, o)
			if whole && failAt == "" && (o.Result != Updated || s.waits != 2) {
				t.Errorf("%+v after %d waits", o, s.waits)
			}
			if t.Failed() {
				t.Logf("cut after %d: %+v", cut, o)
			}
			return whole
		})
	}
}

// A cancel is kept across power cuts, too: what was cancelled while it waited
// never becomes the new version.
func TestPowerCutsAfterACancel(t *testing.T) {
	p := build(t, "1m")
	for _, at := range []string{"consent", "reboot"} {
		cutEverywhere(t, "waits for "+at, func(t *testing.T, cut int) bool {
			s := newSlowWorld(t, p)
			s.consented = at == "reboot"
			if _, err := s.update(t, s.engine, "2.0.0"); err == nil {
				t.Fatal("it does not wait")
			}
			if err := s.engine.Cancel(component, "by Ada"); err != nil {
				t.Fatal(err)
			}
			s.consented, s.budget = true, cut
			o, whole := s.serve(t)
			if want := map[string]string{"consent": Refused, "reboot": TurnedBack}[at]; o.Result != want {
				t.Errorf("cut after %d: %+v, want %s", cut, o, want)
			}
			s.check(t, o)
			return whole
		})
	}
}
