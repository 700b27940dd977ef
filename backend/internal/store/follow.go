package store

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// prefetch bounds how many events wait in memory for one reader.
const prefetch = 64

// Events answers all events after a position, or those of one device unless device is "", and then waits for more.
// It ends, with an error, only when ctx is done or the store closes. Events that retention has dropped are skipped; the
// first after them tells how many.
func (s *Store) Events(ctx context.Context, device string, after uint64) iter.Seq2[twin.Event, error] {
	subject := "events.>"
	if device != "" {
		subject = subjectOf(device)
	}
	events := s.read(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1, InactiveThreshold: time.Minute,
	}, false)
	return func(yield func(twin.Event, error) bool) {
		lost, err := s.dropped(ctx, device, after)
		if err != nil {
			yield(twin.Event{}, err)
			return
		}
		for event, err := range events {
			event.Lost, lost = lost, 0
			if !yield(event, err) {
				return
			}
		}
	}
}

// dropped is how many events after a position the log has no more.
func (s *Store) dropped(ctx context.Context, device string, after uint64) (uint64, error) {
	info, err := s.events.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("cannot read event log: %w", err)
	}
	if info.State.FirstSeq <= after+1 {
		return 0, nil
	}
	lost := info.State.FirstSeq - after - 1
	s.log.Warn("events were dropped before their reader came", "device", device, "after", after, "lost", lost)
	return lost, nil
}

// Past answers the events of a device that the log has now, the oldest first.
func (s *Store) Past(ctx context.Context, device string) iter.Seq2[twin.Event, error] {
	return s.read(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subjectOf(device)}}, true)
}

func subjectOf(device string) string { return "events." + key(device) + ".>" }

// read answers what a consumer gets, until its reader has enough; ends: until there is no more.
func (s *Store) read(ctx context.Context, from jetstream.OrderedConsumerConfig, ends bool) iter.Seq2[twin.Event, error] {
	return func(yield func(twin.Event, error) bool) {
		err := s.consume(ctx, from, ends, func(e twin.Event) bool { return yield(e, nil) })
		if err != nil {
			yield(twin.Event{}, fmt.Errorf("cannot read events: %w", err))
		}
	}
}

func (s *Store) consume(ctx context.Context, from jetstream.OrderedConsumerConfig, ends bool, emit func(twin.Event) bool) error {
	consumer, err := s.events.OrderedConsumer(ctx, from)
	if err != nil {
		return err
	}
	if ends {
		if info, err := consumer.Info(ctx); err != nil || info.NumPending == 0 {
			return err
		}
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
		event, left, err := decodeEvent(msg)
		if err != nil {
			return err
		}
		if !emit(event) || ends && left == 0 {
			return nil
		}
	}
}

// decodeEvent also tells how many there are after it.
func decodeEvent(msg jetstream.Msg) (event twin.Event, left uint64, err error) {
	meta, err := msg.Metadata()
	if err != nil {
		return twin.Event{}, 0, err
	}
	if err := json.Unmarshal(msg.Data(), &event); err != nil {
		return twin.Event{}, 0, fmt.Errorf("event %d is damaged: %w", meta.Sequence.Stream, err)
	}
	event.Sequence = meta.Sequence.Stream
	return event, meta.NumPending, nil
}
