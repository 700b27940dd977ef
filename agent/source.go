package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/fetch"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// A source tells the engine which of the fetcher's errors are passing.
type source struct{ *fetch.Fetcher }

func (s source) Manifest(ctx context.Context, component, reference string) ([]byte, error) {
	file, err := pack.ParseFileName(reference)
	if err == nil && pack.CheckVersion(reference) != nil { // 1.0.0-rc.1 could be either
		if file.Component() != component {
			return nil, fmt.Errorf("the package %s is for %s, not for %s", reference, file.Component(), component)
		}
		found, err := s.Named(ctx, reference)
		if err != nil {
			return nil, passing(err)
		}
		reference = found.Digest
	}
	b, err := s.Fetcher.Manifest(ctx, component, reference)
	if err == nil && pack.CheckDigest(reference) == nil && pack.DigestOf(b) != reference {
		err = pack.ErrDigest
	}
	return b, passing(err)
}

func (s source) Blob(ctx context.Context, component, digest string, size int64, progress func(done, total int64)) error {
	return passing(s.Fetcher.Blob(ctx, component, digest, size, progress))
}

// linkWait is how long to wait for a link that costs nothing.
const linkWait = 10 * time.Minute

func passing(err error) error {
	if errors.Is(err, fetch.ErrBudget) {
		return engine.Retry{After: linkWait, Err: err}
	}
	if errors.Is(err, fetch.ErrUnreachable) {
		return engine.Retry{Err: err}
	}
	return err
}
