package state

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// A writer puts "<from>→<to> " in front of each file, and counts.
type writer struct {
	ran     []string
	during  func()           // called before each run
	after   func(out string) // called after each run over a tree
	large   string           // a database that is too large to be checked
	ceiling host.Limits
}

func (w *writer) Key(step host.Step) string { return (&host.Host{Ceiling: w.ceiling}).Key(step) }

func (w *writer) Refresh(_ context.Context, step host.Step, in, out string, files []host.File, progress func(done, total int64)) (host.Report, error) {
	if progress != nil {
		defer progress(1, 1)
	}
	if w.during != nil {
		w.during()
	}
	if step.Mode == host.Tree {
		w.ran = append(w.ran, fmt.Sprintf("%d→%d", step.From, step.To))
		if err := os.CopyFS(out, os.DirFS(in)); err != nil || w.after == nil {
			return host.Report{}, err
		}
		w.after(out)
		return host.Report{}, nil
	}
	var report host.Report
	for _, f := range files {
		name := f.Path
		if name == w.large {
			report.Unchecked = append(report.Unchecked, name)
		}
		w.ran = append(w.ran, fmt.Sprintf("%d→%d %s", step.From, step.To, name))
		data, err := os.ReadFile(filepath.Join(in, name))
		if err != nil {
			return host.Report{}, err
		}
		if err := os.Remove(filepath.Join(out, name)); err != nil && !os.IsNotExist(err) {
			return host.Report{}, err
		}
		if err := os.WriteFile(filepath.Join(out, name), fmt.Appendf(nil, "%d→%d %s", step.From, step.To, data), 0o600); err != nil {
			return host.Report{}, err
		}
	}
	return report, nil
}

func (w *writer) took() []string {
	ran := slices.Compact(slices.Sorted(slices.Values(w.ran)))
	w.ran = nil
	return ran
}

// A bench is a component with a live state, and its state manager.
type bench struct {
	testing.TB
	*Manager
	*writer
	live  string
	takes bool // the updater takes the snapshot
}

var up = []host.Step{{From: 1, To: 2, Module: "m", Digest: "sha256:m"}}

func newBench(t *testing.T) *bench { return newBenchIn(t, t.TempDir()) }

func newBenchIn(t *testing.T, dir string) *bench {
	b := &bench{TB: t, writer: &writer{}, live: filepath.Join(dir, "live")}
	b.Manager = manager(t, filepath.Join(dir, "state"), b.writer)
	for _, name := range []string{"a", "b", "deep/c"} {
		b.put(name, name)
	}
	return b
}

// put writes a file in place, as if long ago.
func (b *bench) put(name, content string) {
	b.Helper()
	put(b, filepath.Join(b.live, name), content)
	age(b, filepath.Join(b.live, name))
}

func (b *bench) rehearse(steps []host.Step) Rehearsed {
	b.Helper()
	dir, err := b.Fresh(component, 1)
	must(b, err)
	link(b, b.live, dir)
	found, err := b.Rehearse(b.Context(), component, 1, steps, nil, nil)
	must(b, err)
	return found
}

// update saves and transforms, and returns the new state.
func (b *bench) update(steps []host.Step) map[string]string {
	b.Helper()
	snapshot, err := b.Settle(component, 1)
	must(b, err)
	dir, err := b.Fresh(component, 2)
	must(b, err)
	if b.takes {
		must(b, errors.Join(os.Remove(dir), os.Rename(snapshot, dir)))
		match(b, b.live, dir)
	}
	link(b, b.live, dir)
	must(b, b.Seal(b.Context(), component, 2, meta("1.0.0")))
	all := b.transform(steps)
	_, _, err = b.Load(b.Context(), component, 2) // what was sealed is what is there
	must(b, err)
	return all
}

// match removes from a directory that was linked what is not there any more.
func match(t testing.TB, from, to string) {
	t.Helper()
	must(t, filepath.WalkDir(to, func(name string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(to, name)
		old, err := os.Lstat(name)
		if err != nil {
			return err
		}
		now, err := os.Lstat(filepath.Join(from, rel))
		if err == nil && (old.IsDir() && now.IsDir() || os.SameFile(old, now)) {
			return nil
		}
		if err := os.RemoveAll(name); err != nil || !entry.IsDir() {
			return err
		}
		return fs.SkipDir
	}))
}

