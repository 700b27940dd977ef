package state

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/fingerprint"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest"
)

// A logbook is a component whose state is a long file that is split.
type logbook struct {
	*testing.T
	*Manager
	host  *host.Host
	live  string // the file
	steps []host.Step
}

// newLogbook has been rehearsed. If it is hot it was written just before, so
// that the rehearsal has made a copy.
func newLogbook(t *testing.T, h *host.Host, step host.Step, text []byte, hot bool) *logbook {
	dir := t.TempDir()
	b := &logbook{T: t, host: h, live: filepath.Join(dir, "live", "log"), steps: []host.Step{step}}
	must(t, os.MkdirAll(filepath.Dir(b.live), 0o700))
	must(t, os.WriteFile(b.live, text, 0o600))
	if !hot {
		age(t, b.live)
	}
	b.Manager = manager(t, filepath.Join(dir, "states"), b.host)
	snapshot, err := b.Fresh(component, 1)
	must(t, err)
	link(t, filepath.Dir(b.live), snapshot)
	_, err = b.Rehearse(t.Context(), component, 1, b.steps, nil, nil)
	must(t, err)
	return b
}

// update saves and transforms what is there now, and checks the result.
func (b *logbook) update() host.Report {
	b.Helper()
	_, err := b.Settle(component, 1)
	must(b, err)
	saved, err := b.Fresh(component, 2)
	must(b, err)
	link(b, filepath.Dir(b.live), saved)
	must(b, b.Seal(b.Context(), component, 2, meta("1.0.0")))
	report, err := b.Transform(b.Context(), component, 2, 3, b.steps, nil)
	must(b, err)
	must(b, b.Seal(b.Context(), component, 3, meta("2.0.0")))
	made, _, err := b.Load(b.Context(), component, 3)
	must(b, err)
	text, err := os.ReadFile(b.live)
	must(b, err)
	got, err := os.ReadFile(filepath.Join(made, "log"))
	must(b, err)
	var want bytes.Buffer
	for line := range bytes.Lines(text) {
		want.WriteString("2 ")
		want.Write(line)
	}
	if !bytes.Equal(got, want.Bytes()) {
		b.Errorf("the result has %d bytes and is not the %d that it should be", len(got), want.Len())
	}
	for _, gen := range []Generation{2, 3} { // by their files alone
		if c, err := b.Show(component, gen); err != nil || c.Damaged {
			b.Errorf("generation %d is not what was sealed: %v", gen, err)
		}
	}
	return report
}

// A long file that is split has been transformed by the rehearsal but for what
// has changed since. Wherever that is, and however it looks, it is seen.
func TestSplitFile(t *testing.T) {
	step := lines(t)
	step.Split = host.SplitLines
	h := transformtest.Host(t)
	text := readings(2*markSpan + markSpan/2)
	at := func(offset int64, b string) func(string) error {
		return func(name string) error {
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte(b), offset)
			return err
		}
	}
	unseen := func(change func(string) error) func(string) error { // as far as the modification time tells
		return func(name string) error {
			if err := change(name); err != nil {
				return err
			}
			age(t, name)
			return nil
		}
	}
	for name, test := range map[string]struct {
		change func(name string) error
		most   int // bytes that may be transformed again
	}{
		"nothing":   {func(string) error { return nil }, 0},
		"append":    {at(int64(len(text)), "appended\n"), 1 << 20},
		"hot":       {at(int64(len(text)), "appended\n"), 1 << 20},
		"hot first": {at(2, "X"), len(text)},
		"first":     {at(2, "X"), len(text)},
		"middle":    {unseen(at(markSpan+100, "X")), len(text)},
		"last":      {unseen(at(int64(len(text))-3, "X")), 1 << 20},
		"cut":       {func(name string) error { return os.Truncate(name, markSpan+7) }, 1 << 20},
		"two marks": {func(name string) error { return os.Truncate(name, 2*markSpan) }, 1 << 20},
		"replaced": {func(name string) error {
			must(t, os.WriteFile(name+".new", append(bytes.Clone(text), "more\n"...), 0o600))
			return os.Rename(name+".new", name)
		}, 1 << 20},
	} {
		for _, crash := range []bool{false, true} {
			if crash && name != "append" && name != "middle" {
				continue
			}
			t.Run(fmt.Sprintf("%s/crash=%v", name, crash), func(t *testing.T) {
				b := newLogbook(t, h, step, text, strings.HasPrefix(name, "hot"))
				must(t, test.change(b.live))
				if crash { // the agent is restarted
					b.Manager = manager(t, b.root, b.host)
				}
				if report := b.update(); int(report.In) > test.most+1<<16 {
					t.Errorf("%d bytes of %d were transformed once more", report.In, len(text))
				}
			})
		}
	}
}

