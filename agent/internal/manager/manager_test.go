package manager

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const name = "application/a"

func TestDecide(t *testing.T) {
	v1 := engine.Installed{Version: "1.0.0", Digest: "sha256:1"}
	none := engine.Wish{}
	wish := func(v string) engine.Wish { return engine.Wish{Version: v} }
	for label, test := range map[string]struct {
		wish, settled engine.Wish
		installed     engine.Installed
		want          Decision
	}{
		"nothing wanted":           {none, none, v1, Nothing},
		"newer":                    {wish("2.0.0"), none, v1, Update},
		"older, as asked":          {wish("0.9.0"), none, v1, Update},
		"first installation":       {wish("1.0.0"), none, engine.Installed{}, Update},
		"answered before":          {wish("2.0.0"), wish("2.0.0"), v1, Nothing},
		"asked again":              {engine.Wish{Version: "2.0.0", Attempt: 1}, wish("2.0.0"), v1, Update},
		"installed already":        {wish("1.0.0"), wish("0.9.0"), v1, Unchanged},
		"pinned, and there":        {engine.Wish{Version: "1.0.0", Package: "sha256:1"}, none, v1, Unchanged},
		"pinned to another":        {engine.Wish{Version: "1.0.0", Package: "sha256:2"}, none, v1, Update}, // which refuses it
		"package there already":    {engine.Wish{Package: "sha256:1"}, none, v1, Unchanged},
		"package":                  {engine.Wish{Package: "sha256:2"}, none, v1, Update},
		"no version":               {wish("latest"), none, v1, Refuse},
		"only an attempt":          {engine.Wish{Attempt: 3}, none, v1, Nothing},
		"taken back":               {none, wish("2.0.0"), v1, Nothing},
		"nothing, with no version": {none, none, engine.Installed{}, Nothing},
		"removed":                  {engine.Wish{Remove: "keep"}, none, v1, Update},
		"removed before":           {engine.Wish{Remove: "keep"}, none, engine.Installed{Previous: &engine.Previous{}}, Unchanged},
		"purged after that":        {engine.Wish{Remove: "purge"}, none, engine.Installed{Previous: &engine.Previous{}}, Update},
		"purged, never installed":  {engine.Wish{Remove: "purge"}, none, engine.Installed{}, Unchanged},
		"removed in another way":   {engine.Wish{Remove: "burn"}, none, v1, Refuse},
		"removed and installed":    {engine.Wish{Remove: "keep", Version: "2.0.0"}, none, v1, Refuse},
	} {
		got, cause := decide(test.wish, test.settled, test.installed)
		if got != test.want {
			t.Errorf("%s: %v (%s), want %v", label, got, cause, test.want)
		}
		if (got == Refuse || got == Unchanged) && cause == "" {
			t.Errorf("%s: no cause", label)
		}
	}
}

// memory is a store, and an engine that installs whatever is wished for.
type memory struct {
	mended    int64 // number of the last repair of the component
	mends     []engine.Choice
	dead      bool // the component
	kept      int  // how often it was started again
	mu        sync.Mutex
	installed engine.Installed
	wishes    engine.Wishes
	outcome   *engine.Outcome
	runs      []engine.Wish
	losing    bool // of the last of them
	fail      bool
	hang      chan string // if not nil, an update waits here, and turns back
	finished  bool        // the unfinished update of an earlier process
	newest    Found
	dripping  bool // the file server does not come to an end
	checks    int
	repaired  int64
	repairs   int
	broken    error // of a repair
	open      bool  // an update is in the journal
}

// set changes what the manager will find.
func (m *memory) set(change func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change()
}

func (m *memory) Installed(string) (i engine.Installed, err error) {
	m.set(func() { i = m.installed })
	return i, nil
}

func (m *memory) Wishes(string) (w engine.Wishes, err error) {
	m.set(func() { w = m.wishes })
	return w, nil
}

