package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/content"
	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

const component = "application/a"

// packages are version 1 (schema 1) and version 2 (schema 2, with transforms).
type packages map[string]*pack.Layout

// build makes the packages once. Only version 2 has the given deadline for
// becoming healthy.
func build(t *testing.T, deadline string) packages {
	t.Helper()
	all := packages{}
	for version, rest := range map[string]string{
		"1.0.0": "[probe]\ndeadline = \"1m\"\nprobation = \"1ms\"\n[state]\nschema = 1\n",
		"2.0.0": "maxDowntime = \"1h\"\n[probe]\ndeadline = \"" + deadline + "\"\nprobation = \"1ms\"\n[state]\nschema = 2\n[[transform]]\nfrom = 1\nto = 2\nmodule = \"t.wasm\"\n[[transform]]\nfrom = 2\nto = 1\nmodule = \"t.wasm\"\n",
	} {
		all[version] = layout(t, version, rest, "")
	}
	return all
}

// layout makes one package, with the rest of its recipe. Its transforms may
// name schema.json.
func layout(t *testing.T, version, rest, schema string) *pack.Layout {
	t.Helper()
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "layout")
	recipe := "type = \"application\"\nname = \"a\"\nversion = \"" + version + "\"\n" +
		rest + "[[artifact]]\npath = \"program\"\n"
	for name, data := range map[string]string{"tranquil.toml": recipe, "program": version, "t.wasm": "\x00asm\x01\x00\x00\x00", "schema.json": schema} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r, err := pack.ReadRecipe(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Build(out); err != nil {
		t.Fatal(err)
	}
	l, err := pack.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// A world is a device with one component, in memory and in one directory. It
// loses power after budget operations: then every operation fails, and
// nothing changes any more, until power is switched on.
//
// A call that the engine has given up may still be in here, as in any updater:
// hence the mutex.
type world struct {
	mu       sync.Mutex
	packages packages
	content  *content.Store
	budget   int
	off      context.CancelFunc
	failAt   string
	failOnce bool
	refuse   error // of every transform
	refused  int   // how often

	journal   *Record
	outcome   *Outcome
	installed Installed
	reported  bool
	timings   []Timing

	staged  map[string]bool
	current string // version
	running string // version that runs; "" none
	state   string // the component's state: schema and value
	quiet   bool
	mute    bool // it hands over no state, and begins anew where it is given none
	ran     int  // how often the new version has run and changed its state

	switched  func(version string) error // what the updater says when it has switched; nil: nothing
	confirmed string                     // version that need not go back by itself
}

var (
	errPower = errors.New("no power")
	errMute  = errors.New("it does not hand over its state")
)

// op is one operation that reaches the disk or the component. A failing one
// does its work first, as far as it goes.
func (w *world) op(name string, do func() error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.budget == 0 {
		w.off()
		return errPower
	}
	w.budget--
	err := do()
	if w.failAt == name {
		if w.failOnce {
			w.failAt = ""
		}
		return errors.New("boom")
	}
	return err
}

// set changes the world between two updates.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// version reads current or running.
func (w *world) version(v *string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return *v
}

func (w *world) Load(string) (Record, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.journal == nil {
		return Record{}, false, nil
	}
	return *w.journal, true, nil
}

func (w *world) Unfinished() ([]Record, error) {
	if w.journal == nil {
		return nil, nil
	}
	return []Record{*w.journal}, nil
}

func (w *world) Save(r Record) error {
	return w.op("journal", func() error { w.journal = &r; return nil })
}

func (w *world) End(_ Record, o Outcome) error {
	return w.op("end", func() error { w.journal, w.outcome = nil, &o; return nil })
}

func (w *world) Commit(_ string, i Installed) error {
	return w.op("commit", func() error { w.installed = i; return nil })
}

func (w *world) Everything() (map[string]Installed, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return map[string]Installed{component: w.installed}, nil
}

func (w *world) Timings(string) ([]Timing, error) { return w.timings, nil }

func (w *world) AddTiming(_ string, t Timing) error {
	return w.op("timing", func() error { w.timings = append(w.timings, t); return nil })
}

func (w *world) Report(o Outcome) error {
	return w.op("report", func() error { w.reported = o.Result == Updated || o.Result == Removed; return nil })
}

func (w *world) Manifest(_ context.Context, _, version string) ([]byte, error) {
	l, published := w.packages[version]
	if !published {
		return nil, w.op("manifest", func() error { return os.ErrNotExist })
	}
	return l.Manifest(), w.op("manifest", func() error { return nil })
}

func (w *world) read(d pack.Descriptor) ([]byte, error) {
	for _, l := range w.packages {
		if r, err := l.Blob(d); err == nil {
			defer r.Close()
			return io.ReadAll(r)
		}
	}
	return nil, os.ErrNotExist
}

func (w *world) Blob(_ context.Context, _, digest string, size int64, _ func(done, total int64)) error {
	return w.op("blob", func() error {
		return w.content.Receive(digest, size, func(have int64, out io.Writer) error {
			b, err := w.read(pack.Descriptor{Digest: digest, Size: size})
			if err != nil {
				return err
			}
			_, err = out.Write(b[have:])
			return err
		})
	})
}

func (w *world) Key(step host.Step) string { return (&host.Host{}).Key(step) }

// Refresh is the sandbox: it rewrites the schema of every file.
func (w *world) Refresh(_ context.Context, step host.Step, in, out string, files []host.File, _ func(done, total int64)) (host.Report, error) {
	name := "run"
	if step.Module == "" {
		name = "copy"
	}
	if len(files) == 0 {
		return host.Report{}, nil
	}
	if w.refuse != nil {
		w.refused++
		return host.Report{}, w.refuse
	}
	return host.Report{}, w.op(name, func() error {
		b, err := os.ReadFile(filepath.Join(in, "state"))
		if err != nil {
			return err
		}
		b = []byte(strings.Replace(string(b), fmt.Sprint("schema ", step.From), fmt.Sprint("schema ", step.To), 1))
		return os.WriteFile(filepath.Join(out, "state"), b, 0o600)
	})
}

// The world as an updater.

func (w *world) Stage(_ context.Context, r updater.StageRequest) (updater.StageResponse, error) {
	h := updater.Handle{Version: 1, Data: []byte(r.Version)}
	return updater.StageResponse{Handle: h}, w.op("stage", func() error { w.staged[r.Version] = true; return nil })
}

func (w *world) Unstage(_ context.Context, r updater.UnstageRequest) error {
	return w.op("unstage", func() error {
		if r.Version == w.current {
			return errors.New("that version is in use")
		}
		delete(w.staged, r.Version)
		return nil
	})
}

func (w *world) Switch(_ context.Context, r updater.SwitchRequest) error {
	return w.op("switch", func() error {
		if w.running != "" {
			return errors.New("switched under a running component")
		}
		w.current = string(r.Handle.Data)
		if w.switched != nil {
			return w.switched(w.current)
		}
		return nil
	})
}

// Start runs the current version, which reads and changes its state.
func (w *world) Start(context.Context, updater.StartRequest) error {
	return w.op("start"+w.version(&w.current), func() error {
		if w.running == w.current {
			return nil
		}
		w.running, w.quiet = w.current, false
		if w.mute && w.state == "" {
			w.state = "schema " + w.current[:1] + " anew"
		}
		if want := "schema " + w.current[:1]; !strings.HasPrefix(w.state, want) {
			return fmt.Errorf("version %s starts on state %q", w.current, w.state)
		}
		if w.current == "2.0.0" {
			w.ran++
			w.state += "+"
		}
		return nil
	})
}

func (w *world) Stop(context.Context, updater.StopRequest) (updater.StopResponse, error) {
	return updater.StopResponse{}, w.op("stop", func() error { w.running = ""; return nil })
}

// write copies the state into a directory.
func (w *world) write(dir string) error {
	return os.WriteFile(filepath.Join(dir, "state"), []byte(w.state), 0o600)
}

// stateful is the world with all that an updater can have.
type stateful struct{ *world }

func (s stateful) Save(_ context.Context, r updater.SaveRequest) error {
	return s.op("save", func() error {
		if s.running != "" {
			return errors.New("saved under a running component")
		}
		if s.mute {
			return errMute
		}
		return s.write(r.Dir)
	})
}

func (s stateful) Apply(_ context.Context, r updater.ApplyRequest) error {
	return s.op("apply", func() error {
		if entries, err := os.ReadDir(r.Dir); err != nil || len(entries) == 0 { // of one that is removed
			s.state = ""
			return err
		}
		b, err := os.ReadFile(filepath.Join(r.Dir, "state"))
		s.state = string(b)
		return err
	})
}

func (s stateful) Snapshot(_ context.Context, r updater.SnapshotRequest) error {
	return s.op("snapshot", func() error { // older than what is saved, so that there is something to transform
		if s.mute {
			return errMute
		}
		return os.WriteFile(filepath.Join(r.Dir, "state"), []byte(strings.Replace(s.state, "42", "41", 1)), 0o600)
	})
}

func (s stateful) Quiesce(context.Context, updater.QuiesceRequest) error {
	return s.op("quiesce", func() error { s.quiet = true; return nil })
}

func (s stateful) Resume(context.Context, updater.ResumeRequest) error {
	return s.op("resume", func() error { s.quiet = false; return nil })
}

func (s stateful) Probe(context.Context, updater.ProbeRequest) (updater.ProbeResponse, error) {
	running := s.version(&s.running)
	return updater.ProbeResponse{Healthy: running != ""}, s.op("probe"+running, func() error { return nil })
}

func (s stateful) Confirm(context.Context, updater.ConfirmRequest) error {
	return s.op("confirm", func() error { s.confirmed = s.running; return nil })
}

// newWorld is a device on which version 1 runs.
func newWorld(t *testing.T, p packages) (*world, *Engine) {
	t.Helper()
	w := &world{packages: p, budget: -1, off: func() {}, staged: map[string]bool{}, state: "schema 0 value 42"}
	var err error
	dir := quickDir(t)
	if w.content, err = content.Open(filepath.Join(dir, "content"), 0); err != nil {
		t.Fatal(err)
	}
	states, err := state.Open(filepath.Join(dir, "state"), w)
	if err != nil {
		t.Fatal(err)
	}
	client, err := updater.Connect(t.Context(), "application", stateful{w}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Kill)
	e := &Engine{
		Journal: w, Inventory: w, Source: w, Content: w.content, States: states, Marks: states, Transform: states, Rehearsals: states,
		Updater: func(context.Context, string) (*updater.Client, error) { return client, nil },
		Tell:    func(Progress) {}, Announce: func(context.Context, string) {}, Log: slog.New(slog.DiscardHandler),
		firstPause: time.Microsecond,
	}
	w.state = "schema 1 value 42"
	if o, err := w.update(t, e, "1.0.0"); err != nil || o.Result != Updated {
		t.Fatalf("cannot install version 1: %+v, %v", o, err)
	}
	return w, e
}

// quickDir is in memory where that can be had: a thousand devices that sync
// their files take minutes on a disk.
func quickDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "engine")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// update runs until the update has ended or the power is lost.
func (w *world) update(t *testing.T, e *Engine, version string) (Outcome, error) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.set(func() { w.off = cancel })
	return e.Run(ctx, Update{ID: "u", Component: component, From: w.installed, Wish: Wish{Version: version}})
}

