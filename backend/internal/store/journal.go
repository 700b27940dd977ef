package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/nats-io/nats.go/jetstream"
)

// A Journal is a list of documents that only grows: nobody can change or remove one by any means of the store.
type Journal struct {
	name   string
	js     jetstream.JetStream
	stream jetstream.Stream
}

// Journal opens a list.
func (s *Store) Journal(ctx context.Context, name string) (*Journal, error) {
	stream, err := s.stream(ctx, jetstream.StreamConfig{
		Name: name, Subjects: []string{name}, DenyDelete: true, DenyPurge: true, AllowDirect: true,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", name, err)
	}
	return &Journal{name, s.js, stream}, nil
}

// Last reads the newest document and its number, which are nil and 0 at first.
func (j *Journal) Last(ctx context.Context) (number uint64, text []byte, err error) {
	msg, err := j.stream.GetLastMsgForSubject(ctx, j.name)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, fmt.Errorf("cannot read %s: %w", j.name, err)
	}
	return msg.Sequence, msg.Data, nil
}

// Append adds a document after that of a number; fs.ErrExist if there is another one already.
func (j *Journal) Append(ctx context.Context, after uint64, text []byte) error {
	_, err := j.js.Publish(ctx, j.name, text, jetstream.WithExpectLastSequence(after))
	switch {
	case conflict(err):
		return fs.ErrExist
	case err != nil:
		return fmt.Errorf("cannot append to %s: %w", j.name, err)
	}
	return nil
}

// Read reads the document of a number, which count from 1; fs.ErrNotExist.
func (j *Journal) Read(ctx context.Context, number uint64) ([]byte, error) {
	msg, err := j.stream.GetMsg(ctx, number)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, fs.ErrNotExist
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", j.name, err)
	}
	return msg.Data, nil
}
