package recovery

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/agent/internal/store"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

const name = "application/a"

// A world is the device: what the agent remembers, and what is really there.
type world struct {
	installed engine.Installed
	open      bool
	outcome   *engine.Outcome
	record    engine.Record
	garbled   error // the journal cannot be read
	newer     error // it is of a newer agent
	fault     string

	current   string          // version switched to
	whole     map[string]bool // versions whose files are whole
	unnamed   bool            // the updater cannot tell what is switched to
	runs      bool
	published bool // the package can be fetched
	started   int
	freed     bool // of what a start would have to copy
	halted    bool // by the update of another component
	inactive  bool // it shall not run
	reunions  int

	holder string // version that the live state is of; "" nobody knows

	gone       bool   // the live state
	end        func() // of the agent, while it looks for a saved one
	saved      bool   // there is a saved one
	unfit      bool   // it cannot be put in place
	reinstated bool
	parked     []string // versions whose live states repairs have saved, as generation 8 and so on
	cut        string   // when the power goes: "before", "in" or "after" the hand-over of a saved state
	between    bool     // it went in it: the live state is neither
}

func (w *world) Offer(_ context.Context, _ string, i engine.Installed, gen state.Generation) (engine.Update, error) {
	if gen != 7 {
		return engine.Update{}, errors.New("there is none")
	}
	return engine.Update{Restore: gen, To: i}, nil
}

func (w *world) Park(context.Context, string) (state.Generation, error) {
	if w.gone || w.between {
		return 0, nil
	}
	w.parked = append(w.parked, w.holder)
	return state.Generation(7 + len(w.parked)), nil
}

func (w *world) Load(string) (engine.Record, bool, error) { return w.record, w.open, w.garbled }
func (w *world) Readable(engine.Record) error             { return w.newer }
func (w *world) Fault() (string, error)                   { return w.fault, nil }
func (w *world) SetFault(text string) error               { w.fault = text; return nil }
func (w *world) SetAside([]string) (string, error) {
	w.open, w.garbled, w.newer, w.fault = false, nil, nil, ""
	return "kept", nil
}
func (w *world) Installed(string) (engine.Installed, error) { return w.installed, nil }
func (w *world) Commit(_ string, i engine.Installed) error  { w.installed = i; return nil }
func (w *world) Wishes(string) (engine.Wishes, error) {
	return engine.Wishes{Inactive: w.inactive}, nil
}
func (w *world) Report(o engine.Outcome) error { w.outcome = &o; return nil }
func (w *world) Stage(context.Context, updater.StageRequest) (updater.StageResponse, error) {
	return updater.StageResponse{}, nil
}
func (w *world) Unstage(context.Context, updater.UnstageRequest) error { return nil }

func (w *world) Switch(_ context.Context, r updater.SwitchRequest) error {
	version := string(r.Handle.Data)
	if _, staged := w.whole[version]; !staged {
		return errors.New("not staged")
	}
	w.current, w.unnamed = version, false
	return nil
}

func (w *world) Start(context.Context, updater.StartRequest) error {
	if w.gone && w.saved {
		return errors.New("started on an empty state")
	}
	if !w.freed {
		return errors.New("started while a snapshot shares its files")
	}
	w.started, w.freed = w.started+1, false
	if !w.runs && !w.whole[w.current] {
		return errors.New("no such program")
	}
	w.runs = true
	return nil
}

func (w *world) Stop(context.Context, updater.StopRequest) (updater.StopResponse, error) {
	w.runs = false
	return updater.StopResponse{}, nil
}

func (w *world) Status(context.Context, updater.StatusRequest) (updater.StatusResponse, error) {
	if w.unnamed {
		return updater.StatusResponse{}, errors.New("cannot read current")
	}
	return updater.StatusResponse{Version: w.current, Running: w.runs, Handle: handle(w.current), NoState: w.gone}, nil
}

func (w *world) Probe(context.Context, updater.ProbeRequest) (updater.ProbeResponse, error) {
	return updater.ProbeResponse{Healthy: w.runs}, nil
}

func (w *world) Describe(_ context.Context, _ string, i engine.Installed) (engine.Installed, error) {
	if !w.published {
		return i, errors.New("no such package")
	}
	i.Schema = 1
	return i, nil
}

func (w *world) Repair(ctx context.Context, c string, i engine.Installed) (engine.Installed, error) {
	i, err := w.Describe(ctx, c, i)
	if err != nil {
		return i, err
	}
	w.whole[i.Version] = true
	return i, w.Switch(ctx, updater.SwitchRequest{Component: c, Handle: i.Handle})
}

