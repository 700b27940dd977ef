package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// revisionHeader marks an event of the log with the revision of the entry that caused it, and with which of its events
// it is: "17" is the first, "17.1" the one after.
const revisionHeader = "Tranquil-Revision"

// changes is the subject of what an entry caused, messages that of all else about the device.
func changes(id string) string  { return "events." + key(id) + ".change" }
func messages(id string) string { return "events." + key(id) + ".message" }

// allChanges and allMessages are those subjects of all devices.
const (
	allChanges  = "events.*.change"
	allMessages = "events.*.message"
)

// onceWithin is how long an event's name keeps others with the same out.
const onceWithin = 5 * time.Minute

// Append adds an event that goes with no change of its device, such as telemetry. One that has a name is there
// already if another with this name has come a little earlier.
func (s *Store) Append(ctx context.Context, event twin.Event) error {
	msg := &nats.Msg{Subject: messages(event.Device), Header: nats.Header{}}
	if event.Once != "" {
		name := sha256.Sum256([]byte(event.Device + "\x00" + event.Once))
		msg.Header.Set(jetstream.MsgIDHeader, hex.EncodeToString(name[:]))
	}
	return s.publish(ctx, msg, event)
}

func (s *Store) publish(ctx context.Context, msg *nats.Msg, event twin.Event) error {
	var err error
	if msg.Data, err = json.Marshal(event); err != nil {
		return fmt.Errorf("cannot encode event: %w", err)
	}
	sequence, err := s.tells.append(ctx, msg)
	if err != nil {
		return fmt.Errorf("cannot append event: %w", err)
	}
	s.makeRoom(ctx, msg.Subject, int64(msg.Size()), sequence)
	return nil
}

// A mark is the value of revisionHeader.
type mark struct {
	revision uint64
	index    int
}

func (m mark) String() string {
	if m.index == 0 {
		return strconv.FormatUint(m.revision, 10)
	}
	return fmt.Sprintf("%d.%d", m.revision, m.index)
}

func parseMark(text string) (m mark) {
	revision, index, _ := strings.Cut(text, ".")
	m.revision, _ = strconv.ParseUint(revision, 10, 64)
	m.index, _ = strconv.Atoi(index)
	return m
}

// events are those of an entry, in order.
func (e entry) events() []twin.Event {
	if e.Event == nil {
		return nil
	}
	first := *e.Event
	first.Then = nil
	return append([]twin.Event{first}, e.Event.Then...)
}

// send appends the events of an entry that has just been written, or those from a number on; outcomes to the history
// first, so that what the log has is there too.
func (s *Store) send(ctx context.Context, e entry, from int) error {
	for i, event := range e.events() {
		if i < from {
			continue
		}
		msg := &nats.Msg{Subject: changes(event.Device), Header: nats.Header{}}
		m := mark{e.revision, i}.String()
		if err := s.remember(ctx, event, m); err != nil {
			s.unsent.Store(event.Device, true)
			return err
		}
		msg.Header.Set(revisionHeader, m)
		msg.Header.Set(jetstream.MsgIDHeader, key(event.Device)+"."+m) // two hubs may send it at once
		if err := s.publish(ctx, msg, event); err != nil {
			s.unsent.Store(event.Device, true)
			return err
		}
	}
	return nil
}

// sendUnsent appends the event of an earlier change before the next change replaces it, if it is not sure to be there:
// another hub may be about to send it, or gone.
func (s *Store) sendUnsent(ctx context.Context, id string, e entry) error {
	_, unsent := s.unsent.Load(id)
	if !unsent && e.Node == s.node {
		return nil
	}
	if err := s.sendOnce(ctx, e); err != nil {
		return err
	}
	s.unsent.Delete(id)
	return nil
}

// recover finishes what a crash may have cut between an entry and the log, or the end of a deletion.
func (s *Store) recover(ctx context.Context) error {
	for e, err := range s.each(ctx) {
		if err != nil {
			return err
		}
		if err := s.sendOnce(ctx, e); err != nil {
			return err
		}
		if e.Deleted {
			if err := s.purge(ctx, e.Device.ID, e.revision); err != nil {
				return err
			}
		}
	}
	return nil
}

// sendOnce appends those events of an entry that the log does not have, nor had and has dropped for their age.
func (s *Store) sendOnce(ctx context.Context, e entry) error {
	if e.revision == 0 || e.Event == nil || time.Since(e.Event.Time) > s.logAge {
		return nil
	}
	last, err := s.events.GetLastMsgForSubject(ctx, changes(e.Event.Device))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		info, err := s.events.Info(ctx)
		if err != nil {
			return fmt.Errorf("cannot read event log: %w", err)
		}
		if info.State.FirstSeq > 1 && e.Event.Time.Before(info.State.FirstTime) {
			return nil
		}
		return s.send(ctx, e, 0)
	}
	if err != nil {
		return fmt.Errorf("cannot read event log: %w", err)
	}
	switch sent := parseMark(last.Header.Get(revisionHeader)); {
	case sent.revision > e.revision:
		return nil
	case sent.revision == e.revision:
		return s.send(ctx, e, sent.index+1)
	}
	return s.send(ctx, e, 0)
}

// Position is the sequence of the newest event, 0 if there was none.
func (s *Store) Position(ctx context.Context) (uint64, error) {
	info, err := s.events.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("cannot read event log: %w", err)
	}
	return info.State.LastSeq, nil
}