func (m *memory) SetWishes(_ string, w engine.Wishes) error {
	m.set(func() { m.wishes = w })
	return nil
}

func (m *memory) Outcome(string) (engine.Outcome, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.outcome == nil {
		return engine.Outcome{}, false, nil
	}
	return *m.outcome, true, nil
}

func (m *memory) Report(o engine.Outcome) error {
	m.set(func() { m.outcome = &o })
	return nil
}

func (m *memory) run(_ context.Context, u engine.Update) (engine.Outcome, error) {
	o := engine.Outcome{Update: u.ID, Wish: u.Wish, To: u.Wish.Version, Result: engine.Updated}
	if u.Repair > 0 {
		m.set(func() { m.mends, m.mended = append(m.mends, engine.Choice{Restore: u.Restore}), u.Repair })
		return o, nil
	}
	hangs := m.hang != nil && u.Wish.Version == "2.0.0"
	if hangs {
		o.Cause = <-m.hang
	}
	m.set(func() {
		switch {
		case u.ID == "":
			m.finished = true
			return
		case m.fail || hangs:
			o.Result = engine.TurnedBack
		default:
			m.installed = engine.Installed{Version: u.Wish.Version, Digest: u.Wish.Package}
		}
		m.runs, m.losing, m.outcome = append(m.runs, u.Wish), u.Losing, &o
	})
	return o, nil
}

func (m *memory) Repaired() (n int64, err error) {
	m.set(func() { n = m.repaired })
	return n, nil
}

func (m *memory) Mended(string) (n int64, err error) {
	m.set(func() { n = m.mended })
	return n, nil
}

func (m *memory) SetRepaired(n int64) error {
	m.set(func() { m.repaired = n })
	return nil
}

// cancel ends an update that hangs.
func (m *memory) cancel(_, why string) error {
	m.hang <- why
	return nil
}

func (m *memory) check(ctx context.Context, _, current string) (Found, bool, error) {
	if m.dripping {
		<-ctx.Done()
		return Found{}, false, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checks++
	if m.newest.Version == "" {
		return Found{}, false, errors.New("no file server")
	}
	return m.newest, m.newest.Version != current, nil
}

// start runs a manager until the test ends, in a bubble of its own time.
func start(t *testing.T, m *memory) (manager *Manager, stop func()) {
	t.Helper()
	manager = New(Config{
		Components: []string{name}, Memory: m, Run: m.run, Cancel: m.cancel, Check: m.check, Changed: func(string) {},
		Journal: func(string) (_ engine.Record, open bool, _ error) {
			m.set(func() { open = m.open })
			return engine.Record{}, open, nil
		},
		Ensure: func(context.Context, string) error { return nil },
		Running: func(context.Context, string) (runs bool) {
			m.set(func() { runs = !m.dead })
			return runs
		},
		Keep: func(context.Context, string) error {
			m.set(func() { m.kept++; m.dead = m.wishes.Inactive })
			return nil
		},
		Repair: func(context.Context) error {
			m.set(func() { m.repairs++ })
			return m.broken
		},
		Fault: func() string { return "" }, Repaired: m,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	begin := time.Now()
	manager.on = func() time.Duration { return time.Since(begin) } // in the bubble
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = manager.Run(ctx) }()
	synctest.Wait()
	return manager, func() { cancel(); <-ended }
}

func want(t *testing.T, m *Manager, w engine.Wish) {
	t.Helper()
	if err := m.Want(name, func(all *engine.Wishes) { all.Wish = w }); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

func TestAWishRunsOnceHoweverOftenItComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		manager, stop := start(t, m)
		want(t, manager, engine.Wish{Version: "2.0.0"})
		want(t, manager, engine.Wish{Version: "2.0.0"})
		stop()
		manager, stop = start(t, m) // a restart
		want(t, manager, engine.Wish{Version: "2.0.0"})
		stop()
		if !m.finished || !cmp.Equal(m.runs, []engine.Wish{{Version: "2.0.0"}}) || m.outcome.Result != engine.Updated {
			t.Fatalf("runs %v, outcome %+v", m.runs, m.outcome)
		}
	})
}

func TestAFailedWishIsTriedAgainWhenAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{fail: true}
		manager, stop := start(t, m)
		defer stop()
		want(t, manager, engine.Wish{Version: "2.0.0"})
		pass(time.Hour)
		if len(m.runs) != 1 {
			t.Fatalf("runs %v", m.runs)
		}
		m.set(func() { m.fail = false })
		want(t, manager, engine.Wish{Version: "2.0.0", Attempt: 1})
		if len(m.runs) != 2 || m.installed.Version != "2.0.0" {
			t.Fatalf("runs %v", m.runs)
		}
	})
}

func TestBadWishesAreAnsweredAndTheNextGoodOneWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{installed: engine.Installed{Version: "1.0.0"}}
		manager, stop := start(t, m)
		defer stop()
		for wish, result := range map[string]string{"latest": engine.Refused, "1.0.0": engine.Unchanged} {
			want(t, manager, engine.Wish{Version: wish})
			if m.outcome == nil || m.outcome.Result != result || m.outcome.Cause == "" || len(m.runs) != 0 {
				t.Errorf("%s: %+v, runs %v", wish, m.outcome, m.runs)
			}
		}
		want(t, manager, engine.Wish{Version: "2.0.0"})
		if m.installed.Version != "2.0.0" {
			t.Errorf("installed %+v", m.installed)
		}
		if err := manager.Want("application/other", func(*engine.Wishes) {}); err == nil {
			t.Error("a wish for a component that is not here")
		}
	})
}

func TestANewerWishSupersedesAnOlderOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{installed: engine.Installed{Version: "1.0.0"}, hang: make(chan string)}
		manager, stop := start(t, m)
		defer stop()
		want(t, manager, engine.Wish{Version: "2.0.0"})
		want(t, manager, engine.Wish{Version: "2.0.0"}) // the same again: no reason to turn back
		if len(m.runs) != 0 {
			t.Fatalf("runs %v", m.runs)
		}
		want(t, manager, engine.Wish{Version: "3.0.0"})
		if !cmp.Equal(m.runs, []engine.Wish{{Version: "2.0.0"}, {Version: "3.0.0"}}) || m.installed.Version != "3.0.0" {
			t.Fatalf("runs %v, installed %v", m.runs, m.installed)
		}
	})
}

// What shall not run is stopped, and what shall is started again.
func TestInactive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{installed: engine.Installed{Version: "1.0.0"}}
		manager, stop := start(t, m)
		defer stop()
		for i, inactive := range []bool{true, true, false} {
			if err := manager.Want(name, func(w *engine.Wishes) { w.Inactive = inactive }); err != nil {
				t.Fatal(err)
			}
			pass(time.Minute)
			if v, err := manager.View(name); err != nil || v.Running == inactive || v.Inactive != inactive || m.kept != []int{1, 1, 2}[i] {
				t.Errorf("inactive %v: %+v, %v, stopped or started %d times", inactive, v, err, m.kept)
			}
		}
	})
}

// Whatever kept a component running may have been killed.
func TestAComponentThatDoesNotRunIsStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{installed: engine.Installed{Version: "1.0.0"}}
		manager, stop := start(t, m)
		defer stop()
		pass(time.Minute)
		m.set(func() { m.dead = true })
		pass(time.Minute)
		if view, err := manager.View(name); m.kept != 1 || err != nil || !view.Running {
			t.Errorf("started %d times; %+v, %v", m.kept, view, err)
		}
	})
}