// check holds the world against the outcome: all of one version, nothing of
// the other, and the state whole.
func (w *world) check(t *testing.T, o Outcome) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	version, want := "1.0.0", "schema 1 value 42"
	if o.Result == Updated {
		version, want = "2.0.0", "schema 2 value 42"+strings.Repeat("+", w.ran)
	}
	switch {
	case w.journal != nil || w.outcome == nil:
		t.Errorf("the update has not ended: %+v", w.journal)
	case w.current != version || w.running != version || w.installed.Version != version || w.quiet:
		t.Errorf("%s: current %q, running %q, installed %q, quiet %v", o.Result, w.current, w.running, w.installed.Version, w.quiet)
	case w.state != want:
		t.Errorf("%s: state %q, want %q", o.Result, w.state, want)
	case len(w.staged) != 1 || !w.staged[version]:
		t.Errorf("%s: staged %v", o.Result, w.staged)
	case o.Result == Updated && w.confirmed != version:
		t.Errorf("%s: confirmed %q", o.Result, w.confirmed)
	case o.Result == Updated && !w.reported:
		t.Error("nothing reported")
	}
}

// The power fails after every operation of an update, for every operation
// that fails always or once: the component ends on one version, running, with
// its state.
func TestPowerCutsOfTheRealSequence(t *testing.T) {
	patient, hasty := build(t, "1m"), build(t, "20ms")
	failures := []string{"", "manifest", "blob", "stage", "snapshot", "run", "quiesce", "stop", "save", "switch", "copy", "apply", "start2.0.0", "probe2.0.0", "confirm"}
	for _, failAt := range failures {
		for _, once := range []bool{false, true} {
			if failAt == "" && once {
				continue
			}
			p := patient
			if failAt == "probe2.0.0" && !once {
				p = hasty // it never gets healthy: no need to wait for it
			}
			cutEverywhere(t, fmt.Sprintf("fail=%s/once=%v", failAt, once), func(t *testing.T, cut int) bool {
				return cutOnce(t, p, failAt, once, cut)
			})
		}
	}
}

