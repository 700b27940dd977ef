package delivery

import (
	"errors"
	"testing"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// TestEveryStateAndOperation does everything in every state. What is not listed
// is refused, and changes nothing.
func TestEveryStateAndOperation(t *testing.T) {
	none, old := engine.Installed{}, engine.Installed{Version: "1.0.0", Digest: "old"}
	states := map[string]engine.View{
		"nothing":     {Installed: none},
		"installed":   {Installed: old},
		"makes way":   {Installed: old, Delivery: engine.Delivery{Upgrades: "old"}},
		"downloading": {Installed: old, Delivery: engine.Delivery{State: engine.Downloading}},
		"downloaded":  {Installed: old, Delivery: engine.Delivery{State: engine.Downloaded}},
		"delivered":   {Installed: old, Delivery: engine.Delivery{State: engine.Delivered}},
		"installing":  {Installed: old, Delivery: engine.Delivery{State: engine.Installing}},
		"removing":    {Installed: old, Delivery: engine.Delivery{State: engine.Removing}},
	}
	operations := map[string]func(engine.View) (engine.Delivery, error){
		"begin":          func(v engine.View) (engine.Delivery, error) { return begin(v, v.Delivery, engine.Delivery{}, false) },
		"begin in place": func(v engine.View) (engine.Delivery, error) { return begin(v, v.Delivery, engine.Delivery{}, true) },
		"advance":        func(v engine.View) (engine.Delivery, error) { return advance(v.Delivery, 7, engine.Downloaded) },
		"fail":           func(v engine.View) (engine.Delivery, error) { return fail(v.Delivery, 7, engine.NoStorage, "why") },
		"drop":           func(v engine.View) (engine.Delivery, error) { return drop(v.Delivery, engine.CancelledByUser) },
		"install":        func(v engine.View) (engine.Delivery, error) { return install(v.Delivery, 3) },
		"make way":       func(v engine.View) (engine.Delivery, error) { return uninstall(v, v.Delivery, true, 3) },
		"remove":         func(v engine.View) (engine.Delivery, error) { return uninstall(v, v.Delivery, false, 3) },
	}
	allowed := map[string]map[string]string{ // to which state
		"nothing":     {"begin": engine.Downloading, "begin in place": engine.Downloading},
		"installed":   {"begin in place": engine.Downloading, "make way": "", "remove": engine.Removing},
		"makes way":   {"begin": engine.Downloading, "begin in place": engine.Downloading},
		"downloading": {"advance": engine.Downloaded, "fail": "", "drop": ""},
		"downloaded":  {"advance": engine.Downloaded, "fail": "", "drop": ""},
		"delivered":   {"fail": "", "drop": "", "install": engine.Installing},
	}
	for state, v := range states {
		v.Delivery.Number = 7
		for operation, do := range operations {
			got, err := do(v)
			want, may := allowed[state][operation]
			switch {
			case may && (err != nil || got.State != want):
				t.Errorf("%s, %s: %q, %v; want %q", state, operation, got.State, err, want)
			case !may && (!errors.Is(err, engine.ErrNotNow) || got != v.Delivery):
				t.Errorf("%s, %s: %+v, %v; want it refused", state, operation, got, err)
			}
		}
	}
}

// TestLateNews has something be said of a delivery that has been dropped.
func TestLateNews(t *testing.T) {
	d := engine.Delivery{Number: 8, State: engine.Downloading}
	if _, err := advance(d, 7, engine.Delivered); !errors.Is(err, engine.ErrNotNow) {
		t.Error("an older delivery has advanced a newer one")
	}
	if _, err := fail(d, 7, engine.NoStorage, ""); !errors.Is(err, engine.ErrNotNow) {
		t.Error("an older delivery has failed a newer one")
	}
}

func TestSettle(t *testing.T) {
	ours, other := engine.Wish{Package: "p", Attempt: 2}, engine.Wish{Version: "9.0.0"}
	for name, tt := range map[string]struct {
		state   string
		wish    engine.Wish // that stands now
		runs    bool
		outcome engine.Outcome
		ended   bool
		want    engine.Delivery
	}{
		"not yet":           {state: engine.Installing, wish: ours},
		"an older outcome":  {state: engine.Installing, wish: ours, outcome: engine.Outcome{Wish: other, Result: engine.Updated}},
		"updated":           {engine.Installing, ours, false, engine.Outcome{Wish: ours, Result: engine.Updated}, true, engine.Delivery{Result: engine.Succeeded}},
		"there already":     {engine.Installing, ours, false, engine.Outcome{Wish: ours, Result: engine.Unchanged}, true, engine.Delivery{Result: engine.Succeeded}},
		"turned back":       {engine.Installing, ours, false, engine.Outcome{Wish: ours, Result: engine.TurnedBack, Cause: "sick"}, true, engine.Delivery{State: engine.Delivered, Result: engine.InstallFailed, Reason: "sick", Package: "p"}},
		"refused":           {engine.Installing, ours, false, engine.Outcome{Wish: ours, Result: engine.Refused}, true, engine.Delivery{State: engine.Delivered, Result: engine.InstallFailed, Package: "p"}},
		"superseded":        {engine.Installing, other, false, engine.Outcome{}, true, engine.Delivery{State: engine.Delivered, Result: engine.InstallFailed, Reason: "a newer wish has taken its place", Package: "p"}},
		"superseded, runs":  {state: engine.Installing, wish: other, runs: true},
		"removed":           {engine.Removing, ours, false, engine.Outcome{Wish: ours, Result: engine.Removed}, true, engine.Delivery{}},
		"not removed":       {engine.Removing, ours, false, engine.Outcome{Wish: ours, Result: engine.Refused, Cause: "no"}, true, engine.Delivery{Result: engine.UninstallFailed, Reason: "no"}},
		"nothing under way": {state: engine.Delivered, wish: other},
	} {
		v := engine.View{Wish: tt.wish, Outcome: &tt.outcome, Delivery: engine.Delivery{State: tt.state, Wish: ours, Package: "p"}}
		if tt.runs {
			v.Progress = &engine.Progress{}
		}
		got, ended := settle(v)
		if ended != tt.ended || ended && got != tt.want {
			t.Errorf("%s: %v, %+v", name, ended, got)
		}
	}
}

// TestAttempt makes a wish that no outcome of before answers.
func TestAttempt(t *testing.T) {
	v := engine.View{Outcome: &engine.Outcome{Wish: engine.Wish{Attempt: 5}}}
	w := engine.Wishes{Wish: engine.Wish{Attempt: 2}, Settled: engine.Wish{Attempt: 3}}
	if got := attempt(v, w); got != 6 {
		t.Errorf("attempt %d", got)
	}
}
