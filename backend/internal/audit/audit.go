// Package audit keeps the list of who has changed what. Each entry carries the hash of the one before, so that none can
// be altered, removed or put between unnoticed by whoever knows a later hash: the program's log has each of them.
// An entry is written before what it tells of is done; what then fails has a second entry, which says so.
package audit

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"
)

// Journal is a list that only grows; *store.Journal is one.
type Journal interface {
	Last(ctx context.Context) (number uint64, text []byte, err error)
	Append(ctx context.Context, after uint64, text []byte) error // fs.ErrExist: somebody was faster
	Read(ctx context.Context, number uint64) ([]byte, error)     // fs.ErrNotExist
}

// An Actor is who does something.
type Actor struct {
	Who  string `json:"who"`            // name of a user, or of what else holds a key, as in "policy iothubowner"
	Via  string `json:"via,omitempty"`  // "session", or the name of a token
	From string `json:"from,omitempty"` // address
}

// An Entry is one change.
type Entry struct {
	Number uint64    `json:"number"` // counts from 1
	Time   time.Time `json:"time"`
	Actor
	Action string          `json:"action"`           // "device.create"
	Object string          `json:"object"`           // what it was done to, as the id of a device
	Detail json.RawMessage `json:"detail,omitempty"` // what changed
	Failed string          `json:"failed,omitempty"` // why it was not done after all
	Before string          `json:"before,omitempty"` // hash of the entry before
	Hash   string          `json:"hash,omitempty"`   // SHA-256, hexadecimal, of this JSON without hash
}

// sum is the entry's hash.
func (e Entry) sum() (string, error) {
	e.Hash = ""
	text, err := json.Marshal(e)
	if err != nil {
		return "", err
	}
	hash := sha256.Sum256(text)
	return hex.EncodeToString(hash[:]), nil
}

// Log is the list, safe for concurrent use, also by several processes.
type Log struct {
	journal Journal
	log     *slog.Logger
}

// New makes a log of a journal.
func New(journal Journal, log *slog.Logger) *Log { return &Log{journal, log} }

type actorKey struct{}

// By has what is done with ctx be done by an actor.
func By(ctx context.Context, a Actor) context.Context { return context.WithValue(ctx, actorKey{}, a) }

// Of is who does what is done with ctx, if that is known.
func Of(ctx context.Context) (a Actor, known bool) {
	a, known = ctx.Value(actorKey{}).(Actor)
	return a, known
}

// Change writes down that something is about to be done, does it, and writes down if that fails. Without the entry
// nothing is done. detail becomes JSON; nil is none.
func (l *Log) Change(ctx context.Context, action, object string, detail any, do func() error) error {
	e := Entry{Action: action, Object: object}
	e.Actor, _ = Of(ctx)
	if e.Who == "" {
		return fmt.Errorf("cannot %s %s: nobody is known to do it", action, object)
	}
	if detail != nil {
		text, err := json.Marshal(detail)
		if err != nil {
			return err
		}
		e.Detail = text
	}
	if err := l.append(ctx, e); err != nil {
		return err
	}
	err := do()
	if err == nil {
		return nil
	}
	e.Detail, e.Failed = nil, err.Error()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second) // whoever asked may be gone
	defer cancel()
	return errors.Join(err, l.append(ctx, e))
}

// append numbers and chains an entry; again if somebody else was faster.
func (l *Log) append(ctx context.Context, e Entry) error {
	for {
		number, text, err := l.journal.Last(ctx)
		if err != nil {
			return err
		}
		var before Entry
		if number > 0 {
			if err := json.Unmarshal(text, &before); err != nil {
				return fmt.Errorf("entry %d of the audit log is damaged: %w", number, err)
			}
		}
		e.Number, e.Time, e.Before = number+1, time.Now().UTC(), before.Hash
		if e.Hash, err = e.sum(); err != nil {
			return err
		}
		if text, err = json.Marshal(e); err != nil {
			return err
		}
		err = l.journal.Append(ctx, number, text)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			l.log.Info("change", "number", e.Number, "who", e.Who, "action", e.Action, "object", e.Object, "failed", e.Failed, "hash", e.Hash)
		}
		return err
	}
}

// Entries answers at most n entries below a number, the newest first; before 0 is from the newest on.
func (l *Log) Entries(ctx context.Context, before uint64, n int) ([]Entry, error) {
	last, _, err := l.journal.Last(ctx)
	if err != nil {
		return nil, err
	}
	if before == 0 || before > last {
		before = last + 1
	}
	entries := []Entry{}
	for number := before - 1; number > 0 && len(entries) < n; number-- {
		e, err := l.read(ctx, number)
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func (l *Log) read(ctx context.Context, number uint64) (e Entry, err error) {
	text, err := l.journal.Read(ctx, number)
	if err != nil {
		return e, fmt.Errorf("cannot read entry %d of the audit log: %w", number, err)
	}
	if err := json.Unmarshal(text, &e); err != nil {
		return e, fmt.Errorf("entry %d of the audit log is damaged: %w", number, err)
	}
	return e, nil
}

// Verify reads the whole list and answers how many entries there are and the newest hash, which is to be held against
// one that was noted elsewhere; or which entry is not what was written.
func (l *Log) Verify(ctx context.Context) (number uint64, hash string, err error) {
	last, _, err := l.journal.Last(ctx)
	if err != nil {
		return 0, "", err
	}
	for number = 1; number <= last; number++ {
		e, err := l.read(ctx, number)
		if err != nil {
			return number, hash, err
		}
		sum, err := e.sum()
		if err != nil {
			return number, hash, err
		}
		if e.Number != number || e.Before != hash || e.Hash != sum {
			return number, hash, fmt.Errorf("entry %d of the audit log is not what was written", number)
		}
		hash = e.Hash
	}
	return last, hash, nil
}
