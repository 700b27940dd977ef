package state

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// A Retention says which sealed generations of a component stay. Each bound
// removes the oldest first. A generation that a way back needs falls to the
// bound of space alone, and then last; see [Needs].
type Retention struct {
	Keep  int           // at most so many, beside those that are needed
	For   time.Duration // none that is older, in time that the device was on; 0 is no bound
	Space int64         // at most so many bytes together; 0 is no bound
}

// DefaultRetention keeps the state from before an update, and the one from
// before that.
var DefaultRetention = Retention{Keep: 2, For: 30 * 24 * time.Hour}

// An Entry is a sealed generation in a list.
type Entry struct {
	Generation Generation `json:"generation"`
	Meta
	Digest string        `json:"digest"`            // over the names, modes and contents of all files
	Files  int           `json:"files"`             // how many
	Size   int64         `json:"size"`              // of their contents, bytes
	Age    time.Duration `json:"age"`               // since it was sealed, in time that the device was on, ns
	Why    string        `json:"kept,omitempty"`    // why retention keeps it
	Leaves string        `json:"removed,omitempty"` // why it does not, from the next time it looks

	Damaged bool `json:"damaged,omitempty"` // its files are not those that were saved; only where they are looked at
}

// Needs are the generations that are more than history. None of them takes
// the place of another in [Retention.Keep].
type Needs struct {
	Back []Generation // a way back needs them
	Held []Generation // a restore has saved them or brought them back; Retention.For bounds them too
}

func (n Needs) rank(gen Generation) int {
	switch {
	case slices.Contains(n.Back, gen):
		return 0
	case slices.Contains(n.Held, gen):
		return 1
	}
	return 2
}

// judge notes of each entry, oldest first, why it stays or does not.
func (r Retention) judge(entries []Entry, needs Needs) {
	newest := slices.Clone(entries)
	slices.SortStableFunc(newest, func(a, b Entry) int { // what is needed first, then the newest
		return cmp.Or(cmp.Compare(needs.rank(a.Generation), needs.rank(b.Generation)), cmp.Compare(b.Generation, a.Generation))
	})
	var kept int
	var space int64
	for _, n := range newest {
		e := &entries[slices.IndexFunc(entries, func(e Entry) bool { return e.Generation == n.Generation })]
		rank := needs.rank(e.Generation)
		switch {
		case r.Space > 0 && space+e.Size > r.Space:
			e.Leaves = fmt.Sprintf("with it, more than keep_space (%d bytes) would be in use", r.Space)
			continue
		case rank == 0:
			e.Why = "the way back needs it"
		case rank == 2 && kept >= r.Keep:
			e.Leaves = fmt.Sprintf("it is not among the last %d (keep)", r.Keep)
			continue
		case r.For > 0 && e.Age > r.For:
			e.Leaves = fmt.Sprintf("it is older than %s (keep_for)", r.For)
			continue
		case rank == 1:
			e.Why = "a restore has saved it or brought it back; it stays until the next update"
		default:
			e.Why = fmt.Sprintf("it is among the last %d (keep)", r.Keep)
			kept++
		}
		space += e.Size
	}
}

// List returns the sealed generations of a component, oldest first, and why
// retention keeps them, if these are needed. It reads the seals
// alone: whether the files are as sealed is for Load and Show to say.
func (m *Manager) List(component string, needs Needs) ([]Entry, error) {
	all, err := m.generations(component)
	if err != nil {
		return nil, err
	}
	on := m.clock.now()
	var entries []Entry
	for _, gen := range all {
		_, s, err := m.sealed(component, gen)
		if errors.Is(err, ErrMisplaced) { // it is somebody's: not garbage
			e := s.entry(gen, on)
			e.Damaged = true
			entries = append(entries, e)
			continue
		}
		if errors.Is(err, ErrNotSealed) || errors.Is(err, ErrDamaged) || errors.Is(err, ErrMoved) {
			continue
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, s.entry(gen, on))
	}
	m.Retention.judge(entries, needs)
	return entries, nil
}

// Prune drops what retention does not keep, if these generations are needed;
// and everything unsealed, and what the rehearsal has found out.
// To be called when no update of the component is open.
func (m *Manager) Prune(component string, needs Needs) error {
	if err := m.clock.write(); err != nil {
		return fmt.Errorf("cannot retire states of %s: %w", component, err)
	}
	all, err := m.generations(component)
	if err != nil {
		return err
	}
	entries, err := m.List(component, needs)
	if err != nil {
		return err
	}
	for _, gen := range all {
		if slices.ContainsFunc(entries, func(e Entry) bool { return e.Generation == gen && e.Leaves == "" }) {
			continue
		}
		if err := m.Drop(component, gen); err != nil {
			return err
		}
	}
	m.bindOld(component, entries)
	m.mu.Lock()
	delete(m.memory, component)
	m.mu.Unlock()
	dir, err := m.home(component)
	if err != nil {
		return err
	}
	return replica.RemoveAll(filepath.Join(dir, memosName))
}

// bindOld has the seals of older agents say whose the files are. If the disk
// takes none, they stay as they are.
func (m *Manager) bindOld(component string, entries []Entry) {
	for _, e := range entries {
		dir, err := m.dir(component, e.Generation)
		if err != nil {
			continue
		}
		if s, err := readSeal(dir); err == nil && !s.bound() {
			_ = writeSeal(dir, s.bind(component, e.Generation))
		}
	}
}
