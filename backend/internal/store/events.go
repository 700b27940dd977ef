package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// revisionHeader marks an event of the log with the revision of the entry that caused it.
const revisionHeader = "Tranquil-Revision"

// prefetch bounds how many events wait in memory for one reader.
const prefetch = 64

// changes is the subject of what an entry caused, messages that of all else about the device.
func changes(id string) string  { return "events." + key(id) + ".change" }
func messages(id string) string { return "events." + key(id) + ".message" }

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
	if _, err = s.tells.append(ctx, msg); err != nil {
		return fmt.Errorf("cannot append event: %w", err)
	}
	return nil
}

// send appends the event of an entry that has just been written.
func (s *Store) send(ctx context.Context, e entry) error {
	if e.Event == nil {
		return nil
	}
	msg := &nats.Msg{Subject: changes(e.Event.Device), Header: nats.Header{}}
	revision := strconv.FormatUint(e.revision, 10)
	msg.Header.Set(revisionHeader, revision)
	msg.Header.Set(jetstream.MsgIDHeader, key(e.Event.Device)+"."+revision) // two hubs may send it at once
	if err := s.publish(ctx, msg, *e.Event); err != nil {
		s.unsent.Store(e.Event.Device, true)
		return err
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

// sendOnce appends the event of an entry unless the log has it, or had it and has dropped it for its age.
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
		return s.send(ctx, e)
	}
	if err != nil {
		return fmt.Errorf("cannot read event log: %w", err)
	}
	if sent, _ := strconv.ParseUint(last.Header.Get(revisionHeader), 10, 64); sent >= e.revision {
		return nil
	}
	return s.send(ctx, e)
}

// Position is the sequence of the newest event, 0 if there was none.
func (s *Store) Position(ctx context.Context) (uint64, error) {
	info, err := s.events.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("cannot read event log: %w", err)
	}
	return info.State.LastSeq, nil
}

// Events answers all events after a position, or those of one device unless device is "", and then waits for more.
// It ends, with an error, only when ctx is done or the store closes. Events that retention has dropped are skipped.
func (s *Store) Events(ctx context.Context, device string, after uint64) iter.Seq2[twin.Event, error] {
	return func(yield func(twin.Event, error) bool) {
		err := s.follow(ctx, device, after, func(e twin.Event) bool { return yield(e, nil) })
		if err != nil {
			yield(twin.Event{}, fmt.Errorf("cannot follow events: %w", err))
		}
	}
}

func (s *Store) follow(ctx context.Context, device string, after uint64, emit func(twin.Event) bool) error {
	subject := "events.>"
	if device != "" {
		subject = "events." + key(device) + ".>"
	}
	consumer, err := s.events.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects:    []string{subject},
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       after + 1,
		InactiveThreshold: time.Minute,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(prefetch))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		event, err := decodeEvent(msg)
		if err != nil {
			return err
		}
		if !emit(event) {
			return nil
		}
	}
}

func decodeEvent(msg jetstream.Msg) (twin.Event, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return twin.Event{}, err
	}
	event := twin.Event{}
	if err := json.Unmarshal(msg.Data(), &event); err != nil {
		return twin.Event{}, fmt.Errorf("event %d is damaged: %w", meta.Sequence.Stream, err)
	}
	event.Sequence = meta.Sequence.Stream
	return event, nil
}
