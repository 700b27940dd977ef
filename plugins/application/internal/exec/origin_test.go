package exec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/sdk/replica"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// TestTurnBackIsTheStateItself: an update that turns back gives the component
// the very directory that it had, with what no copy has. One that does not
// leaves nothing of it.
func TestTurnBackIsTheStateItself(t *testing.T) {
	for _, started := range []bool{false, true} {
		t.Run(fmt.Sprint("started ", started), func(t *testing.T) { turnBack(t, started) })
	}
}

func turnBack(t *testing.T, started bool) {
	r := newRig(t)
	old := r.install("appender", `,"health":{"file":"healthy"}`)
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	r.stop(time.Minute)
	pipe := filepath.Join(r.h.State(), "pipe")
	r.must(syscall.Mkfifo(pipe, 0o600))
	root, err := os.Stat(r.h.State())
	r.must(err)
	log, err := os.Stat(filepath.Join(r.h.State(), "log"))
	r.must(err)
	r.must(os.Remove(pipe)) // it would block read
	saved := r.save()
	r.must(syscall.Mkfifo(pipe, 0o600))
	next := r.stage("2.0.0", settings("appender", `,"health":{"file":"healthy"}`))
	r.switchTo(next)
	r.apply(r.dir(files{"log": "new layout\n"}))
	if started {
		r.start()
		r.eventually("healthy", func() bool { return r.probe().Healthy })
		r.stop(time.Minute)
	}
	r.apply(saved)
	r.apply(saved)
	r.switchTo(old)
	r.must(os.RemoveAll(saved)) // as the agent does
	r.start()
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	again, err := os.Stat(r.h.State())
	r.must(err)
	if !os.SameFile(root, again) {
		r.Errorf("started %v: another directory", started)
	}
	if again, err = os.Stat(filepath.Join(r.h.State(), "log")); err != nil || !os.SameFile(log, again) {
		r.Errorf("started %v: another file: %v", started, err)
	}
	if !disk.Exists(pipe) {
		r.Errorf("started %v: the pipe is gone", started)
	}
	r.must(os.Remove(pipe))
	if d := cmp.Diff(files{"log": "1.0.0\n1.0.0\n"}, r.read(r.h.State())); d != "" {
		r.Errorf("started %v, the old version's state:\n%s", started, d)
	}
	r.must(r.u.Unstage(r.ctx, updater.UnstageRequest{Component: name, Version: "2.0.0", Handle: next}))
	r.eventually("nothing is left", func() bool {
		return !disk.Exists(r.h.Path(".state.old")) && !disk.Exists(r.h.Path("origin")) && len(glob(r.h.Path(".discarded-"+"*"))) == 0
	})
}

// TestTurnBackFromPinned: a version that makes its state immutable does not keep
// the one before it from coming back.
func TestTurnBackFromPinned(t *testing.T) {
	r := newRig(t)
	old := r.install("appender", `,"health":{"file":"healthy"}`)
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	r.stop(time.Minute)
	root, err := os.Stat(r.h.State())
	r.must(err)
	saved := r.save()
	r.switchTo(r.stage("2.0.0", settings("appender", `,"health":{"file":"healthy"}`)))
	r.apply(r.dir(files{"log": "new layout\n"}))
	r.start()
	r.stop(time.Minute)
	f, err := os.Open(r.h.State())
	r.must(err)
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, 0x10); err != nil { // FS_IMMUTABLE_FL
		t.Skipf("NOT TESTED: a state that is immutable, since none can be made here: %v", err)
	}
	t.Cleanup(func() { replica.RemoveAll(r.h.Dir) })
	r.apply(saved)
	r.switchTo(old)
	r.start()
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	again, err := os.Stat(r.h.State())
	r.must(err)
	if !os.SameFile(root, again) {
		r.Error("another directory")
	}
}

// TestTurnBackFromMounted: nor does one that mounts something over its state, or
// below it, which is not lost by that.
func TestTurnBackFromMounted(t *testing.T) {
	r := newRig(t)
	old := r.install("appender", `,"health":{"file":"healthy"}`)
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	r.stop(time.Minute)
	saved := r.save()
	r.switchTo(r.stage("2.0.0", settings("appender", `,"health":{"file":"healthy"}`)))
	r.apply(r.dir(files{"log": "new layout\n", "below/x": ""}))
	r.start()
	r.stop(time.Minute)
	data := r.dir(files{"precious": "data"})
	t.Cleanup(func() { _ = replica.Detach(r.h.Dir) })
	for _, on := range []string{r.h.Path("state", "below"), r.h.State()} {
		if err := unix.Mount(data, on, "", unix.MS_BIND, ""); err != nil {
			t.Skipf("NOT TESTED: a state over which something is mounted, since nothing can be here: %v", err)
		}
	}
	r.apply(saved)
	r.switchTo(old)
	r.start()
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	if d := cmp.Diff(files{"log": "1.0.0\n1.0.0\n"}, r.read(r.h.State())); d != "" {
		r.Errorf("the old version's state:\n%s", d)
	}
	r.eventually("nothing is left", func() bool { return !disk.Exists(r.h.Path(".state.old")) && len(glob(r.h.Path(".discarded-*"))) == 0 })
	if d := cmp.Diff(files{"precious": "data"}, r.read(data)); d != "" {
		r.Errorf("what was mounted:\n%s", d)
	}
}

