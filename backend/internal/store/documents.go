package store

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// kinds of documents, and for how long one is kept after its last change; 0 is for ever.
var kinds = map[string]time.Duration{
	"configurations": 0,
	"jobs":           30 * 24 * time.Hour,
	"outcomes":       30 * 24 * time.Hour, // of jobs, by job and device
	"subscribers":    7 * 24 * time.Hour,  // how far applications are that are told by MQTT
}

func (s *Store) provideDocuments(ctx context.Context) error {
	s.documents = map[string]jetstream.KeyValue{}
	for kind, life := range kinds {
		bucket, err := s.bucket(ctx, jetstream.KeyValueConfig{Bucket: kind, TTL: life})
		if err != nil {
			return err
		}
		s.documents[kind] = bucket
	}
	return nil
}

// documentKey encodes each part of a name, as in `{job}/{device}`.
func documentKey(name string) string {
	parts := strings.Split(name, "/")
	for i := range parts {
		parts[i] = key(parts[i])
	}
	return strings.Join(parts, ".")
}

func documentName(key string) string {
	parts := strings.Split(key, ".")
	for i := range parts {
		part, _ := base64.RawURLEncoding.DecodeString(parts[i])
		parts[i] = string(part)
	}
	return strings.Join(parts, "/")
}

// Put keeps a document if nobody has changed it since its revision, 0 for a new one; else twin.PreconditionFailed.
func (s *Store) Put(ctx context.Context, kind string, d twin.Document) (revision uint64, err error) {
	if d.Revision == 0 {
		revision, err = s.documents[kind].Create(ctx, documentKey(d.Name), d.Text)
	} else {
		revision, err = s.documents[kind].Update(ctx, documentKey(d.Name), d.Text, d.Revision)
	}
	if conflict(err) {
		return 0, twin.PreconditionFailed
	}
	if err != nil {
		return 0, fmt.Errorf("cannot keep %s of %s: %w", d.Name, kind, err)
	}
	return revision, nil
}

// Document reads one; ok tells whether it is there.
func (s *Store) Document(ctx context.Context, kind, name string) (d twin.Document, ok bool, err error) {
	value, err := s.documents[kind].Get(ctx, documentKey(name))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return twin.Document{}, false, nil
	}
	if err != nil {
		return twin.Document{}, false, fmt.Errorf("cannot read %s of %s: %w", name, kind, err)
	}
	return twin.Document{Name: name, Text: value.Value(), Revision: value.Revision()}, true, nil
}

// Remove deletes a document if nobody has changed it since its revision; else twin.PreconditionFailed.
func (s *Store) Remove(ctx context.Context, kind string, d twin.Document) error {
	err := s.documents[kind].Purge(ctx, documentKey(d.Name), jetstream.LastRevision(d.Revision))
	if conflict(err) {
		return twin.PreconditionFailed
	}
	if err != nil {
		return fmt.Errorf("cannot delete %s of %s: %w", d.Name, kind, err)
	}
	return nil
}

// Documents goes through those of a kind, or of those whose names begin with `{parent}/`, in no order.
func (s *Store) Documents(ctx context.Context, kind, parent string) iter.Seq2[twin.Document, error] {
	return func(yield func(twin.Document, error) bool) {
		filter := ">"
		if parent != "" {
			filter = documentKey(parent) + ".*"
		}
		watcher, err := s.documents[kind].Watch(ctx, filter, jetstream.IgnoreDeletes())
		if err != nil {
			yield(twin.Document{}, fmt.Errorf("cannot list %s: %w", kind, err))
			return
		}
		defer watcher.Stop()
		for value := range watcher.Updates() {
			if value == nil { // the end of what was there when the watch began
				return
			}
			if !yield(twin.Document{Name: documentName(value.Key()), Text: value.Value(), Revision: value.Revision()}, nil) {
				return
			}
		}
		yield(twin.Document{}, fmt.Errorf("cannot list %s: %w", kind, context.Cause(ctx)))
	}
}

// DocumentsChange has the channel told whenever a document of a kind changes, until ctx is done; of several changes it
// may be told once.
func (s *Store) DocumentsChange(ctx context.Context, kind string, changed chan<- struct{}) error {
	watcher, err := s.documents[kind].WatchAll(ctx, jetstream.UpdatesOnly(), jetstream.MetaOnly())
	if err != nil {
		return fmt.Errorf("cannot watch %s: %w", kind, err)
	}
	s.tasks.Go(func() {
		defer watcher.Stop()
		for range watcher.Updates() {
			select {
			case changed <- struct{}{}:
			default:
			}
		}
	})
	return nil
}
