package manager

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// back is what the engine says of the way from version 2 to version 1.
func back(_ string, i engine.Installed) *engine.WayBack {
	switch i.Version {
	case "2.0.0":
		return &engine.WayBack{Version: "1.0.0", Way: engine.WaySaved, State: engine.StateSaved, Package: "sha256:1"}
	case "3.0.0":
		return &engine.WayBack{Version: "2.0.0", Way: engine.WayNone, Loses: "no transforms lead back"}
	}
	return nil
}

// Going back on the device is an update, and what the twin wishes for stays
// answered.
func TestGoBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wish := engine.Wish{Version: "2.0.0"}
		m := &memory{installed: engine.Installed{Version: "2.0.0"}, wishes: engine.Wishes{Wish: wish, Settled: wish}}
		manager, stop := start(t, m)
		defer stop()
		manager.WayBack = back
		id, err := manager.GoBack(name, true)
		synctest.Wait()
		if err != nil || id == "" {
			t.Fatalf("%q, %v", id, err)
		}
		want := []engine.Wish{{Version: "1.0.0", Package: "sha256:1", State: engine.StateSaved}}
		m.set(func() {
			if diff := cmp.Diff(want, m.runs); diff != "" || !m.losing || m.outcome.Update != id || m.wishes.Wish != wish || m.wishes.Settled != wish {
				t.Errorf("%s; outcome %+v, wishes %+v", diff, m.outcome, m.wishes)
			}
		})
		if _, err := manager.GoBack(name, false); err == nil {
			t.Error("version 1 has a version before")
		}
		m.set(func() { m.installed.Version = "3.0.0" })
		if _, err := manager.GoBack(name, false); err == nil {
			t.Error("there is a way back from version 3")
		}
		if _, err := manager.GoBack("application/other", false); err == nil {
			t.Error("there is another component")
		}
	})
}

func TestRequestWhileBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{installed: engine.Installed{Version: "1.0.0"}, hang: make(chan string)}
		manager, stop := start(t, m)
		want(t, manager, engine.Wish{Version: "2.0.0"})
		if _, err := manager.Request(engine.Update{Component: name, Restore: 1}); !errors.Is(err, ErrBusy) {
			t.Errorf("got %v", err)
		}
		m.hang <- "done"
		synctest.Wait()
		if _, err := manager.Request(engine.Update{Component: name, Restore: 1}); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		stop()
	})
}

// A schedule does not bring back the version that somebody went back from.
func TestPullLeavesTheVersionThatWasGoneBackFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{
			installed: engine.Installed{Version: "1.0.0", Previous: &engine.Previous{Version: "2.0.0", Digest: "sha256:2"}},
			newest:    Found{"2.0.0", "sha256:2"},
		}
		manager, stop := start(t, m)
		defer stop()
		for _, newest := range []Found{{"2.0.0", "sha256:2"}, {"2.0.1", "sha256:21"}} {
			m.set(func() { m.newest = newest })
			if err := manager.CheckNow(name); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		m.set(func() {
			if diff := cmp.Diff([]engine.Wish{{Version: "2.0.1", Package: "sha256:21"}}, m.runs); diff != "" || m.checks != 2 {
				t.Errorf("%d checks: %s", m.checks, diff)
			}
		})
	})
}

// A version that was not signed is tried again at the next check: it may be by now.
// What has failed for another reason is not.
func TestPullTriesTheUnsignedAgain(t *testing.T) {
	for _, unsigned := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			refused := engine.Outcome{Update: "u", Wish: engine.Wish{Version: "2.0.0", Package: "sha256:2"}, Result: engine.Refused, Unsigned: unsigned}
			m := &memory{installed: engine.Installed{Version: "1.0.0"}, newest: Found{"2.0.0", "sha256:2"}, outcome: &refused}
			manager, stop := start(t, m)
			defer stop()
			if err := manager.CheckNow(name); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			m.set(func() {
				if tried := len(m.runs) > 0; tried != unsigned {
					t.Errorf("unsigned %v: tried %v", unsigned, m.runs)
				}
			})
		})
	}
}

// What is installed for the first time runs as soon as it serves: its outcome, which
// comes a little later, and that it does not run would contradict each other.
func TestRunsWhenItServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		manager, stop := start(t, &memory{})
		defer stop()
		manager.mu.Lock()
		manager.running[name] = false // as it was looked at before the update
		manager.mu.Unlock()
		for _, p := range []engine.Progress{{}, {Serving: &engine.Installed{Version: "1.0.0"}}} {
			p.Component = name
			manager.Progress(p)
			if v, err := manager.View(name); err != nil || v.Running != (p.Serving != nil) {
				t.Errorf("serving %v: running %v, %v", p.Serving, v.Running, err)
			}
		}
	})
}

func TestDecideKnowsTheStatesOfAWish(t *testing.T) {
	for state, want := range map[string]Decision{"": Update, engine.StateTransform: Update, engine.StateSaved: Update, "old": Refuse} {
		if got, cause := decide(engine.Wish{Version: "1.0.0", State: state}, engine.Wish{}, engine.Installed{Version: "2.0.0"}); got != want {
			t.Errorf("state %q: %v, %s", state, got, cause)
		}
	}
}

// What must not happen during an update waits for its end.
func TestBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{installed: engine.Installed{Version: "1.0.0"}, hang: make(chan string)}
		manager, stop := start(t, m)
		defer stop()
		want(t, manager, engine.Wish{Version: "2.0.0"})
		failed, called := errors.New("failed"), false
		ended := make(chan error, 1)
		go func() { ended <- manager.Between(t.Context(), name, func() error { called = true; return failed }) }()
		synctest.Wait()
		if called {
			t.Error("called while an update runs")
		}
		m.hang <- "done"
		if err := <-ended; !errors.Is(err, failed) || !called {
			t.Errorf("called %v: %v", called, err)
		}
		m.set(func() { m.open = true })
		if err := manager.Between(t.Context(), name, func() error { return nil }); !errors.Is(err, ErrBusy) {
			t.Errorf("an open update: %v", err)
		}
	})
}
