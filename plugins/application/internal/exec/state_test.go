package exec

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

type files = map[string]string

// TestSaveStaysAsItIs: the saved state shares its files with the live one, and
// yet a component that is started on it again and writes in place leaves the
// saved state alone.
func TestSaveStaysAsItIs(t *testing.T) {
	r := newRig(t)
	r.install("appender", `,"health":{"file":"healthy"}`)
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	r.stop(time.Minute)
	saved := r.save()
	if !sameFile(t, filepath.Join(saved, "log"), filepath.Join(r.h.State(), "log")) {
		t.Error("Save copied, though it could link")
	}
	r.start()
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	r.stop(time.Minute)
	if d := cmp.Diff(files{"log": "1.0.0\n"}, r.read(saved)); d != "" {
		t.Errorf("what was saved changed:\n%s", d)
	}
	if d := cmp.Diff(files{"log": "1.0.0\n1.0.0\n"}, r.read(r.h.State())); d != "" {
		t.Errorf("the live state:\n%s", d)
	}
}

func sameFile(t *testing.T, a, b string) bool {
	t.Helper()
	one, err := os.Stat(a)
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.Stat(b)
	if err != nil {
		t.Fatal(err)
	}
	return os.SameFile(one, two)
}

// TestTurnBack: the state that was saved comes back as it was, also after the
// new version wrote into its own.
func TestTurnBack(t *testing.T) {
	r := newRig(t)
	old := r.install("appender", `,"health":{"file":"healthy"}`)
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	r.stop(time.Minute)
	saved := r.save()
	next := r.stage("2.0.0", settings("appender", `,"health":{"file":"healthy"}`))
	r.switchTo(next)
	r.apply(r.dir(files{"log": "new layout\n"}))
	r.start()
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	r.stop(time.Minute)
	if d := cmp.Diff(files{"log": "new layout\n2.0.0\n"}, r.read(r.h.State())); d != "" {
		t.Errorf("the new version's state:\n%s", d)
	}
	r.apply(saved)
	r.apply(saved)
	r.switchTo(old)
	r.apply(saved)
	r.start()
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	if d := cmp.Diff(files{"log": "1.0.0\n1.0.0\n"}, r.read(r.h.State())); d != "" {
		t.Errorf("the old version's state:\n%s", d)
	}
}

func TestStateIsNotTouchedWhileRunning(t *testing.T) {
	r := newRig(t)
	r.install("sleep", "")
	dir := r.dir(files{"a": "b"})
	if err := r.u.Save(r.ctx, updater.SaveRequest{Component: name, Dir: r.TempDir()}); err == nil {
		t.Error("saved the state of a running component")
	}
	if err := r.u.Apply(r.ctx, updater.ApplyRequest{Component: name, Dir: dir}); err == nil {
		t.Error("applied state to a running component")
	}
	if d := cmp.Diff(files{"a": "b"}, r.read(dir)); d != "" {
		t.Error(d)
	}
}

func TestApplyMissing(t *testing.T) {
	r := newRig(t)
	err := r.u.Apply(r.ctx, updater.ApplyRequest{Component: name, Dir: "/no/such/directory"})
	if err == nil || !strings.Contains(err.Error(), "/no/such/directory") {
		t.Errorf("error %v", err)
	}
	r.apply(r.dir(files{"a": "b"}))
	if err := r.u.Apply(r.ctx, updater.ApplyRequest{Component: name, Dir: "/no/such/directory"}); err == nil {
		t.Error("another directory than the one applied is missing, and that is no error")
	}
}

