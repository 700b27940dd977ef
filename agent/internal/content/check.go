package content

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Check reads all whole blobs, and removes those that are damaged, so that they are
// fetched again. It takes its time: it reads for a third of it, since components
// start meanwhile.
func (s *Store) Check(ctx context.Context) (removed []string, err error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, wholeDir))
	if err != nil {
		return nil, fmt.Errorf("cannot check content store: %w", err)
	}
	for _, e := range entries {
		digest := "sha256:" + e.Name()
		err := s.inspect(ctx, digest)
		if ctx.Err() != nil {
			return removed, nil
		}
		if err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrBusy) {
			continue // gone since ReadDir, or who receives it looks at it
		}
		removed = append(removed, digest)
		if err := s.Delete(digest); err != nil {
			return removed, err
		}
	}
	return removed, nil
}

func (s *Store) inspect(ctx context.Context, digest string) error {
	f, err := s.Open(digest)
	if err != nil {
		return err
	}
	defer f.Close()
	return compare(digest, &slow{ctx: ctx, from: f})
}

// slow reads with pauses, each twice as long as the reading before.
type slow struct {
	ctx  context.Context
	from io.Reader
	last time.Time
}

func (s *slow) Read(b []byte) (int, error) {
	if !s.last.IsZero() {
		select {
		case <-time.After(2 * time.Since(s.last)):
		case <-s.ctx.Done():
		}
	}
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	s.last = time.Now()
	return s.from.Read(b)
}
