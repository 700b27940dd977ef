package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Shares of the event log. When that is half full, what a device causes and what messages it sends each have a part of
// it: who fills that loses the oldest of its own. And when the log is nearly full the oldest messages go, of all devices,
// before anything else.
const (
	shares     = 16 // of the log, one for a subject
	portions   = 8  // of a share, in which it is counted
	looks      = 32 // so often it is looked how full the log is, while it is filled once
	halfFull   = 0.5
	nearlyFull = 0.75
)

// room is what this process has put into the log. It begins anew with each process: a share may be that much larger then.
type room struct {
	bytes int64 // of the log

	mu   sync.Mutex
	half bool                // the log was half full when it was last looked
	by   map[string]*portion // by subject
	seen int64               // bytes since it was last looked how full the log is

	thinning sync.Mutex
}

// A portion is what one subject has.
type portion struct {
	bytes int64    // since the last end
	ends  []uint64 // where in the log those before end, the oldest first
}

func newRoom(bytes int64) *room { return &room{bytes: bytes, by: map[string]*portion{}} }

// took counts an event, and answers up to where those of its subject have to go, 0 if they may stay; and whether it is
// time to look how full the log is.
func (r *room) took(subject string, size int64, sequence uint64) (end uint64, look bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen += size; r.seen >= r.bytes/looks {
		r.seen, look = 0, true
	}
	of := r.by[subject]
	if of == nil {
		of = &portion{}
		r.by[subject] = of
	}
	if of.bytes += size; of.bytes < r.bytes/shares/portions {
		return 0, look
	}
	of.bytes, of.ends = 0, append(of.ends, sequence)
	if most := len(of.ends) - portions; most > 0 && (r.half || most > shares*portions) {
		end, of.ends = of.ends[most-1], of.ends[most:]
	}
	return end, look
}

// filled is how many bytes the log has.
func (r *room) filled(bytes uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.half = float64(bytes) >= halfFull*float64(r.bytes)
}

// forget is about a device that is gone.
func (r *room) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.by, changes(id))
	delete(r.by, messages(id))
}

// makeRoom counts an event that has been appended, and has those go that have to. The one who fills the log waits for it.
func (s *Store) makeRoom(ctx context.Context, subject string, size int64, sequence uint64) {
	end, look := s.room.took(subject, size, sequence)
	if end == 0 && !look {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	var err error
	if end > 0 {
		err = s.drop(ctx, subject, end)
	}
	if look {
		err = errors.Join(err, s.thin(ctx))
	}
	if err != nil {
		s.log.Warn("cannot make room in the event log", "error", err)
	}
}

// drop removes the events of a subject up to one.
func (s *Store) drop(ctx context.Context, subject string, end uint64) error {
	return s.events.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(end+1))
}

// thin removes the oldest messages while the log is nearly full. The newest quarter keeps them, for those who follow.
func (s *Store) thin(ctx context.Context) error {
	s.room.thinning.Lock()
	defer s.room.thinning.Unlock()
	for {
		info, err := s.events.Info(ctx)
		if err != nil {
			return fmt.Errorf("cannot read event log: %w", err)
		}
		state := info.State
		s.room.filled(state.Bytes)
		if float64(state.Bytes) < nearlyFull*float64(s.room.bytes) {
			return nil
		}
		oldest, err := s.events.GetMsg(ctx, state.FirstSeq, jetstream.WithGetMsgSubject(allMessages))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read event log: %w", err)
		}
		span := state.LastSeq - state.FirstSeq
		end := min(oldest.Sequence+span/8, state.LastSeq-span/4)
		if oldest.Sequence >= end {
			return nil
		}
		began := time.Now()
		if err := s.drop(ctx, allMessages, end); err != nil {
			return err
		}
		s.log.Info("the event log is nearly full, the oldest messages of devices have gone", "before", end+1, "took", time.Since(began))
	}
}
