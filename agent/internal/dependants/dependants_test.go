package dependants

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

const name = "application/a"

// A world is a disk, and a clock that the test moves.
type world struct {
	declared []pack.Dependant
	kept     map[string]engine.Deferral
	again    int
	clock    engine.Moment
}

func (w *world) Deferral(c string) (engine.Deferral, bool, error) {
	d, found := w.kept[c]
	return d, found, nil
}

func (w *world) SetDeferral(c string, d engine.Deferral) error {
	w.kept[c] = d
	return nil
}

func (w *world) registry() *Registry {
	if w.kept == nil {
		w.kept, w.clock = map[string]engine.Deferral{}, engine.Moment{Boot: "b", At: time.Hour}
	}
	r := New(Config{
		Declared: func() []pack.Dependant { return w.declared }, Memory: w,
		Again: func(string) { w.again++ }, Log: slog.New(slog.DiscardHandler),
	})
	r.now = func() engine.Moment { return w.clock }
	return r
}

func subscribe(t *testing.T, r *Registry, d pack.Dependant) <-chan component.Notice {
	t.Helper()
	notices, cancel, err := r.Subscribe(d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cancel)
	return notices
}

func hears(t *testing.T, notices <-chan component.Notice, state string) component.Notice {
	t.Helper()
	select {
	case n := <-notices:
		if n.State != state || n.Of != name {
			t.Fatalf("heard %+v, want %s", n, state)
		}
		return n
	case <-time.After(10 * time.Second):
		t.Fatalf("heard nothing, want %s", state)
	}
	return component.Notice{}
}