func (b *bench) transform(steps []host.Step) map[string]string {
	b.Helper()
	_, err := b.Transform(b.Context(), component, 2, 3, steps, nil)
	must(b, err)
	must(b, b.Seal(b.Context(), component, 3, meta("2.0.0")))
	_, _, err = b.Load(b.Context(), component, 3)
	must(b, err)
	dir, _, err := b.Load(b.Context(), component, 3) // this one looks at each file
	must(b, err)
	return read(b, dir)
}

func read(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		rel, _ := filepath.Rel(dir, name)
		all[rel] = string(data)
		return err
	}))
	return all
}

// want is what the live state must become.
func (b *bench) want(prefix string) map[string]string {
	all := read(b, b.live)
	for name, content := range all {
		all[name] = prefix + content
	}
	return all
}

func TestOnlyWhatChangedRuns(t *testing.T) {
	forged := func(b *bench) { // the same size and time, and yet another content
		name := filepath.Join(b.live, "b")
		info, err := os.Stat(name)
		must(b, err)
		must(b, os.WriteFile(name, []byte("B"), 0o600))
		must(b, os.Chtimes(name, info.ModTime(), info.ModTime()))
	}
	for name, test := range map[string]struct {
		change func(*bench)
		ran    []string
	}{
		"nothing":  {func(*bench) {}, nil},
		"in place": {func(b *bench) { b.put("b", "other") }, []string{"1→2 b"}},
		"forged":   {forged, []string{"1→2 b"}},
		"replaced": {func(b *bench) {
			b.put("new", "b2")
			must(b, os.Rename(filepath.Join(b.live, "new"), filepath.Join(b.live, "b")))
		}, []string{"1→2 b"}},
		"replaced by the same": {func(b *bench) {
			b.put("new", "b")
			must(b, os.Rename(filepath.Join(b.live, "new"), filepath.Join(b.live, "b")))
		}, nil},
		"renamed": {func(b *bench) {
			must(b, os.Rename(filepath.Join(b.live, "b"), filepath.Join(b.live, "deep/b")))
		}, []string{"1→2 deep/b"}},
		"removed": {func(b *bench) { must(b, os.RemoveAll(filepath.Join(b.live, "deep"))) }, nil},
		"a file for a directory": {func(b *bench) {
			must(b, os.RemoveAll(filepath.Join(b.live, "deep")))
			b.put("deep", "flat")
		}, []string{"1→2 deep"}},
		"mode": {func(b *bench) { must(b, os.Chmod(filepath.Join(b.live, "b"), 0o640)) }, nil},
	} {
		for i := range 4 {
			crash, takes := i%2 > 0, i/2 > 0
			t.Run(fmt.Sprintf("%s/crash=%v/takes=%v", name, crash, takes), func(t *testing.T) {
				t.Parallel()
				b := newBench(t)
				b.takes = takes
				b.rehearse(up)
				b.took()
				test.change(b)
				if crash { // the agent is restarted, and knows what it has written
					b.Manager = manager(t, b.root, b.writer)
				}
				if diff := cmp.Diff(b.want("1→2 "), b.update(up)); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(test.ran, b.took()); diff != "" {
					t.Error("ran:", diff)
				}
			})
		}
	}
}

// What lies in the memo is believed only if it is what was put there.
func TestSpoiledMemo(t *testing.T) {
	spoil := map[string]func(name string) error{
		"emptied":   func(name string) error { return os.Truncate(name, 0) },
		"removed":   os.Remove,
		"garbage":   func(name string) error { return os.WriteFile(name, []byte("garbage"), 0o600) },
		"truncated": func(name string) error { return os.Truncate(name, 3) },
	}
	for _, file := range []string{"0/memo.json", "book.json", "0/files/deep/c"} {
		for how, spoil := range spoil {
			for _, then := range []string{"stop", "crash", "flush"} {
				t.Run(fmt.Sprintf("%s/%s/%s", file, how, then), func(t *testing.T) {
					t.Parallel()
					b := newBench(t)
					b.rehearse(up)
					must(t, spoil(filepath.Join(b.root, component, "memo", file)))
					switch then {
					case "crash":
						b.Manager = manager(t, b.root, b.writer)
					case "flush":
						must(t, b.Flush(t.Context(), component))
					}
					if diff := cmp.Diff(b.want("1→2 "), b.update(up)); diff != "" {
						t.Error(diff)
					}
				})
			}
		}
	}
}

