package store

import (
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// Badger's own compactors look for work twenty times a second each, for as long as
// the database is open: on a device on which nothing happens that would be most of
// what wakes it up. So there are none, and a write compacts first when enough has
// been written since the last time: about four megabytes, or four restarts.
const (
	maxFresh   = 4  // tables that memory was written to; a read looks into each of them
	stallFresh = 64 // at so many badger would wait for a compactor, for ever

	// maxWaste is which part of a value log may be values that nobody has any more,
	// before the rest is written anew.
	maxWaste = 0.5
)

// compact makes one table of all, if there are many, and gives back the space of
// large values that were replaced. What cannot be compacted is tried again at the
// next write; there is an error only before badger would wait.
func compact(db *badger.DB) error {
	if db.IsClosed() { // the write itself says so
		return nil
	}
	fresh := db.Levels()[0].NumTables
	if fresh < maxFresh {
		return nil
	}
	if err := db.Flatten(1); err != nil {
		db.Opts().Logger.Warningf("cannot compact: %v", err)
		if fresh < stallFresh/2 {
			return nil
		}
		return fmt.Errorf("cannot compact it: %w", err)
	}
	if !db.Opts().InMemory {
		collect(db)
	}
	return nil
}

// collect gives back the space of large values.
func collect(db *badger.DB) {
	for {
		err := db.RunValueLogGC(maxWaste)
		if errors.Is(err, badger.ErrNoRewrite) {
			return
		}
		if err != nil {
			db.Opts().Logger.Warningf("cannot collect large values: %v", err)
			return
		}
	}
}