func (w *world) LastSaved(context.Context, string, engine.Installed) (engine.Update, string, bool) {
	if w.end != nil {
		w.end()
		return engine.Update{}, "", false
	}
	return engine.Update{Restore: 7}, "generation 7", w.saved
}

func (w *world) Holds(_ string, i engine.Installed) error { w.holder = i.Version; return nil }

func (w *world) Agree(_, version string) error {
	if w.holder != "" && w.holder != version {
		return errors.New("the live state is of version " + w.holder)
	}
	return nil
}

// Begin is what the engine does.
func (w *world) Begin(ctx context.Context, u *updater.Client, component string) error {
	w.freed = true
	return u.Start(ctx, updater.StartRequest{Component: component})
}

func (w *world) Halted(string) bool { return w.halted }

func (w *world) Reunite(context.Context, string) (of engine.Installed, done string, err error) {
	w.reunions++
	if w.holder == "" || w.runs {
		return of, "", nil
	}
	of = engine.Installed{Version: w.holder, Schema: 1, Handle: handle(w.holder)}
	if w.holder == w.current {
		return of, "", nil
	}
	if _, staged := w.whole[w.holder]; !staged {
		return of, "", errors.New("cannot be switched to")
	}
	w.current = w.holder
	return of, "switched to " + w.holder, nil
}

func (w *world) Reinstate(_ context.Context, u engine.Update) error {
	if w.runs {
		return errors.New("it runs")
	}
	if w.unfit {
		return errors.New("no space")
	}
	cut := w.cut
	switch w.cut = ""; cut {
	case "before":
	case "in":
		w.between = true
	default:
		w.gone, w.between, w.reinstated, w.holder = false, false, true, cmp.Or(u.To.Version, w.holder)
	}
	if cut != "" {
		w.end()
		return context.Canceled
	}
	return nil
}

func handle(version string) updater.Handle {
	if version == "" {
		return updater.Handle{}
	}
	return updater.Handle{Version: 1, Data: []byte(version)}
}

// sound is a device on which all is well.
func sound() *world {
	return &world{
		installed: engine.Installed{Version: "1.0.0", Schema: 1, Handle: handle("1.0.0")},
		current:   "1.0.0", whole: map[string]bool{"1.0.0": true}, runs: true, published: true,
	}
}

func (w *world) recovery(t *testing.T, damage store.Damage) *Recovery {
	t.Helper()
	client, err := updater.Connect(t.Context(), "application", w, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Kill)
	return &Recovery{
		Memory: w, Notes: w, Engine: w, Pairs: w, Choices: w, Begin: w.Begin, Halted: w.Halted, Damage: damage, Log: slog.New(slog.DiscardHandler),
		Updater: func(context.Context, string) (*updater.Client, error) { return client, nil },
	}
}