// Just before the component stops the memo is looked at. What disappears from
// it afterwards, or is replaced, is seen all the same.
func TestSpoiledAfterFlush(t *testing.T) {
	for how, spoil := range map[string]func(name string) error{
		"nothing": func(string) error { return nil },
		"removed": os.Remove,
		"replaced": func(name string) error {
			return errors.Join(os.WriteFile(name+".new", []byte("other"), 0o600), os.Rename(name+".new", name))
		},
		"all removed": func(name string) error { return os.RemoveAll(filepath.Dir(name)) },
	} {
		t.Run(how, func(t *testing.T) {
			b := newBench(t)
			b.rehearse(up)
			must(t, b.Flush(t.Context(), component))
			must(t, spoil(filepath.Join(b.root, component, "memo/0/files/deep/c")))
			b.put("a", "other")
			if diff := cmp.Diff(b.want("1→2 "), b.update(up)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A file that changes while the rehearsal transforms it is made anew.
func TestChangeDuringRehearsal(t *testing.T) {
	b := newBench(t)
	n := 0
	b.during = func() { n++; b.put("a", strings.Repeat("x", n)) }
	b.rehearse(up)
	b.during = nil
	b.put("a", "x") // what it was when the first pass had read it
	if diff := cmp.Diff(b.want("1→2 "), b.update(up)); diff != "" {
		t.Error(diff)
	}
}

// A rehearsal that lets others through, or is cut off after that, goes on where it
// was.
func TestRehearsalPauses(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"a", "b", "deep/c"} {
		b.put(name, name+strings.Repeat(" ", firstLot))
	}
	dir, err := b.Fresh(component, 1)
	must(t, err)
	link(b, b.live, dir)
	paused := errors.New("others")
	for i, want := range []string{"1→2 a", "1→2 b", "1→2 deep/c"} {
		var told []float64
		progress := func(done, total int64) { told = append(told, float64(done)/float64(total)) }
		_, err := b.Rehearse(t.Context(), component, 1, up, progress, func() error { return paused })
		if !errors.Is(err, paused) {
			t.Fatalf("pause %d: %v", i, err)
		}
		if diff := cmp.Diff([]string{want}, b.took()); diff != "" {
			t.Errorf("pause %d: ran: %s", i, diff)
		}
		if len(told) != 1 || told[0] < 0.3 {
			t.Errorf("pause %d: told %v", i, told)
		}
		b.Manager = manager(t, b.root, b.writer) // as after a power cut
	}
	if _, err := b.Rehearse(t.Context(), component, 1, up, nil, func() error { return paused }); err != nil {
		t.Fatal(err)
	}
	if ran := b.took(); len(ran) != 1 { // for the prediction
		t.Error("ran again:", ran)
	}
	b.put("a", "other")
	want := b.want("1→2 ")
	if diff := cmp.Diff(want, b.update(up)); diff != "" {
		t.Error(diff)
	}
}

// A transform that is done again after a crash finds what it had made.
func TestTransformAgain(t *testing.T) {
	b := newBench(t)
	b.rehearse(up)
	b.put("a", "other")
	want := b.want("1→2 ")
	b.update(up)
	b.took()
	b.Manager = manager(t, b.root, b.writer)
	if diff := cmp.Diff(want, b.transform(up)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"1→2 a"}, b.took()); diff != "" {
		t.Error("ran:", diff)
	}
}

func TestChain(t *testing.T) {
	steps := []host.Step{up[0], {From: 2, To: 3, Module: "m", Mode: host.Tree}, {From: 3, To: 4, Module: "m"}}
	b := newBench(t)
	b.rehearse(steps)
	b.took()
	b.put("a", "other")
	want := map[string]string{"a": "3→4 1→2 other", "b": "3→4 1→2 b", "deep/c": "3→4 1→2 deep/c"}
	if diff := cmp.Diff(want, b.update(steps)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"1→2 a", "2→3", "3→4 a"}, b.took()); diff != "" {
		t.Error("ran:", diff)
	}
	other := slices.Clone(steps)
	other[0].Params = map[string]string{"another": "step"}
	b.transform(other)
	if ran := b.took(); !slices.Contains(ran, "1→2 b") {
		t.Errorf("the memo of another step was taken: %v", ran)
	}
}

// The updater may move a generation away; neither it nor its seal is lost
// from sight by that, and it does not count when old ones are retired.
func TestMoved(t *testing.T) {
	b := newBench(t)
	b.rehearse(up)
	b.update(up)
	dir, _, err := b.Load(b.Context(), component, 3)
	must(t, err)
	must(t, os.Rename(dir, filepath.Join(t.TempDir(), "taken")))
	if again, _, err := b.Load(b.Context(), component, 3); again != dir || !errors.Is(err, ErrMoved) {
		t.Errorf("got %s, %v", again, err)
	}
	b.Retention = Retention{Keep: 1}
	must(t, b.Prune(component, Needs{}))
	if diff := cmp.Diff([]Generation{2}, sealed(t, b.Manager, Needs{})); diff != "" {
		t.Error(diff)
	}
	left, err := os.ReadDir(filepath.Join(b.root, component))
	if err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func FuzzReadBook(f *testing.F) {
	f.Add([]byte("00\n{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		name := filepath.Join(t.TempDir(), bookName)
		put(t, name, string(data))
		if b := readBook(name); len(b.records) > 0 {
			t.Errorf("believed %v", b.records)
		}
		openTree(filepath.Dir(name), "key")
	})
}

// TestMemoOfOtherMemory: what the rehearsal has made with more memory than the
// device grants now is made again; a shorter time is no reason.
func TestMemoOfOtherMemory(t *testing.T) {
	for name, test := range map[string]struct {
		ceiling host.Limits
		ran     []string
	}{
		"less memory": {host.Limits{Memory: 1 << 20}, []string{"1→2 a", "1→2 b", "1→2 deep/c"}},
		"less time":   {host.Limits{CPU: 1, Wall: 1, Output: 1, Log: 1}, nil},
	} {
		b := newBench(t)
		b.rehearse(up)
		b.took()
		b.writer.ceiling = test.ceiling
		b.Manager = manager(t, b.root, b.writer) // as after a restart with another configuration
		if diff := cmp.Diff(b.want("1→2 "), b.update(up)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(test.ran, b.took()); diff != "" {
			t.Errorf("%s: ran: %s", name, diff)
		}
	}
}

// What a package or its transforms call things makes no warning long.
func TestFew(t *testing.T) {
	long := strings.Repeat("x", 1000)
	for want, names := range map[string][]string{
		"a": {"a"}, "a, b, c": {"a", "b", "c"}, "a, b, c and 2 more": {"a", "b", "c", "d", "e"}, long[:100]: {long},
	} {
		if got := few(names); got != want {
			t.Errorf("%q: got %q", names, got)
		}
	}
}

// A pattern that no file is like is told once; an empty state has none to tell of.
func TestIdleTransform(t *testing.T) {
	for pattern, want := range map[string]int{"*.json": 1, "a": 0, "deep/*": 0} {
		b := newBench(t)
		var log bytes.Buffer
		b.Logger = slog.New(slog.NewTextHandler(&log, nil))
		found := b.rehearse([]host.Step{{From: 1, To: 2, Module: "m", Digest: "sha256:m", Files: []string{pattern}}})
		if got := strings.Count(log.String(), "a transform is for no file of the state"); got != want {
			t.Errorf("%s: told %d times, want %d: %s", pattern, got, want, log.String())
		}
		if len(found.Warnings) != want || want > 0 && !strings.Contains(found.Warnings[0], "schema 1 to 2 is for "+pattern) {
			t.Errorf("%s: warnings %q", pattern, found.Warnings)
		}
	}
	if idle(host.Step{Files: []string{"*.json"}}, listing{{path: ".", mode: fs.ModeDir}}) {
		t.Error("told of an empty state")
	}
}

// That a database was not looked into is told by each rehearsal as long as it
// is the result, also by one that finds it made already.
func TestUncheckedDatabase(t *testing.T) {
	b := newBench(t)
	b.large = "b"
	told := func() string { return strings.Join(b.rehearse(up).Warnings, "\n") }
	for range 2 {
		if got := told(); !strings.Contains(got, "only the format of b was checked") {
			t.Errorf("told %q", got)
		}
	}
	b.Manager = manager(t, b.root, b.writer)
	if got := told(); !strings.Contains(got, "only the format of b was checked") {
		t.Errorf("after a restart: told %q", got)
	}
	b.large = ""
	b.put("b", "another")
	if got := told(); got != "" {
		t.Errorf("after it was checked: told %q", got)
	}
}

// A lot comes to what takes about lotTime, on a fast device and on a slow one.
func TestLot(t *testing.T) {
	for name, rate := range map[string]int64{"fast": 50 << 20, "slow": 100 << 10} { // bytes a second
		l := lot{firstLot}
		for range 30 {
			l.took(time.Duration(l.bytes * int64(time.Second) / rate))
		}
		if took := time.Duration(l.bytes * int64(time.Second) / rate); took < lotTime/2 || took > 2*lotTime {
			t.Errorf("%s: a lot of %d bytes takes %s", name, l.bytes, took)
		}
	}
}
