// Package store is the agent's durable memory: the journal of updates, what
// is installed, what is wanted, and the outcomes that the back end has not
// acknowledged yet. Every write is on the disk when the call returns.
//
// It is a badger database with options small enough for a 32-bit device; no
// other package knows that.
package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// A Store is one database directory; only one process can have it open.
type Store struct{ db *badger.DB }

// Open opens or creates the database in dir.
func Open(dir string, log *slog.Logger) (*Store, error) {
	db, err := badger.Open(small(dir).WithLogger(logger{log}))
	if err != nil {
		return nil, fmt.Errorf("cannot open store %s: %w", dir, err)
	}
	return &Store{db}, nil
}

// small keeps badger within a few megabytes, and its memory maps within a
// 32-bit address space: the defaults fail to open a database a second time
// there.
func small(dir string) badger.Options {
	return badger.DefaultOptions(dir).
		WithSyncWrites(true).
		WithMemTableSize(1 << 20).WithNumMemtables(1).
		WithNumLevelZeroTables(1).WithNumLevelZeroTablesStall(2).
		WithBaseTableSize(1 << 20).WithBaseLevelSize(2 << 20).
		WithValueLogFileSize(4 << 20).WithValueThreshold(32 << 10).
		WithBlockCacheSize(0).WithIndexCacheSize(1 << 20).
		WithNumCompactors(2).WithCompression(options.None).WithMetricsEnabled(false)
}

// Close closes the database.
func (s *Store) Close() error { return s.db.Close() }

// Keys are "<kind>/<component>".
const (
	journalKey   = "journal/"
	installedKey = "installed/"
	wishesKey    = "wishes/"
	outcomeKey   = "outcome/"
	outboxKey    = "outbox/"
)

// Load returns the journal record of a component.
func (s *Store) Load(component string) (r engine.Record, found bool, err error) {
	found, err = s.get(journalKey+component, &r)
	return r, found, err
}

// Save writes a journal record.
func (s *Store) Save(r engine.Record) error {
	return s.write(put(journalKey+r.Update.Component, r))
}

// Report puts an outcome into the outbox, where it stays until
// [Store.Acknowledge].
func (s *Store) Report(o engine.Outcome) error {
	return s.write(put(outcomeKey+o.Component, o), put(outboxKey+o.Component, o.Update))
}

// End removes the journal record and keeps the outcome, both or neither.
func (s *Store) End(r engine.Record, o engine.Outcome) error {
	return s.write(remove(journalKey+r.Update.Component), put(outcomeKey+o.Component, o), put(outboxKey+o.Component, o.Update))
}

// Outcome returns how the last update of a component ended.
func (s *Store) Outcome(component string) (o engine.Outcome, found bool, err error) {
	found, err = s.get(outcomeKey+component, &o)
	return o, found, err
}

// Unacknowledged lists the components whose last outcome is still to be
// reported.
func (s *Store) Unacknowledged() ([]string, error) { return s.list(outboxKey) }

// Acknowledge takes an outcome out of the outbox, if it is still the last one.
func (s *Store) Acknowledge(component, update string) error {
	var waiting string
	if found, err := s.get(outboxKey+component, &waiting); err != nil || !found || waiting != update {
		return err
	}
	return s.write(remove(outboxKey + component))
}

// Installed returns what is installed; nothing yet is the zero value.
func (s *Store) Installed(component string) (i engine.Installed, err error) {
	_, err = s.get(installedKey+component, &i)
	return i, err
}

// Everything returns what is installed, by component.
func (s *Store) Everything() (map[string]engine.Installed, error) {
	names, err := s.list(installedKey)
	all := map[string]engine.Installed{}
	for _, name := range names {
		i, err := s.Installed(name)
		if err != nil {
			return nil, err
		}
		all[name] = i
	}
	return all, err
}

// Commit writes down what is installed from now on.
func (s *Store) Commit(component string, i engine.Installed) error {
	return s.write(put(installedKey+component, i))
}

// Wishes returns what is wanted of a component; nothing yet is the zero value.
func (s *Store) Wishes(component string) (w engine.Wishes, err error) {
	_, err = s.get(wishesKey+component, &w)
	return w, err
}

// SetWishes writes what is wanted of a component.
func (s *Store) SetWishes(component string, w engine.Wishes) error {
	return s.write(put(wishesKey+component, w))
}

func (s *Store) get(key string, v any) (found bool, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte(key))
		if err != nil {
			return err
		}
		return item.Value(func(b []byte) error { return json.Unmarshal(b, v) })
	})
	switch {
	case errors.Is(err, badger.ErrKeyNotFound):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("cannot read %s from the store: %w", key, err)
	}
	return true, nil
}

func (s *Store) list(prefix string) (names []string, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte(prefix)})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			names = append(names, strings.TrimPrefix(string(it.Item().Key()), prefix))
		}
		return nil
	})
	return names, err
}

// A change is one part of an atomic write.
type change func(*badger.Txn) error

func put(key string, v any) change {
	return func(txn *badger.Txn) error {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return txn.Set([]byte(key), b)
	}
}

func remove(key string) change {
	return func(txn *badger.Txn) error { return txn.Delete([]byte(key)) }
}

func (s *Store) write(changes ...change) error {
	err := s.db.Update(func(txn *badger.Txn) error {
		for _, c := range changes {
			if err := c(txn); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot write to the store: %w", err)
	}
	return nil
}

// logger lets badger log through slog.
type logger struct{ log *slog.Logger }

func (l logger) Errorf(f string, a ...any)   { l.log.Error("store", "detail", line(f, a)) }
func (l logger) Warningf(f string, a ...any) { l.log.Warn("store", "detail", line(f, a)) }
func (l logger) Infof(f string, a ...any)    { l.log.Debug("store", "detail", line(f, a)) }
func (l logger) Debugf(f string, a ...any)   { l.log.Debug("store", "detail", line(f, a)) }

func line(f string, a []any) string { return strings.TrimSpace(fmt.Sprintf(f, a...)) }
