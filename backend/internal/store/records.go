package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Records are documents of one kind beside the devices, such as accounts: few, small, and changed by compare-and-swap.
type Records struct {
	kind   string
	bucket jetstream.KeyValue
}

// Records opens the documents of a kind. They go when they have not been written for life; 0 is never.
func (s *Store) Records(ctx context.Context, kind string, life time.Duration) (*Records, error) {
	bucket, err := s.bucket(ctx, jetstream.KeyValueConfig{Bucket: kind, TTL: life})
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", kind, err)
	}
	return &Records{kind, bucket}, nil
}

// maxID bounds the id of a document, in bytes.
const maxID = 256

// Get reads a document and its revision; fs.ErrNotExist.
func (r *Records) Get(ctx context.Context, id string) (text []byte, revision uint64, err error) {
	if id == "" || len(id) > maxID {
		return nil, 0, fs.ErrNotExist
	}
	value, err := r.bucket.Get(ctx, key(id))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, fs.ErrNotExist
	}
	if err != nil {
		return nil, 0, fmt.Errorf("cannot read %s: %w", r.kind, err)
	}
	return value.Value(), value.Revision(), nil
}

// Put writes a document that is at a revision, 0 if it is new; fs.ErrExist if it is at another one.
func (r *Records) Put(ctx context.Context, id string, text []byte, revision uint64) error {
	var err error
	if revision == 0 {
		_, err = r.bucket.Create(ctx, key(id), text)
	} else {
		_, err = r.bucket.Update(ctx, key(id), text, revision)
	}
	switch {
	case conflict(err):
		return fs.ErrExist
	case err != nil:
		return fmt.Errorf("cannot write %s: %w", r.kind, err)
	}
	return nil
}

// Delete removes a document, if it is there.
func (r *Records) Delete(ctx context.Context, id string) error {
	if err := r.bucket.Purge(ctx, key(id)); err != nil {
		return fmt.Errorf("cannot delete from %s: %w", r.kind, err)
	}
	return nil
}

// All goes through all documents, in no order.
func (r *Records) All(ctx context.Context) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for value, err := range present(ctx, r.bucket) {
			if err != nil {
				yield(nil, fmt.Errorf("cannot list %s: %w", r.kind, err))
				return
			}
			if !yield(value.Value(), nil) {
				return
			}
		}
	}
}

// present goes through a bucket as it is now.
func present(ctx context.Context, bucket jetstream.KeyValue) iter.Seq2[jetstream.KeyValueEntry, error] {
	return func(yield func(jetstream.KeyValueEntry, error) bool) {
		watcher, err := bucket.WatchAll(ctx, jetstream.IgnoreDeletes())
		if err != nil {
			yield(nil, err)
			return
		}
		defer watcher.Stop()
		for value := range watcher.Updates() {
			if value == nil { // the end of what was there when the watch began
				return
			}
			if !yield(value, nil) {
				return
			}
		}
		yield(nil, context.Cause(ctx))
	}
}