// TestPowerCuts: each case is what the disk looks like after a power cut in
// Apply or in the Start after it. The call is repeated, and then the state must
// be the new one; or another state is applied, and then it must be that.
func TestPowerCuts(t *testing.T) {
	const incoming, state, old = "incoming", "state", ".state.old"
	next, last := files{"a": "new", "b/c": "new"}, files{"a": "old", "d": "old"}
	for _, cut := range []struct {
		when    string
		dir     bool // Apply's directory is there still
		applied bool // and it was noted
		layout  map[string]files
	}{
		{"before all", true, false, map[string]files{state: last}},
		{"with another incoming state", true, false, map[string]files{state: last, incoming: {"x": "y"}}},
		{"while that is removed", true, false, map[string]files{state: last, ".incoming.gone": {"x": "y"}}},
		{"after the note", true, true, map[string]files{state: last}},
		{"in the middle of a copy", true, true, map[string]files{state: last, ".incoming.new": {"a": "ne"}}},
		{"after a copy", true, true, map[string]files{state: last, incoming: next}},
		{"after the move", false, true, map[string]files{state: last, incoming: next}},
		{"in Start, old state aside", false, true, map[string]files{old: last, incoming: next}},
		{"in Start, older one left", false, true, map[string]files{state: last, incoming: next, old: {"x": "y"}}},
		{"in Start, new state there", false, true, map[string]files{old: last, state: next}},
		{"in Start, own copies begun", false, true, map[string]files{state: next, ".unshared": nil}},
	} {
		for _, way := range []string{"repeated", "taken back"} {
			t.Run(cut.when+", "+way, func(t *testing.T) {
				r := newRig(t)
				for name, content := range cut.layout {
					r.fill(r.h.Path(name), content)
				}
				if _, ok := cut.layout[".unshared"]; ok {
					r.must(os.RemoveAll(r.h.Path(".unshared")))
					r.must(os.WriteFile(r.h.Path(".unshared"), []byte("ha"), 0o600))
				}
				dir := filepath.Join(r.TempDir(), "next")
				if cut.dir {
					r.fill(dir, next)
				}
				if cut.applied {
					r.fill(r.h.Dir, files{"applied": dir})
				}
				r.switchTo(r.stage("1.0.0", settings("sleep", "")))
				want := next
				if way == "taken back" {
					dir, want = r.dir(last), last
				}
				r.apply(dir)
				r.start()
				r.stop(time.Minute)
				if d := cmp.Diff(want, r.read(r.h.State())); d != "" {
					t.Errorf("state (-want +got):\n%s", d)
				}
				if d := cmp.Diff(want, r.read(r.save())); d != "" {
					t.Errorf("saved (-want +got):\n%s", d)
				}
				if left := glob(r.h.Path("*.old")); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		}
	}
}

func TestSnapshot(t *testing.T) {
	r := newRig(t)
	snapshot := func() files {
		dir := r.dir(files{"of the call before": ""})
		r.must(r.u.Snapshot(r.ctx, updater.SnapshotRequest{Component: name, Dir: dir}))
		return r.read(dir)
	}
	if got := snapshot(); len(got) > 0 {
		t.Errorf("a component that is not installed has state %v", got)
	}
	r.install("sleep", "")
	r.fill(r.h.State(), files{"a": "1", "b/c": "2"})
	if d := cmp.Diff(files{"a": "1", "b/c": "2"}, snapshot()); d != "" {
		t.Error(d)
	}
}

const handsOver = `,"state":"handover"`

func TestHandover(t *testing.T) {
	r := newRig(t)
	r.switchTo(r.stage("1.0.0", settings("handover", handsOver)))
	r.apply(r.dir(files{"a": "1"}))
	r.start()
	if disk.Exists(r.h.Path("incoming")) {
		t.Error("the component has its state, and it is still to be handed over")
	}
	snapshot := r.TempDir()
	r.must(r.u.Snapshot(r.ctx, updater.SnapshotRequest{Component: name, Dir: snapshot}))
	if d := cmp.Diff(files{"a": "1"}, r.read(snapshot)); d != "" {
		t.Errorf("snapshot:\n%s", d)
	}
	for range 3 { // in memory only, and yet it goes from process to process
		r.stop(time.Minute)
		r.start()
	}
	r.stop(time.Minute)
	if d := cmp.Diff(files{"a": "1"}, r.read(r.save())); d != "" {
		t.Errorf("saved:\n%s", d)
	}
}

// TestHandoverToDirectory: the two ways may change from version to version,
// there and back.
func TestHandoverToDirectory(t *testing.T) {
	r := newRig(t)
	r.switchTo(r.stage("1.0.0", settings("sleep", "")))
	r.apply(r.dir(files{"a": "1"}))
	for n, more := range []string{"", handsOver, "", handsOver, handsOver} {
		r.switchTo(r.stage(fmt.Sprintf("%d.0.0", n+1), settings("handover", more)))
		r.start()
		r.stop(time.Minute)
		dir := r.save()
		if d := cmp.Diff(files{"a": "1"}, r.read(dir)); d != "" {
			t.Fatalf("saved by version %d:\n%s", n+1, d)
		}
		r.apply(dir)
	}
}

// TestHandoverFails: a component that does not hand over its state can be
// stopped, but not updated.
func TestHandoverFails(t *testing.T) {
	r := newRig(t)
	h := r.install("handover", handsOver)
	r.fill(filepath.Join(r.h.Path("versions", string(h.Data)), "files"), files{"mute": ""})
	r.stop(time.Minute)
	err := r.u.Save(r.ctx, updater.SaveRequest{Component: name, Dir: r.TempDir()})
	if err == nil || !strings.Contains(err.Error(), "did not hand it over") {
		t.Errorf("error %v", err)
	}
}

// TestHandoverCutOff: a Stop that was cut off after the component saved does
// not set its state back when it goes on, and is not lost when it ended.
func TestHandoverCutOff(t *testing.T) {
	r := newRig(t)
	r.switchTo(r.stage("1.0.0", settings("handover", handsOver)))
	r.apply(r.dir(files{"a": "1"}))
	r.start()
	r.fill(r.h.Path("saved"), files{"a": "stale"})
	r.start()
	r.stop(time.Minute)
	if d := cmp.Diff(files{"a": "1"}, r.read(r.save())); d != "" {
		t.Errorf("after going on:\n%s", d)
	}
	r.must(os.Rename(r.h.Path("incoming"), r.h.Path("saved")))
	if d := cmp.Diff(files{"a": "1"}, r.read(r.save())); d != "" {
		t.Errorf("after it ended:\n%s", d)
	}
}

// TestHandoverNotServed: a component that never opens its socket is a failed
// start, as soon as it ends.
func TestHandoverNotServed(t *testing.T) {
	r := newRig(t)
	r.switchTo(r.stage("1.0.0", settings("crash", handsOver)))
	err := r.u.Start(r.ctx, updater.StartRequest{Component: name})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "about to crash") {
		t.Errorf("error %v", err)
	}
}

// TestNoState: the updater says when a start would find no state, be it live,
// handed over, or saved.
func TestNoState(t *testing.T) {
	r := newRig(t)
	r.install("appender", `,"health":{"file":"healthy"}`)
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	r.stop(time.Minute)
	saved := r.save()
	if r.status().NoState {
		t.Error("the live state is not seen")
	}
	r.must(os.RemoveAll(r.h.State()))
	if !r.status().NoState {
		t.Error("nobody says that the live state is gone")
	}
	r.apply(saved)
	if r.status().NoState {
		t.Error("what was handed over is not seen")
	}
	r.start()
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	if d := cmp.Diff(files{"log": "1.0.0\n1.0.0\n"}, r.read(r.h.State())); d != "" {
		t.Errorf("the live state:\n%s", d)
	}
}

// TestNoRestartWithoutState: a component that crashes because its live state is
// gone is not started again, where it would begin anew.
func TestNoRestartWithoutState(t *testing.T) {
	r := newRig(t)
	r.install("appender", `,"health":{"file":"healthy"}`)
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	r.must(os.RemoveAll(r.h.State()))
	r.must(syscall.Kill(r.supervised().Process, syscall.SIGKILL))
	r.eventually("the supervisor gives its reason", func() bool { return strings.Contains(r.supervised().Last, "cannot start without") })
	if s := r.status(); s.Running || !s.NoState {
		t.Errorf("status %+v", s)
	}
}

// TestSaveUsesTheSnapshot: the links of the live snapshot become those of what
// is saved, with all that has changed since.
func TestSaveUsesTheSnapshot(t *testing.T) {
	r := newRig(t)
	r.install("appender", `,"health":{"file":"healthy"}`)
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	r.fill(r.h.State(), files{"deep/a": "a", "deep/b": "b"})
	snapshot, saved := r.dir(nil), r.dir(nil)
	r.must(r.u.Snapshot(r.ctx, updater.SnapshotRequest{Component: name, Dir: snapshot}))
	r.fill(r.h.State(), files{"deep/c": "c"})
	r.must(os.Remove(filepath.Join(r.h.State(), "deep", "a")))
	r.stop(time.Minute)
	for range 2 { // the second time there is no snapshot any more
		r.must(r.u.Save(r.ctx, updater.SaveRequest{Component: name, Dir: saved, Snapshot: snapshot}))
		if d := cmp.Diff(files{"log": "1.0.0\n", "deep/b": "b", "deep/c": "c"}, r.read(saved)); d != "" {
			t.Errorf("saved:\n%s", d)
		}
		if disk.Exists(snapshot) {
			t.Error("the snapshot is still there")
		}
	}
}

// TestRemovalLeavesTheLog, and nothing else.
func TestRemovalLeavesTheLog(t *testing.T) {
	r := newRig(t)
	for _, settings := range []string{settings("sleep", ""), settings("handover", `,"state":"handover"`), commandSettings(`,"running":true`)} {
		h, err := r.tryStage("1.0.0", settings, kept)
		r.must(err)
		r.switchTo(h)
		r.apply(r.dir(files{"a": "kept"}))
		r.start()
		r.stop(time.Minute)
		r.save()
		r.switchTo(updater.Handle{})
		r.apply(r.dir(nil))
		r.must(r.u.Unstage(r.ctx, updater.UnstageRequest{Component: name, Version: "1.0.0", Handle: h}))
		left := r.read(r.h.Dir)
		for path := range left {
			if place, _, _ := strings.Cut(path, "/"); slices.Contains([]string{"log", "run", "commands", "elsewhere"}, place) || strings.HasPrefix(place, ".discarded-") {
				delete(left, path)
			}
		}
		if len(left) > 0 || disk.Exists(r.h.Path("incoming")) || disk.Exists(r.h.State()) {
			t.Errorf("%s: %v", settings, left)
		}
	}
}