// TestTold: a dependant hears of each change once, and the update waits until
// it is ready.
func TestTold(t *testing.T) {
	r := (&world{}).registry()
	until := time.Unix(2000000000, 0)
	serving := engine.View{Component: name, Installed: engine.Installed{Version: "1.0.0"}}
	away := serving
	away.Progress = &engine.Progress{Update: "u", To: "2.0.0", Stale: true, Until: until}
	r.Tell(serving)
	notices := subscribe(t, r, pack.Dependant{Component: "reader", Of: name, Policy: pack.PolicyTell})
	subscribe(t, r, pack.Dependant{Component: "stranger", Of: "application/other", Policy: pack.PolicyTell})
	if n := hears(t, notices, component.Live); n.Version != "1.0.0" {
		t.Errorf("%+v", n)
	}
	for range 3 {
		r.Tell(away)
	}
	if n := hears(t, notices, component.Leaving); !n.UnavailableUntil.Equal(until) || n.Update != "u" || n.To != "2.0.0" {
		t.Errorf("%+v", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	r.Ready(component.Answer{Name: "reader", Of: name, Update: "an older one"})
	if err := r.Await(ctx, name, "u"); err == nil || !strings.Contains(err.Error(), "reader") {
		t.Errorf("nobody was waited for: %v", err)
	}
	r.Ready(component.Answer{Name: "reader", Of: name, Update: "u"})
	if err := r.Await(t.Context(), name, "u"); err != nil {
		t.Error(err)
	}
	late := subscribe(t, r, pack.Dependant{Component: "late", Of: name, Policy: pack.PolicyTell})
	hears(t, late, component.Leaving)
	r.Tell(serving)
	hears(t, notices, component.Live)
	if len(notices) != 0 {
		t.Errorf("heard more: %+v", <-notices)
	}
}

// TestSlowReader: who does not listen misses the oldest, and holds nobody up.
func TestSlowReader(t *testing.T) {
	r := (&world{}).registry()
	notices := subscribe(t, r, pack.Dependant{Component: "reader", Of: name, Policy: pack.PolicyTell})
	for n := range 3 * backlog {
		r.Tell(engine.View{Component: name, Progress: &engine.Progress{Update: "u", Stale: n%2 == 0}})
	}
	if len(notices) != backlog {
		t.Errorf("%d notices wait", len(notices))
	}
}

func TestBadSubscriptions(t *testing.T) {
	r := (&world{}).registry()
	for _, d := range []pack.Dependant{
		{Component: "reader", Of: name, Policy: "never"},
		{Component: "reader", Of: "a", Policy: pack.PolicyTell},
		{Of: name, Policy: pack.PolicyTell},
		{Component: "reader", Of: name, Policy: pack.PolicyStop},
		{Component: name, Of: name, Policy: pack.PolicyTell},
		{Component: "a", Of: name, Policy: pack.PolicyTell},
	} {
		if _, _, err := r.Subscribe(d); err == nil {
			t.Errorf("%+v was taken", d)
		}
	}
}

// TestStops: dependants of dependants stop as well, each once, in an order in
// which they can start; circles end.
func TestStops(t *testing.T) {
	stop := func(c, of string) pack.Dependant {
		return pack.Dependant{Component: "application/" + c, Of: "application/" + of, Policy: pack.PolicyStop}
	}
	w := &world{declared: []pack.Dependant{
		stop("c", "b"), stop("b", "a"), stop("d", "a"), stop("d", "b"), stop("a", "c"), stop("x", "y"),
		{Component: "application/t", Of: name, Policy: pack.PolicyTell},
	}}
	r := w.registry()
	subscribe(t, r, stop("e", "a")) // which nobody allows
	want := []string{"application/b", "application/d", "application/c"}
	if diff := cmp.Diff(want, r.Stops(name)); diff != "" {
		t.Error(diff)
	}
}

// TestTerms: what is told of dependants is what holds.
func TestTerms(t *testing.T) {
	hour := pack.Duration(time.Hour)
	w := &world{declared: []pack.Dependant{
		{Component: "application/b", Of: name, Policy: pack.PolicyStop},
		{Component: "application/c", Of: name, Policy: pack.PolicyDefer, MaxDelay: 100 * hour},
		{Component: "application/c", Of: name, Policy: pack.PolicyStop},
		{Component: "application/d", Of: name, Policy: pack.PolicyDefer, MaxDelay: 2 * hour},
		{Component: "application/d", Of: name, Policy: pack.PolicyDefer, MaxDelay: hour},
		{Component: "application/e", Of: "application/other", Policy: pack.PolicyStop},
	}}
	want := map[string]string{"application/b": "stop", "application/c": "defer for at most 24h0m0s, stop", "application/d": "defer for at most 1h0m0s"}
	if diff := cmp.Diff(want, w.registry().Terms(name)); diff != "" {
		t.Error(diff)
	}
}

// update is one that has been rehearsed.
func update(id string) engine.Update {
	return engine.Update{ID: id, Component: name, To: engine.Installed{Version: "2.0.0"}}
}

func waits(t *testing.T, err error, what string) {
	t.Helper()
	var wait engine.Wait
	if !errors.As(err, &wait) || !strings.Contains(wait.For, what) || !wait.Poll || wait.Until.IsZero() {
		t.Fatalf("%v, want a wait for %s", err, what)
	}
}

// TestDefer: a delay holds, through restarts, until it has passed or was taken
// back; and never longer than the dependant may.
func TestDefer(t *testing.T) {
	w := &world{declared: []pack.Dependant{
		{Component: "application/b", Of: name, Policy: pack.PolicyDefer, MaxDelay: pack.Duration(time.Hour)},
		{Component: "application/reader", Of: name, Policy: pack.PolicyDefer, MaxDelay: pack.Duration(20 * time.Minute)},
	}}
	r := w.registry()
	notices := subscribe(t, r, pack.Dependant{Component: "reader", Of: name, Policy: pack.PolicyDefer})
	hears(t, notices, component.Live)
	stranger := subscribe(t, r, pack.Dependant{Component: "stranger", Of: name, Policy: pack.PolicyDefer})
	hears(t, stranger, component.Live)
	waits(t, r.Permit(update("u")), "an answer of application/b")
	if n := hears(t, notices, component.Asking); n.Update != "u" || n.To != "2.0.0" || (time.Until(n.Latest)-20*time.Minute).Abs() > time.Minute {
		t.Errorf("%+v", n)
	}
	if len(stranger) != 0 {
		t.Error("one who may not delay is asked")
	}
	answer := func(a component.Answer, good bool) {
		t.Helper()
		a.Of = name
		if _, err := r.Defer(a); (err == nil) != good {
			t.Fatalf("%+v: %v", a, err)
		}
	}
	answer(component.Answer{Name: "reader", Update: "u", For: "0s"}, true)
	answer(component.Answer{Name: "application/b", Update: "u", For: "10m", Reason: "busy"}, true)
	for _, bad := range []component.Answer{
		{Name: "stranger", Update: "u", For: "1m"},
		{Name: "reader", Update: "v", For: "1m"},
		{Name: "reader", Update: "u", For: "soon"},
		{Name: "reader", Update: "u", For: "-1m"},
	} {
		answer(bad, false)
	}
	waits(t, r.Permit(update("u")), "application/b, which asked for a delay: busy")
	r = w.registry() // the agent restarts, and nobody has subscribed yet
	w.clock.At += 9 * time.Minute
	waits(t, r.Permit(update("u")), "busy")
	answer(component.Answer{Name: "application/b", Update: "u", For: "2562047h47m", Reason: "still busy" + strings.Repeat(" ", maxReason-11) + "ä"}, true)
	if reason := w.kept[name].By["application/b"].Reason; !utf8.ValidString(reason) || len(reason) != maxReason-1 {
		t.Errorf("%q is half a character too long", reason)
	}
	w.clock.At += 50 * time.Minute
	waits(t, r.Permit(update("u")), "still busy")
	w.clock.At += 2 * time.Minute // more than an hour since it was asked
	if err := r.Permit(update("u")); err != nil {
		t.Fatal(err)
	}
	answer(component.Answer{Name: "application/b", Update: "u", For: "1m"}, false) // it has begun
	if w.again == 0 {
		t.Error("nobody was woken")
	}
}

// TestDeferTakenBack: then the update begins at once.
func TestDeferTakenBack(t *testing.T) {
	d := pack.Dependant{Component: "application/reader", Of: name, Policy: pack.PolicyDefer}
	w := &world{declared: []pack.Dependant{d}}
	r := w.registry()
	subscribe(t, r, d)
	waits(t, r.Permit(update("u")), "an answer of application/reader")
	late := subscribe(t, r, d) // one that comes back is asked as well
	hears(t, late, component.Live)
	for _, length := range []string{"10m", "0s"} {
		if _, err := r.Defer(component.Answer{Name: "reader", Of: name, Update: "u", For: length}); err != nil {
			t.Fatal(err)
		}
		if err := r.Permit(update("u")); (err == nil) != (length == "0s") {
			t.Fatalf("%s: %v", length, err)
		}
	}
}

// TestNobodyAnswers: the update waits for a moment, and not at all if nobody
// may delay it.
func TestNobodyAnswers(t *testing.T) {
	w := &world{}
	r := w.registry()
	if err := r.Permit(update("u")); err != nil {
		t.Fatal(err)
	}
	w.declared = []pack.Dependant{{Component: "application/b", Of: name, Policy: pack.PolicyDefer}}
	waits(t, r.Permit(update("v")), "application/b")
	w.clock.At += answerTime
	if err := r.Permit(update("v")); err != nil {
		t.Fatal(err)
	}
}

// TestDelayOverAReboot: the clock of the boot begins anew, the delay does not.
func TestDelayOverAReboot(t *testing.T) {
	w := &world{declared: []pack.Dependant{{Component: "application/b", Of: name, Policy: pack.PolicyDefer}}}
	r := w.registry()
	waits(t, r.Permit(update("u")), "application/b")
	if _, err := r.Defer(component.Answer{Name: "application/b", Of: name, Update: "u", For: "30m"}); err != nil {
		t.Fatal(err)
	}
	w.clock = engine.Moment{Boot: "another", At: time.Minute}
	waits(t, r.Permit(update("u")), "application/b")
	w.clock.At = 31 * time.Minute
	if err := r.Permit(update("u")); err != nil || !w.kept[name].Begun {
		t.Fatal(err)
	}
}

// FuzzDefer: whatever a dependant says, the delay is within what it may.
func FuzzDefer(f *testing.F) {
	f.Add("10m", "busy")
	f.Add("-1s", "")
	f.Add("9999999h", "\xff")
	f.Fuzz(func(t *testing.T, length, reason string) {
		w := &world{declared: []pack.Dependant{{Component: "application/reader", Of: name, Policy: pack.PolicyDefer}}}
		r := w.registry()
		if _, _, err := r.Subscribe(pack.Dependant{Component: "reader", Of: name, Policy: pack.PolicyDefer}); err != nil {
			t.Fatal(err)
		}
		waits(t, r.Permit(update("u")), "application/reader")
		until, err := r.Defer(component.Answer{Name: "reader", Of: name, Update: "u", For: length, Reason: reason})
		if err == nil && time.Until(until) > defaultMax {
			t.Errorf("%q delays until %s", length, until)
		}
	})
}