func TestSettle(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name   string
		harm   func(*world)
		damage store.Damage
		result string // "" nothing is reported
		cause  string
		stays  bool // it cannot be settled
	}{
		{name: "all is well", harm: func(*world) {}},
		{name: "nothing was ever installed", harm: func(w *world) { *w = world{whole: map[string]bool{}} }},
		{name: "the component ended", harm: func(w *world) { w.runs = false }},
		{name: "store made anew", harm: func(*world) {}, damage: store.Damage{Found: broken, Kept: "k"}, result: engine.Unchanged, cause: "kept for inspection in k"},
		{name: "disk takes nothing", harm: func(*world) {}, damage: store.Damage{Found: broken, Volatile: true}, result: engine.Inconsistent, cause: "no update starts"},
		{name: "forgotten", harm: func(w *world) { w.installed = engine.Installed{} }, damage: store.Damage{Found: broken, Lost: true}, result: engine.Inconsistent, cause: "learned from the updater that it is 1.0.0"},
		{name: "forgotten, and its package too", harm: func(w *world) { w.installed, w.published = engine.Installed{}, false }, cause: "publish it", stays: true},
		{name: "link lost", harm: func(w *world) { w.current = "" }, result: engine.Unchanged, cause: "version 1.0.0 is gone"},
		{name: "link unreadable", harm: func(w *world) { w.unnamed = true }, result: engine.Unchanged, cause: "cannot read current"},
		{name: "another version", harm: func(w *world) { w.runs, w.current, w.whole["2.0.0"] = false, "2.0.0", true }, result: engine.Unchanged, cause: "has version 2.0.0 instead"},
		{name: "another version, and it runs", harm: func(w *world) { w.current, w.whole["2.0.0"] = "2.0.0", true }, result: engine.Inconsistent, cause: "learned from the updater that it is 2.0.0"},
		{name: "another version, on its own state", harm: func(w *world) { w.current, w.whole["2.0.0"], w.holder = "2.0.0", true, "2.0.0" }, result: engine.Inconsistent, cause: "learned from the updater that it is 2.0.0"},
		{name: "another version, on another state", harm: func(w *world) { w.current, w.whole["2.0.0"], w.holder = "2.0.0", true, "1.0.0" }, cause: "it runs, and is left alone", stays: true},
		{name: "the state is another version's", harm: func(w *world) { w.runs, w.holder, w.whole["2.0.0"] = false, "2.0.0", true }, result: engine.Inconsistent, cause: "learned from the updater that it is 2.0.0"},
		{name: "the state is another version's, and it runs", harm: func(w *world) { w.holder, w.whole["2.0.0"] = "2.0.0", true }, cause: "it runs, and is left alone", stays: true},
		{name: "link lost, and the state is another version's", harm: func(w *world) { w.runs, w.current, w.holder, w.whole["2.0.0"] = false, "", "2.0.0", true }, result: engine.Inconsistent, cause: "learned from the updater that it is 2.0.0"},
		{name: "program damaged", harm: func(w *world) { w.runs, w.whole["1.0.0"] = false, false }, result: engine.Unchanged, cause: "put in place again"},
		{name: "program lost", harm: func(w *world) { w.runs, w.current = false, ""; delete(w.whole, "1.0.0") }, result: engine.Unchanged, cause: "put in place again"},
		{name: "program lost, and its package too", harm: func(w *world) { w.runs, w.published, w.whole["1.0.0"] = false, false, false }, cause: "ask for a version again", stays: true},
		{name: "in the middle of an update", harm: func(w *world) { w.open, w.current, w.runs = true, "2.0.0", false }, damage: store.Damage{Found: broken}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := sound()
			c.harm(w)
			settles(t, w, w.recovery(t, c.damage), c.result, c.cause, c.stays)
		})
	}
}

func settles(t *testing.T, w *world, r *Recovery, result, cause string, stays bool) {
	t.Helper()
	before := *w
	for range 2 { // what is settled stays so, and is told once
		err := r.Settle(t.Context(), name)
		if stays != (err != nil) || err != nil && !strings.Contains(err.Error(), cause) {
			t.Fatalf("error %v, want one that says %q: %v", err, cause, stays)
		}
	}
	switch {
	case result == "" && w.outcome != nil:
		t.Errorf("reported %+v", w.outcome)
	case result != "" && (w.outcome == nil || w.outcome.Result != result || !strings.Contains(w.outcome.Cause, cause)):
		t.Errorf("reported %+v, want %s: %s", w.outcome, result, cause)
	}
	switch {
	case before.open && w.started > 0:
		t.Error("an open update was meddled with")
	case !before.open && !stays && w.current != "" && (!w.runs || w.installed.Version != w.current || w.installed.Schema != 1):
		t.Errorf("%+v", w)
	case before.runs && !w.runs:
		t.Error("a component that ran was stopped")
	case before.runs && before.current != "" && w.current != before.current:
		t.Error("a component was switched while it ran")
	case stays && before.holder != "" && w.holder != before.holder:
		t.Errorf("the mark is overwritten with %s", w.holder)
	}
}

// TestStart: what is found not to run is started, on its own state alone, and
// not while an update has stopped it.
func TestStart(t *testing.T) {
	for _, c := range []struct {
		name   string
		harm   func(*world)
		starts bool
		apart  bool
	}{
		{name: "it ended", harm: func(*world) {}, starts: true},
		{name: "its update waits", harm: func(w *world) { w.open, w.record.Step = true, "admit" }, starts: true},
		{name: "its update has stopped it", harm: func(w *world) { w.open, w.record.Step = true, "save" }},
		{name: "the update of another one has stopped it", harm: func(w *world) { w.halted = true }},
		{name: "it shall not run", harm: func(w *world) { w.inactive, w.runs = true, true }},
		{name: "nothing is installed", harm: func(w *world) { w.installed = engine.Installed{} }},
		{name: "the state is another version's", harm: func(w *world) { w.holder = "2.0.0" }, apart: true},
		{name: "the journal cannot be read", harm: func(w *world) { w.garbled = errors.New("no record") }},
	} {
		w := sound()
		w.runs = false
		c.harm(w)
		err := w.recovery(t, store.Damage{}).Start(t.Context(), name)
		if w.runs != c.starts || (w.started > 0) != c.starts || errors.Is(err, ErrApart) != c.apart {
			t.Errorf("%s: runs %v, error %v", c.name, w.runs, err)
		}
	}
}