// TestPowerCutsWithOrigin: each case is what the disk looks like after a power
// cut in an update, or while it turns back, also if that took what was not on the
// disk yet: the note of the origin, and the renames of a start. Then it goes on
// there or turns back, and the state must be the new one or the one before.
func TestPowerCutsWithOrigin(t *testing.T) {
	const incoming, state, old = "incoming", "state", ".state.old"
	next, last := files{"a": "new"}, files{"a": "old", "d": "old"}
	for _, cut := range []struct {
		when   string
		note   string // of the origin
		goesOn bool   // or turns back only
		layout map[string]files
	}{
		{"in Save, note lost", "", false, map[string]files{state: last}},
		{"in Save, note empty", "empty", false, map[string]files{state: last}},
		{"in Save, note torn", "torn", false, map[string]files{state: last}},
		{"before Apply", "whole", false, map[string]files{state: last}},
		{"after Apply", "whole", true, map[string]files{state: last, incoming: next}},
		{"after Start, renames lost", "whole", true, map[string]files{state: last, incoming: next}},
		{"in Start, old state aside", "whole", true, map[string]files{old: last, incoming: next}},
		{"in Start, new state there", "whole", true, map[string]files{old: last, state: next}},
		{"on the way back, note removed", "", false, map[string]files{old: last, state: next}},
		{"on the way back, old state there", "", false, map[string]files{incoming: last, state: next}},
	} {
		for _, back := range []bool{true, false} {
			if !back && !cut.goesOn {
				continue
			}
			t.Run(cut.when, func(t *testing.T) {
				r := newRig(t)
				for name, content := range cut.layout {
					r.fill(r.h.Path(name), content)
				}
				saved, want := r.dir(last), next
				switch cut.note {
				case "whole":
					r.fill(r.h.Dir, files{"origin": saved})
				case "torn":
					r.fill(r.h.Dir, files{"origin": saved[:len(saved)-1]})
				case "empty":
					r.fill(r.h.Dir, files{"origin": ""})
				}
				r.switchTo(r.stage("1.0.0", settings("sleep", "")))
				if back {
					r.apply(saved)
					r.must(os.RemoveAll(saved))
					want = last
				}
				r.start()
				r.start()
				r.stop(time.Minute)
				if d := cmp.Diff(want, r.read(r.h.State())); d != "" {
					t.Errorf("back %v, state (-want +got):\n%s", back, d)
				}
				if d := cmp.Diff(want, r.read(r.save())); d != "" {
					t.Errorf("back %v, saved (-want +got):\n%s", back, d)
				}
				r.eventually("no older state is left", func() bool { return !disk.Exists(r.h.Path(".state.old")) })
			})
		}
	}
}

// TestTakeBack: the state comes back without what it was saved into, after a
// power cut at any point of that or of an Apply, and never another state
// instead.
func TestTakeBack(t *testing.T) {
	const incoming, state, old = "incoming", "state", ".state.old"
	next, last := files{"a": "new"}, files{"a": "old"}
	for _, cut := range []struct {
		when    string
		noted   string // directory that was saved from
		applied bool
		layout  map[string]files
		kept    bool
	}{
		{"before Apply", state, false, map[string]files{state: last}, true},
		{"after Apply", state, false, map[string]files{state: last, incoming: next}, true},
		{"after Start", old, false, map[string]files{old: last, state: next}, true},
		{"noted as applied", old, true, map[string]files{old: last, state: next}, true},
		{"moved", incoming, true, map[string]files{incoming: last, state: next}, true},
		{"moved, nothing else there", incoming, true, map[string]files{incoming: last}, true},
		{"note removed", "", true, map[string]files{incoming: last, state: next}, true},
		{"never noted", "", false, map[string]files{old: last, state: next}, false},
		{"the original is lost", "gone", false, map[string]files{state: next}, false},
	} {
		t.Run(cut.when, func(t *testing.T) {
			r := newRig(t)
			for name, content := range cut.layout {
				r.fill(r.h.Path(name), content)
			}
			const dir = "/state/2/files"
			if cut.noted != "" {
				r.fill(r.h.Dir, files{"origin": dir + "\n" + inode(r.h.Path(cut.noted))})
			}
			if cut.applied {
				r.fill(r.h.Dir, files{"applied": dir})
			}
			r.switchTo(r.stage("1.0.0", settings("sleep", "")))
			want := last
			for range 2 {
				err := r.u.TakeBack(r.ctx, updater.TakeBackRequest{Component: name, Dir: dir})
				if cut.kept != (err == nil) || err != nil && !errors.Is(err, errors.ErrUnsupported) {
					t.Fatalf("kept %v: %v", cut.kept, err)
				}
			}
			if !cut.kept {
				want = next
			}
			r.start()
			r.stop(time.Minute)
			if d := cmp.Diff(want, r.read(r.h.State())); d != "" {
				t.Errorf("state (-want +got):\n%s", d)
			}
		})
	}
}

func inode(path string) string {
	var s syscall.Stat_t
	if syscall.Lstat(path, &s) != nil {
		return ""
	}
	return fmt.Sprint(s.Ino)
}
