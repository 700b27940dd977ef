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

// prefetch bounds how many events wait in memory for one reader: each may have a third of a megabyte.
const prefetch = 16

// Events answers all events after a position, or those of one device unless device is "", and then waits for more.
// It ends, with an error, only when ctx is done or the store closes. Events that the log has dropped are skipped; the
// first after them tells how many, of all devices: who reads one device's cannot know whether any was among them.
func (s *Store) Events(ctx context.Context, device string, after uint64) iter.Seq2[twin.Event, error] {
	return func(yield func(twin.Event, error) bool) {
		var err error
		if device == "" {
			err = s.followAll(ctx, after, yield)
		} else {
			err = s.followOne(ctx, device, after, yield)
		}
		if err != nil {
			yield(twin.Event{}, fmt.Errorf("cannot read events: %w", err))
		}
	}
}

func (s *Store) followAll(ctx context.Context, after uint64, yield func(twin.Event, error) bool) error {
	g := gaps{Store: s, last: after}
	return s.follow(ctx, "events.>", after, func(event twin.Event) (more bool, err error) {
		if event.Lost, err = g.before(ctx, event.Sequence); err != nil {
			return false, err
		}
		return yield(event, nil), nil
	})
}

// followOne tells where it begins what may be lost: what is missing later may be any device's.
func (s *Store) followOne(ctx context.Context, device string, after uint64, yield func(twin.Event, error) bool) error {
	lost, err := s.missing(ctx, after)
	if err != nil {
		return err
	}
	if lost > 0 {
		s.log.Warn("events were dropped before their reader came", "device", device, "after", after, "ofAll", lost)
	}
	return s.follow(ctx, "events."+key(device)+".>", after, func(event twin.Event) (bool, error) {
		event.Lost, lost = lost, 0
		return yield(event, nil), nil
	})
}

// gaps knows what a reader of the whole log has been told of lost events.
type gaps struct {
	*Store
	last uint64 // event
	owed uint64 // lost ones that come after it, and were told
}

// before answers how many events are to be told as lost before the next one: all that the log lacks from there on, so
// that not each hole is told by itself.
func (g *gaps) before(ctx context.Context, next uint64) (lost uint64, err error) {
	gap := next - g.last - 1
	g.last = next
	if gap <= g.owed {
		g.owed -= gap
		return 0, nil
	}
	lost = gap - g.owed
	if g.owed, err = g.missing(ctx, next); err != nil {
		return 0, err
	}
	lost += g.owed
	g.log.Warn("events were dropped before their reader came", "before", next, "lost", lost)
	return lost, nil
}

// missing is how many events after a position the log has no more.
func (s *Store) missing(ctx context.Context, after uint64) (uint64, error) {
	info, err := s.events.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("cannot read event log: %w", err)
	}
	if info.State.LastSeq <= after {
		return 0, nil
	}
	consumer, err := s.events.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1, AckPolicy: jetstream.AckNonePolicy, InactiveThreshold: time.Minute, MemoryStorage: true,
	})
	if err != nil {
		return 0, fmt.Errorf("cannot read event log: %w", err)
	}
	there := consumer.CachedInfo().NumPending // and what came since
	if err := s.events.DeleteConsumer(ctx, consumer.CachedInfo().Name); err != nil {
		s.log.Debug("cannot end a consumer", "error", err)
	}
	return info.State.LastSeq - after - min(there, info.State.LastSeq-after), nil
}

// follow hands over what the log has after a position, and then what comes, until emit has enough.
func (s *Store) follow(ctx context.Context, subject string, after uint64, emit func(twin.Event) (more bool, err error)) error {
	consumer, err := s.events.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: after + 1, InactiveThreshold: time.Minute,
	})
	if err != nil {
		return err
	}
	return consume(ctx, consumer, func(msg jetstream.Msg) (more bool, err error) {
		event, err := decodeEvent(msg)
		if err != nil {
			return false, err
		}
		return emit(event)
	})
}

// readAll hands over what a stream has now of a subject.
func (s *Store) readAll(ctx context.Context, stream jetstream.Stream, subject string, emit func(jetstream.Msg) error) error {
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		return err
	}
	if info, err := consumer.Info(ctx); err != nil || info.NumPending == 0 {
		return err
	}
	return consume(ctx, consumer, func(msg jetstream.Msg) (more bool, err error) {
		meta, err := msg.Metadata()
		if err == nil {
			err = emit(msg)
		}
		return err == nil && meta.NumPending > 0, err
	})
}

func consume(ctx context.Context, consumer jetstream.Consumer, emit func(jetstream.Msg) (more bool, err error)) error {
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
		if more, err := emit(msg); err != nil || !more {
			return err
		}
	}
}

func decodeEvent(msg jetstream.Msg) (event twin.Event, err error) {
	meta, err := msg.Metadata()
	if err != nil {
		return twin.Event{}, err
	}
	if err := json.Unmarshal(msg.Data(), &event); err != nil {
		return twin.Event{}, fmt.Errorf("event %d is damaged: %w", meta.Sequence.Stream, err)
	}
	event.Sequence = meta.Sequence.Stream
	return event, nil
}
