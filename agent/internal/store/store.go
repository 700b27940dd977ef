// Package store is the agent's durable memory: the journal of updates, what
// is installed, what is wanted, and the outcomes that the back end has not
// acknowledged yet. Every write is on the disk when the call returns.
//
// It is a badger database with options small enough for a 32-bit device; no
// other package knows that. Beside it lie two copies of all that is in it,
// written in turn: a few kilobytes, each with a checksum. Whatever becomes of
// one of these three, [Open] goes on from the newest that is whole; [Damage]
// tells what it found.
package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"strings"
	"sync"

	"github.com/dgraph-io/badger/v4"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// A Store is one database directory; only one process can have it open.
type Store struct {
	lock   *os.File // of the data directory
	db     *badger.DB
	copies copies
	damage Damage

	mu  sync.Mutex // held while something is written
	now image
}

// Close closes the database, after what is being written.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.db.Close(), s.lock.Close())
}

// Damage tells what Open found.
func (s *Store) Damage() Damage { return s.damage }

// Keys are "<kind>/<component>".
const (
	journalKey   = "journal/"
	installedKey = "installed/"
	wishesKey    = "wishes/"
	outcomeKey   = "outcome/"
	faultKey     = "fault"    // why no update may start
	repairedKey  = "repaired" // number of the last repair of the agent
	mendedKey    = "mended/"  // and of a component
	serialKey    = "serial"   // how often the store was written to
)

// Load returns the journal record of a component; of one that a newer agent
// has written, only the format, and whether the component was stopped.
func (s *Store) Load(component string) (r engine.Record, found bool, err error) {
	var head struct {
		Format int
		Update json.RawMessage
	}
	if found, err = s.get(journalKey+component, &head); err != nil || head.Format > engine.RecordFormat {
		var update struct{ Down engine.Moment }
		_ = json.Unmarshal(head.Update, &update) // as far as it can be understood
		return engine.Record{Format: head.Format, Update: engine.Update{Component: component, Down: update.Down}}, found, err
	}
	found, err = s.get(journalKey+component, &r)
	return r, found, err
}

// Unfinished lists the journal's records, as Load returns them.
func (s *Store) Unfinished() (all []engine.Record, err error) {
	names, err := s.list(journalKey)
	for _, name := range names {
		r, found, err := s.Load(name)
		if err != nil {
			return nil, err
		}
		if found {
			all = append(all, r)
		}
	}
	return all, err
}

// errVolatile keeps an update from going on that a power cut would tear.
var errVolatile = errors.New("the disk cannot be written: see to it and start the agent again")

// Save writes a journal record.
func (s *Store) Save(r engine.Record) error {
	if s.damage.Volatile {
		return errVolatile
	}
	return s.write(put(journalKey+r.Update.Component, r))
}

// Outcome returns how the last update of a component ended.
func (s *Store) Outcome(component string) (o engine.Outcome, found bool, err error) {
	found, err = s.get(outcomeKey+component, &o)
	return o, found, err
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

// A change is one part of an atomic write; a nil value removes the key.
type change struct {
	key   string
	value any
}

func put(key string, v any) change { return change{key, v} }

func remove(key string) change { return change{key: key} }

// write makes all changes or none, durably. The database and the copy reach the
// disk at the same time, in any order: a power cut between them leaves a copy
// that is one write ahead, which [Open] then finishes.
func (s *Store) write(changes ...change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := image{Serial: s.now.Serial + 1, Content: maps.Clone(s.now.Content)}
	for _, c := range changes {
		delete(next.Content, c.key)
		if c.value == nil {
			continue
		}
		b, err := json.Marshal(c.value)
		if err != nil {
			return fmt.Errorf("cannot write to the store: %w", err)
		}
		next.Content[c.key] = b
	}
	if !s.damage.Volatile {
		if err := makeRoom(s.db.Opts().Dir); err != nil {
			return fmt.Errorf("cannot write to the store: %w", err)
		}
	}
	err := compact(s.db)
	if err == nil {
		err = replace(s.db, s.now, next)
	}
	if err != nil {
		return fmt.Errorf("cannot write to the store: %w", err)
	}
	s.now = next
	if s.damage.Volatile {
		return nil
	}
	copied := make(chan error, 1)
	go func() { copied <- s.copies.write(next) }()
	if err := errors.Join(s.db.Sync(), <-copied); err != nil {
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
