package store

import (
	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// maxWaiting is how many outcomes of a component wait to be acknowledged. Of
// more, the oldest go, and the next one says how many have gone.
const maxWaiting = 16

// Keys of the outbox. An earlier agent kept the last outcome only, and noted
// under earlierKey that it waits.
const (
	waitingKey      = "waiting/"
	acknowledgedKey = "acknowledged/"
	earlierKey      = "outbox/"
)

// A receipt names the last outcome that was acknowledged.
type receipt struct{ Update, Result string }

// Report puts an outcome into the outbox, where it stays until
// [Store.Acknowledge].
func (s *Store) Report(o engine.Outcome) error {
	changes, err := s.post(o)
	if err != nil {
		return err
	}
	return s.write(changes...)
}

// End removes the journal record and keeps the outcome, both or neither.
func (s *Store) End(r engine.Record, o engine.Outcome) error {
	changes, err := s.post(o)
	if err != nil {
		return err
	}
	return s.write(append(changes, remove(journalKey+r.Update.Component))...)
}

// post is what has to be written for an outcome. One that says the same of an
// update as an earlier one takes its place, and is not told again.
func (s *Store) post(o engine.Outcome) ([]change, error) {
	changes := []change{put(outcomeKey+o.Component, o), remove(earlierKey + o.Component)}
	if o.Repair > 0 { // it has ended, and so is not done again
		changes = append(changes, put(mendedKey+o.Component, o.Repair))
	}
	var last receipt
	if _, err := s.get(acknowledgedKey+o.Component, &last); err != nil {
		return nil, err
	}
	waiting, err := s.waiting(o.Component)
	if err != nil {
		return nil, err
	}
	switch n := len(waiting); {
	case n > 0 && same(waiting[n-1], o):
		o.Missed = waiting[n-1].Missed
		waiting[n-1] = o
	case last == receipt{o.Update, o.Result}:
		return changes, nil
	default:
		waiting = append(waiting, o)
	}
	for ; len(waiting) > maxWaiting; waiting = waiting[1:] {
		waiting[1].Missed += waiting[0].Missed + 1
	}
	return append(changes, put(waitingKey+o.Component, waiting)), nil
}

func same(a, b engine.Outcome) bool { return a.Update == b.Update && a.Result == b.Result }

// waiting returns what was not acknowledged of a component, oldest first.
func (s *Store) waiting(component string) (all []engine.Outcome, err error) {
	found, err := s.get(waitingKey+component, &all)
	if err != nil || found {
		return all, err
	}
	if found, err = s.get(earlierKey+component, new(string)); err != nil || !found {
		return nil, err
	}
	o, found, err := s.Outcome(component)
	if found {
		all = append(all, o)
	}
	return all, err
}

// Oldest returns the oldest outcome of a component that was not acknowledged.
func (s *Store) Oldest(component string) (o engine.Outcome, found bool, err error) {
	all, err := s.waiting(component)
	if err != nil || len(all) == 0 {
		return o, false, err
	}
	return all[0], true, nil
}

// Acknowledge takes the oldest outcome out of the outbox, if it is that of
// this update.
func (s *Store) Acknowledge(component, update string) error {
	all, err := s.waiting(component)
	if err != nil || len(all) == 0 || all[0].Update != update {
		return err
	}
	return s.write(
		put(waitingKey+component, all[1:]), remove(earlierKey+component),
		put(acknowledgedKey+component, receipt{all[0].Update, all[0].Result}),
	)
}
