package store

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// TestBounded: with nobody who compacts beside it a store does not grow with each
// restart, nor does what it reads; and nothing of it is lost.
func TestBounded(t *testing.T) {
	t.Parallel()
	for what, size := range map[string]int{"small values": 100, "large values": 6 << 10} { // times the 16 that wait
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "store")
			s := open(t, dir)
			const restarts, writes = 16, 3
			for n := range restarts * writes {
				check(t, s.Report(engine.Outcome{Update: fmt.Sprint(n), Component: name, Cause: strings.Repeat("x", size)}))
				if n%writes == 0 {
					s = reopen(t, s, dir)
				}
			}
			defer s.Close()
			for pattern, most := range map[string]int{"*.sst": maxFresh + 1, "*.vlog": maxFresh + 2} {
				if files, _ := filepath.Glob(filepath.Join(dir, pattern)); len(files) > most {
					t.Errorf("%d files %s: %v", len(files), pattern, files)
				}
			}
			if o, found, err := s.Oldest(name); err != nil || !found || o.Update != fmt.Sprint(restarts*writes-maxWaiting) {
				t.Errorf("the oldest is %q, %v, %v", o.Update, found, err)
			}
		})
	}
}

// TestBoundedInMemory: a disk that takes nothing does not make writes wait for ever.
func TestBoundedInMemory(t *testing.T) {
	t.Parallel()
	db, err := badger.Open(small("").WithInMemory(true).WithLogger(logger{slog.New(slog.DiscardHandler)}))
	check(t, err)
	s := &Store{db: db, damage: Damage{Volatile: true}, now: image{Content: map[string]json.RawMessage{}}}
	for n := range 40 * stallFresh { // each is a thirtieth of a table
		check(t, s.SetFault(strings.Repeat("x", 30_000+n%2)))
	}
	if tables := db.Levels()[0].NumTables; tables > maxFresh+1 {
		t.Errorf("%d tables", tables)
	}
	check(t, db.Close())
}