// cutEverywhere calls once for each number of operations after which the power
// may fail, until that is more than an update has. With the race detector it
// takes a sample of them, another one for each name.
func cutEverywhere(t *testing.T, name string, once func(t *testing.T, cut int) (whole bool)) {
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		for cut := len(name) % cutStride; ; cut += cutStride {
			if whole := once(t, cut); whole || t.Failed() {
				return
			}
		}
	})
}

// cutOnce reports whether the update ended before the cut came.
func cutOnce(t *testing.T, p packages, failAt string, once bool, cut int) (whole bool) {
	w, e := newWorld(t, p)
	w.set(func() { w.budget, w.failAt, w.failOnce = cut, failAt, once })
	o, err := w.update(t, e, "2.0.0")
	if whole = err == nil; !whole {
		w.set(func() { w.budget = -1 })
		o, err = w.update(t, e, "2.0.0")
	}
	if err != nil || o.Result == Inconsistent && !undoFails(failAt, once) {
		t.Errorf("cut after %d: %+v, %v", cut, o, err)
		return whole
	}
	if o.Result != Inconsistent {
		w.check(t, o)
	}
	if t.Failed() {
		t.Logf("cut after %d: %+v", cut, o)
	}
	return whole
}

// undoFails tells which failures also hit the way back, so that nothing can
// help: that must be said, and is all that can be asked.
func undoFails(failAt string, once bool) bool {
	return !once && (failAt == "stop" || failAt == "switch" || failAt == "apply" || failAt == "copy")
}