// The agent may end after an update and before the wish is noted as answered.
func TestTheAnswerOfAnEarlierProcessCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wish := engine.Wish{Version: "2.0.0"}
		m := &memory{
			installed: engine.Installed{Version: "2.0.0"}, wishes: engine.Wishes{Wish: wish},
			outcome: &engine.Outcome{Wish: wish, Result: engine.Updated},
		}
		_, stop := start(t, m)
		stop()
		if m.wishes.Settled != wish || m.outcome.Result != engine.Updated || len(m.runs) != 0 {
			t.Fatalf("%+v, %+v, %v", m.wishes, m.outcome, m.runs)
		}
	})
}

func TestPull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{installed: engine.Installed{Version: "1.0.0"}}
		manager, stop := start(t, m)
		defer stop()
		if err := manager.Want(name, func(w *engine.Wishes) { w.Schedule = "*/10 * * * *" }); err != nil {
			t.Fatal(err)
		}
		pass(25 * time.Minute)
		if m.checks < 2 || m.checks > 3 || len(m.runs) != 0 {
			t.Fatalf("%d checks in 25 minutes, runs %v", m.checks, m.runs)
		}
		m.set(func() { m.newest = Found{Version: "2.0.0", Digest: "sha256:2"} })
		pass(11 * time.Minute)
		if !cmp.Equal(m.runs, []engine.Wish{{Version: "2.0.0", Package: "sha256:2"}}) {
			t.Fatalf("runs %v", m.runs)
		}
		m.set(func() { m.newest, m.fail = Found{Version: "3.0.0", Digest: "sha256:3"}, true })
		pass(time.Hour) // a package that fails is not tried at every check
		if len(m.runs) != 2 || m.installed.Version != "2.0.0" {
			t.Fatalf("runs %v", m.runs)
		}
		m.set(func() { m.newest, m.fail = Found{Version: "4.0.0", Digest: "sha256:4"}, false })
		if err := manager.CheckNow(name); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if m.installed.Version != "4.0.0" {
			t.Fatalf("installed %+v", m.installed)
		}
	})
}

// TestSlowCheck: a file server that does not come to an end with its answer holds up
// neither wishes nor what keeps the component running, nor the end of the agent.
func TestSlowCheck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{installed: engine.Installed{Version: "1.0.0"}, dripping: true}
		manager, stop := start(t, m)
		defer stop()
		if err := manager.CheckNow(name); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		m.set(func() { m.dead = true })
		pass(time.Minute)
		m.set(func() {
			if m.kept == 0 {
				t.Error("nobody has started the component again")
			}
			m.dead = false
		})
		want(t, manager, engine.Wish{Version: "2.0.0"})
		if !cmp.Equal(m.runs, []engine.Wish{{Version: "2.0.0"}}) {
			t.Errorf("runs %v", m.runs)
		}
	})
}

// TestRepair: of one number there is one, whatever becomes of it; somebody at
// the device has it done at once.
func TestRepair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		manager, stop := start(t, m)
		defer stop()
		for i, number := range []int64{3, 3, 4} {
			if err := manager.RepairOnce(number); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if m.repaired != number || m.repairs != []int{1, 1, 2}[i] {
				t.Fatalf("repair %d: %d done, the last is %d", number, m.repairs, m.repaired)
			}
		}
		m.broken = errors.New("disk")
		if err := manager.Repair(t.Context()); !errors.Is(err, m.broken) || m.repairs != 3 || m.repaired != 4 {
			t.Errorf("%v after %d repairs, the last is %d", err, m.repairs, m.repaired)
		}
	})
}

// TestRunning: a component that an update has stopped does not run, whatever
// was seen before.
func TestRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{installed: engine.Installed{Version: "1.0.0"}}
		manager, stop := start(t, m)
		defer stop()
		for _, down := range []bool{false, true, false} {
			manager.Progress(engine.Progress{Component: name, Down: down})
			if v, err := manager.View(name); err != nil || v.Running == down {
				t.Errorf("down %v: %+v, %v", down, v, err)
			}
		}
	})
}

// pass lets time pass in the bubble, and all that is due in it happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
