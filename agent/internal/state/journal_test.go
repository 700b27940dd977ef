package state

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// What SQLite has left beside a database is refused after the stop, also if
// the rehearsal, in which it is in use, has seen the same. The saved state stays.
func TestJournalLeft(t *testing.T) {
	const hot, zeroed = "\xd9\xd5\x05\xf9", "\x00\x00\x00\x00pages"
	for name, test := range map[string]struct {
		file, rehearsed, left string
		refused               bool
	}{
		"log since the rehearsal": {"a-wal", "", "frames", true},
		"log all the time":        {"a-wal", "frames", "frames", true},
		"log checkpointed":        {"a-wal", "frames", "", false},
		"hot journal":             {"a-journal", hot, hot, true},
		"persisted journal":       {"a-journal", hot, zeroed, false},
		"truncated journal":       {"a-journal", hot, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			steps := []host.Step{{From: 1, To: 2, Module: "m", Format: "sqlite", Files: []string{"a"}}}
			b := newBench(t)
			b.put(test.file, test.rehearsed)
			b.rehearse(steps)
			if test.left != test.rehearsed {
				b.put(test.file, test.left)
			}
			_, err := b.Settle(component, 1)
			must(t, err)
			dir, err := b.Fresh(component, 2)
			must(t, err)
			link(t, b.live, dir)
			must(t, b.Seal(b.Context(), component, 2, meta("1.0.0")))
			_, err = b.Transform(t.Context(), component, 2, 3, steps, nil)
			bad, _ := errors.AsType[*host.Error](err)
			if test.refused != (bad != nil && bad.Class == host.Refused && strings.Contains(bad.Reason, test.file)) || !test.refused && err != nil {
				t.Errorf("got %v", err)
			}
			_, _, err = b.Load(b.Context(), component, 2)
			must(t, err)
		})
	}
}

// A tree that carries a log with its database may; one that has transformed the
// database is refused after the stop, also if the rehearsal made the result.
func TestJournalLeftInATree(t *testing.T) {
	for _, changed := range []bool{false, true} {
		steps := []host.Step{{From: 1, To: 2, Module: "m", Mode: host.Tree}}
		b := newBench(t)
		b.put("a", "SQLite format 3\x00")
		b.put("a-wal", "frames")
		if changed {
			b.writer.after = func(out string) { must(t, os.WriteFile(filepath.Join(out, "a"), []byte("new"), 0o600)) }
		}
		b.rehearse(steps)
		_, err := b.Settle(component, 1)
		must(t, err)
		dir, err := b.Fresh(component, 2)
		must(t, err)
		link(t, b.live, dir)
		must(t, b.Seal(b.Context(), component, 2, meta("1.0.0")))
		_, err = b.Transform(t.Context(), component, 2, 3, steps, nil)
		bad, _ := errors.AsType[*host.Error](err)
		if changed != (bad != nil && bad.Class == host.Refused && strings.Contains(bad.Reason, "a-wal")) || !changed && err != nil {
			t.Errorf("changed %v: got %v", changed, err)
		}
	}
}
