package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// A losing disk holds the saved states, and loses with the power what was not
// brought to it.
type losing struct {
	*state.Manager
	w    *world
	root string
	kept map[string]string // content by path, as it would be found after a power cut at its worst; directories end in a slash
}

func newLosing(t *testing.T, w *world, e *Engine) *losing {
	t.Helper()
	files, _, _ := e.States.Load(t.Context(), component, 1)
	l := &losing{w: w, root: filepath.Join(files, "../../../..")}
	l.kept = l.read(t)
	l.open(t, e)
	return l
}

// open is what an agent does that starts.
func (l *losing) open(t *testing.T, e *Engine) {
	t.Helper()
	var err error
	if l.Manager, err = state.Open(l.root, l.w); err != nil {
		t.Fatal(err)
	}
	e.States, e.Marks, e.Transform, e.Rehearsals = l, l, l, l
}

func (l *losing) read(t *testing.T) map[string]string {
	all, err := readDisk(l.root)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func readDisk(root string) (map[string]string, error) {
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name, _ := filepath.Rel(root, path)
		if err != nil || entry.IsDir() {
			all[name+"/"] = ""
			return err
		}
		b, err := os.ReadFile(path)
		all[name] = string(b)
		return err
	})
	return all, err
}

// sync brings everything to the disk, unless the power fails before.
func (l *losing) sync() error {
	return l.w.op("sync", func() (err error) {
		l.kept, err = readDisk(l.root)
		return err
	})
}

// unsealed notes what the manager brings to the disk by itself: that a seal is
// gone.
func (l *losing) unsealed(gen state.Generation) {
	delete(l.kept, filepath.Join(component, fmt.Sprint(gen), "seal.json"))
}

func (l *losing) Seal(ctx context.Context, component string, gen state.Generation, meta state.Meta) error {
	if err := l.Manager.Seal(ctx, component, gen, meta); err != nil {
		return err
	}
	return l.sync()
}

func (l *losing) Rehearse(ctx context.Context, component string, gen state.Generation, steps []host.Step, progress func(done, total int64), pause func() error) (state.Rehearsed, error) {
	found, err := l.Manager.Rehearse(ctx, component, gen, steps, progress, pause)
	if err != nil {
		return found, err
	}
	return found, l.sync()
}

func (l *losing) Transform(ctx context.Context, component string, from, to state.Generation, steps []host.Step, progress func(done, total int64)) (host.Report, error) {
	defer l.unsealed(to)
	return l.Manager.Transform(ctx, component, from, to, steps, progress)
}

func (l *losing) Fresh(component string, gen state.Generation) (string, error) {
	defer l.unsealed(gen)
	return l.Manager.Fresh(component, gen)
}

func (l *losing) Drop(component string, gen state.Generation) error {
	defer l.unsealed(gen)
	return l.Manager.Drop(component, gen)
}

// SetMark is durable by itself.
func (l *losing) SetMark(component string, m state.Mark) error {
	return l.w.op("mark", func() error {
		name := filepath.Join(component, "live.json")
		err := l.Manager.SetMark(component, m)
		b, _ := os.ReadFile(filepath.Join(l.root, name))
		l.kept[name] = string(b)
		return err
	})
}

// losses are what a power cut can make of what was not brought to the disk: of
// a file that is there now, or that was there, its content, or that it is gone.
var losses = map[string]func(name, now, kept string, isNow, wasKept bool) (content string, is bool){
	"nothing": func(_, now, _ string, isNow, _ bool) (string, bool) { return now, isNow },
	"all":     func(_, _, kept string, _, wasKept bool) (string, bool) { return kept, wasKept },
	"contents": func(_, now, kept string, isNow, _ bool) (string, bool) {
		if now != kept {
			now = ""
		}
		return now, isNow
	},
	"contents but seals": func(name, now, kept string, isNow, _ bool) (string, bool) {
		if now != kept && !strings.HasSuffix(name, "seal.json") {
			now = ""
		}
		return now, isNow
	},
}

// lose is the power cut.
func (l *losing) lose(t *testing.T, how string) {
	t.Helper()
	now := l.read(t)
	names := map[string]bool{}
	for name := range now {
		names[name] = true
	}
	for name := range l.kept {
		names[name] = true
	}
	if err := os.RemoveAll(l.root); err != nil {
		t.Fatal(err)
	}
	for name := range names {
		a, isNow := now[name]
		b, wasKept := l.kept[name]
		content, is := losses[how](name, a, b, isNow, wasKept)
		if !is {
			continue
		}
		path := filepath.Join(l.root, name)
		dir := filepath.Dir(path)
		if strings.HasSuffix(name, "/") {
			dir = path
		}
		err := os.MkdirAll(dir, 0o700)
		if dir != path && err == nil {
			err = os.WriteFile(path, []byte(content), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// whole wants every generation that is sealed to be as it was sealed.
func (l *losing) whole(t *testing.T, cut int) {
	t.Helper()
	entries, err := l.List(component, state.Needs{})
	if err != nil {
		t.Error(err)
	}
	for _, entry := range entries {
		if _, _, err := l.Load(t.Context(), component, entry.Generation); err != nil && !errors.Is(err, state.ErrMoved) {
			t.Errorf("cut after %d: a generation is kept that is not whole: %v", cut, err)
		}
	}
}

// TestPowerCutsLoseWrites: the power fails after every operation of an update,
// there or on its way back, and before what is written reaches the disk; what
// did not reach it is lost, or torn. The component ends on one version, running,
// with its state, and no saved state is kept that is not whole.
func TestPowerCutsLoseWrites(t *testing.T) {
	patient, hasty := build(t, "1m"), build(t, "20ms")
	for _, c := range []struct {
		failAt string
		once   bool
	}{{"", false}, {"run", true}, {"apply", true}, {"start2.0.0", false}, {"probe2.0.0", false}} {
		p := patient
		if c.failAt == "probe2.0.0" {
			p = hasty
		}
		for how := range losses {
			cutEverywhere(t, fmt.Sprintf("fail=%s/lost=%s", c.failAt, how), func(t *testing.T, cut int) bool {
				w, e := newWorld(t, p)
				l := newLosing(t, w, e)
				w.set(func() { w.budget, w.failAt, w.failOnce = cut, c.failAt, c.once })
				o, err := w.update(t, e, "2.0.0")
				whole := err == nil
				if !whole {
					l.lose(t, how)
					l.open(t, e)
					w.set(func() { w.budget = -1 })
					o, err = w.update(t, e, "2.0.0")
				}
				if err != nil || o.Result == Inconsistent {
					t.Errorf("cut after %d: %+v, %v", cut, o, err)
					return whole
				}
				w.check(t, o)
				l.whole(t, cut)
				return whole
			})
		}
	}
}