func TestAdmission(t *testing.T) {
	p := build(t, "1m")
	for name, test := range map[string]struct {
		change func(*world, *Update)
		cause  string
	}{
		"another component": {func(_ *world, u *Update) { u.Component = "application/b" }, "not for application/b"},
		"another version":   {func(w *world, u *Update) { w.packages = packages{"2.0.0": p["1.0.0"]} }, "holds version 1.0.0"},
		"another package of the version that is installed": {func(_ *world, u *Update) {
			u.Wish.Version, u.From.Digest = "1.0.0", pack.DigestOf(p["2.0.0"].Manifest())
		}, "another package needs another version"},
		"lower epoch":        {func(_ *world, u *Update) { u.From.Epoch = 1 }, "security epoch"},
		"no way to schema 2": {func(_ *world, u *Update) { u.From.Schema = 7 }, "no chain of transforms"},
	} {
		t.Run(name, func(t *testing.T) {
			w, e := newWorld(t, p)
			u := Update{ID: "u", Component: component, From: w.installed, Wish: Wish{Version: "2.0.0"}}
			test.change(w, &u)
			o, err := e.Run(t.Context(), u)
			if err != nil || o.Result != Refused || !strings.Contains(o.Cause, test.cause) {
				t.Fatalf("%+v, %v", o, err)
			}
			if w.running != "1.0.0" || len(w.staged) != 1 {
				t.Errorf("something was touched: %+v", w)
			}
		})
	}
}