// The digest of a large file is the same however much of it was known, with
// fingerprints and, as on processors that are slow at them, without.
func TestReread(t *testing.T) {
	name := filepath.Join(t.TempDir(), "large")
	without := newBook()
	without.printer = nil
	for _, book := range []*book{newBook(), without} {
		reread(t, book, name)
	}
	// Marks that make no sense are no marks.
	text := readings(4*markSpan + 12345)
	must(t, os.WriteFile(name, text, 0o600))
	got, err := newBook().read(t.Context(), name, record{Marks: []mark{{}, {State: []byte("garbage")}, {State: bytes.Repeat([]byte("x"), 108)}}})
	if want := fmt.Sprintf("sha256:%x", sha256.Sum256(text)); err != nil || got.Digest != want {
		t.Errorf("%s, %v", got.Digest, err)
	}
}

func reread(t *testing.T, b *book, name string) {
	text := readings(4*markSpan + 12345)
	for _, size := range []int{0, 1, markSpan - 1, markSpan, markSpan + 1, 3 * markSpan, len(text)} {
		must(t, os.WriteFile(name, text[:size], 0o600))
		old, err := b.read(t.Context(), name, record{})
		must(t, err)
		old.Early = false // as if it had been read later
		for change, now := range map[string][]byte{
			"same":   text[:size],
			"grown":  slices.Concat(text[:size], text[:markSpan]),
			"head":   slices.Concat([]byte("X"), text[min(1, size):size]),
			"middle": slices.Concat(text[:size/2], []byte("X"), text[min(size, size/2+1):size]),
			"cut":    text[:size/2],
		} {
			must(t, os.WriteFile(name, now, 0o600))
			got, err := b.read(t.Context(), name, old)
			must(t, err)
			if want := fmt.Sprintf("sha256:%x", sha256.Sum256(now)); got.Digest != want || len(got.Marks) != len(now)/markSpan {
				t.Errorf("%d bytes, %s: %s with %d marks, want %s", size, change, got.Digest, len(got.Marks), want)
			}
			if n := got.head.size; n > int64(len(now)) || !bytes.Equal(now[:n], text[:n]) || change == "same" && n != int64(size/markSpan*markSpan) {
				t.Errorf("%d bytes, %s: %d at the begin are as they were", size, change, n)
			}
		}
	}
}

// FuzzMarks resumes digests from what may have been on the disk.
func FuzzMarks(f *testing.F) {
	h := sha256.New()
	state, err := stateOf(h)
	must(f, err)
	f.Add(state)
	f.Add([]byte("sha\x03"))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := os.Create(filepath.Join(t.TempDir(), "large"))
		must(t, err)
		defer file.Close()
		must(t, file.Truncate(markSpan))
		for _, m := range []mark{{State: data}, {data, fingerprint.Print{1}}} {
			for _, printer := range []*fingerprint.Printer{nil, newBook().printer} {
				n := alike(file, markSpan, []mark{m}, printer)
				if _, _, err := digestFrom(io.NewSectionReader(file, 0, markSpan), []mark{m}[:n], printer); err != nil {
					t.Error(err)
				}
			}
		}
	})
}
