package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// A hub says that it is there every beatPause; one that has not for nodeLife is taken for dead.
const (
	beatPause = 3 * time.Second
	nodeLife  = 12 * time.Second
)

// Node is the name of this process among those that share the store.
func (s *Store) Node() string { return s.node }

func (s *Store) beat(ctx context.Context) error {
	_, err := s.nodes.Put(ctx, s.node, nil)
	return err
}

// forgetNodes is for a server that only this process uses: whoever was there before is gone.
func (s *Store) forgetNodes(ctx context.Context) error {
	nodes, err := s.Nodes(ctx)
	for name := range nodes {
		err = errors.Join(err, s.nodes.Purge(ctx, name))
	}
	return err
}

// keepBeating says that this process is there until ctx is done.
func (s *Store) keepBeating(ctx context.Context) {
	ticker := time.NewTicker(beatPause)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		if err := s.beat(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("store does not answer", "error", err)
		}
	}
}

// leave says that this process is no longer there, if the store hears it: others need not wait for it then.
func (s *Store) leave() {
	if s.nodes == nil || !s.conn.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := s.nodes.Purge(ctx, s.node); err != nil {
		s.log.Debug("store has not heard the end", "error", err)
	}
}

// Nodes are the processes that share the store and are there; this one is, if it can be heard.
func (s *Store) Nodes(ctx context.Context) (map[string]bool, error) {
	keys, err := s.nodes.ListKeys(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot list hubs: %w", err)
	}
	nodes := map[string]bool{}
	for name := range keys.Keys() {
		nodes[name] = true
	}
	if err := ctx.Err(); err != nil { // the list ended early
		return nil, fmt.Errorf("cannot list hubs: %w", err)
	}
	return nodes, nil
}

// Recover sends events of changes whose hub has died before it had sent them.
func (s *Store) Recover(ctx context.Context) error { return s.recover(ctx) }

func asked(node string) string { return "hub." + node }

// Ask has another hub answer a question; twin.DeviceNotOnline if it is not there.
func (s *Store) Ask(ctx context.Context, node string, question []byte) ([]byte, error) {
	msg, err := s.conn.RequestWithContext(ctx, asked(node), question)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, twin.DeviceNotOnline
	}
	if err != nil {
		return nil, err
	}
	return msg.Data, nil
}

// Answer answers what other hubs ask, each question in a goroutine of its own, until ctx is done and all are answered.
func (s *Store) Answer(ctx context.Context, answer func(ctx context.Context, question []byte) []byte) error {
	questions := make(chan *nats.Msg, 256)
	sub, err := s.conn.ChanSubscribe(asked(s.node), questions)
	if err != nil {
		return fmt.Errorf("cannot listen to other hubs: %w", err)
	}
	for {
		select {
		case q := <-questions:
			s.tasks.Go(func() {
				if err := q.Respond(answer(ctx, q.Data)); err != nil {
					s.log.Warn("cannot answer another hub", "error", err)
				}
			})
		case <-ctx.Done():
			return sub.Unsubscribe()
		}
	}
}

// Secret answers what is kept under a name; at first it keeps fresh. All hubs on the store get the same.
func (s *Store) Secret(ctx context.Context, name string, fresh []byte) ([]byte, error) {
	bucket, err := s.bucket(ctx, jetstream.KeyValueConfig{Bucket: "secrets"})
	if err != nil {
		return nil, fmt.Errorf("cannot keep secrets: %w", err)
	}
	if _, err := bucket.Create(ctx, name, fresh); err == nil {
		return fresh, nil
	} else if !conflict(err) {
		return nil, fmt.Errorf("cannot keep secret %s: %w", name, err)
	}
	value, err := bucket.Get(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("cannot read secret %s: %w", name, err)
	}
	return value.Value(), nil
}
