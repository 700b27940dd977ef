package store

import (
	"context"
	"fmt"
	"iter"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// Past answers the events of a device that the log has now, the oldest first.
func (s *Store) Past(ctx context.Context, device string) iter.Seq2[twin.Event, error] {
	return func(yield func(twin.Event, error) bool) {
		err := s.past(ctx, device, func(e twin.Event) bool { return yield(e, nil) })
		if err != nil {
			yield(twin.Event{}, fmt.Errorf("cannot read events: %w", err))
		}
	}
}

func (s *Store) past(ctx context.Context, device string, emit func(twin.Event) bool) error {
	consumer, err := s.events.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{"events." + key(device) + ".>"}})
	if err != nil {
		return err
	}
	info, err := consumer.Info(ctx)
	if err != nil || info.NumPending == 0 {
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
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		event, err := decodeEvent(msg)
		if err != nil {
			return err
		}
		if !emit(event) || meta.NumPending == 0 {
			return nil
		}
	}
}