// TestSettleHalted: what an update of another component keeps stopped stays so,
// and what shall not run.
func TestSettleHalted(t *testing.T) {
	for _, harm := range []func(*world){func(w *world) { w.halted = true }, func(w *world) { w.inactive = true }} {
		w := sound()
		w.runs = false
		harm(w)
		if err := w.recovery(t, store.Damage{}).Settle(t.Context(), name); err != nil || w.started > 0 || w.outcome != nil {
			t.Errorf("%v, started %d, reported %+v", err, w.started, w.outcome)
		}
	}
}

// TestUpdaterDoesNotStart: whoever needs it will say so, unless it alone knows
// what is installed.
func TestUpdaterDoesNotStart(t *testing.T) {
	for _, lost := range []bool{false, true} {
		w := sound()
		r := w.recovery(t, store.Damage{Found: errors.New("broken"), Lost: lost})
		r.Updater = func(context.Context, string) (*updater.Client, error) { return nil, errors.New("wrong checksum") }
		if err := r.Settle(t.Context(), name); errors.Is(err, ErrUnknown) != lost {
			t.Errorf("lost %v: %v", lost, err)
		}
	}
}

func TestInconsistentAnswersTheWish(t *testing.T) {
	w := sound()
	wish := engine.Wish{Version: "2.0.0", Attempt: 3}
	if err := w.recovery(t, store.Damage{}).Inconsistent(engine.Update{ID: "u", Component: name, Wish: wish}, errors.New("cause")); err != nil {
		t.Fatal(err)
	}
	if o := w.outcome; o.Wish != wish || o.Update != "u" || o.To != "2.0.0" || o.Result != engine.Inconsistent {
		t.Errorf("%+v", o)
	}
}

// A component whose live state is gone gets the newest saved one, or begins
// anew if there is none; either is told, and what cannot be put in place keeps
// it from starting.
func TestStateGone(t *testing.T) {
	for _, c := range []struct {
		name       string
		harm       func(*world)
		result     string
		cause      string
		stays      bool
		reinstated bool
	}{
		{"while it runs", func(w *world) { w.saved = true }, engine.Unchanged, "goes on with generation 7", false, true},
		{"while it does not run", func(w *world) { w.saved, w.runs = true, false }, engine.Unchanged, "stored since is lost", false, true},
		{"with the program", func(w *world) { w.saved, w.runs, w.current = true, false, ""; delete(w.whole, "1.0.0") }, engine.Unchanged, "version 1.0.0 was put in place again", false, true},
		{"and none is saved", func(w *world) { w.runs = false }, engine.Inconsistent, "begins with an empty one", false, false},
		{"and cannot be put in place", func(w *world) { w.saved, w.unfit, w.runs = true, true, false }, engine.Unchanged, "no space", true, false},
		{"of a component without state", func(w *world) { w.installed.Schema = 0 }, "", "", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := sound()
			w.gone = true
			c.harm(w)
			err := w.recovery(t, store.Damage{}).Settle(t.Context(), name)
			if c.stays != errors.Is(err, ErrStateGone) || !c.stays && err != nil || err != nil && !strings.Contains(err.Error(), c.cause) {
				t.Errorf("error %v", err)
			}
			if c.result == "" && w.outcome != nil || c.result != "" && (w.outcome == nil || w.outcome.Result != c.result) {
				t.Errorf("reported %+v", w.outcome)
			}
			if c.result != "" && !c.stays && !strings.Contains(w.outcome.Cause, c.cause) || c.reinstated && !strings.Contains(w.outcome.Cause, "generation 7") {
				t.Errorf("reported %+v", w.outcome)
			}
			if w.reinstated != c.reinstated || w.runs == c.stays {
				t.Errorf("%+v", w)
			}
		})
	}
}

// TestStateGoneAtTheEnd: an agent that ends while it looks for a saved state has
// not found that there is none.
func TestStateGoneAtTheEnd(t *testing.T) {
	w := sound()
	w.gone, w.saved, w.runs = true, true, false
	ctx, cancel := context.WithCancel(t.Context())
	w.end = cancel
	if err := w.recovery(t, store.Damage{}).Settle(ctx, name); err == nil || w.outcome != nil || w.started > 0 {
		t.Errorf("error %v, reported %+v", err, w.outcome)
	}
}
