package manager

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// TestMendOnce: a repair is done once, however often it is delivered, also
// after a restart and while it is under way.
func TestMendOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{installed: engine.Installed{Version: "1.0.0"}}
		for range 2 {
			manager, stop := start(t, m)
			for i, c := range []engine.Choice{{Restore: 1}, {Restore: 1}, {}, {}} {
				for range 2 {
					if err := manager.MendOnce(name, int64(1+i/2), c); err != nil {
						t.Fatal(err)
					}
				}
				synctest.Wait()
			}
			if err := manager.MendOnce("application/other", 1, engine.Choice{}); err == nil {
				t.Error("another component was repaired")
			}
			stop()
			m.set(func() { m.mended = 2 })
		}
		if d := cmp.Diff([]engine.Choice{{Restore: 1}, {}, {Restore: 1}, {}}, m.mends); d != "" {
			t.Error(d) // a number that is not the last counts as a new one
		}
	})
}

// TestMendWhileUpdating: it waits for an update that runs, and is answered where
// one waits or the agent is in safe mode.
func TestMendWhileUpdating(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{installed: engine.Installed{Version: "1.0.0"}, hang: make(chan string)}
		manager, stop := start(t, m)
		defer stop()
		want(t, manager, engine.Wish{Version: "2.0.0"})
		if err := manager.MendOnce(name, 1, engine.Choice{}); err != nil || len(m.mends) > 0 {
			t.Errorf("%v, %v", err, m.mends)
		}
		m.hang <- "done"
		synctest.Wait()
		if len(m.mends) != 1 {
			t.Errorf("repairs %v", m.mends)
		}
		for _, c := range []struct {
			number int64
			cause  string
			harm   func()
		}{
			{2, "safe mode", func() { manager.Fault = func() string { return "no journal" } }},
			{3, "u9", func() {
				manager.Fault = func() string { return "" }
				manager.Journal = func(string) (engine.Record, bool, error) {
					return engine.Record{Update: engine.Update{ID: "u9"}, Waiting: &engine.Wait{For: "a reboot", Boot: "b"}}, true, nil
				}
			}},
		} {
			number := c.number
			c.harm()
			if err := manager.MendOnce(name, number, engine.Choice{}); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			m.set(func() {
				o := m.outcome
				if o.Result != engine.Refused || o.Repair != number || o.Kind != engine.KindRepair || !strings.Contains(o.Cause, c.cause) {
					t.Errorf("repair %d: %+v", number, o)
				}
			})
		}
	})
}
