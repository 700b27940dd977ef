package main

import (
	"context"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// lookInterval is how often a follower looks at what time alone changes.
const lookInterval = 2 * time.Second

// A follower keeps the twin of a device as the hub has it.
type follower struct {
	twin *iothub.Twin // as known so far

	twins  chan *iothub.Twin
	failed chan error
}

// begin follows until ctx is done.
func (f *follower) begin(ctx context.Context, hub *iothub.Client, device string) {
	f.twins, f.failed = make(chan *iothub.Twin), make(chan error, 1)
	go func() {
		for twin, err := range hub.Follow(ctx, device) {
			if err != nil {
				f.failed <- err
				return
			}
			select {
			case f.twins <- twin:
			case <-ctx.Done():
				f.failed <- ctx.Err()
				return
			}
		}
	}()
}

// next waits until the twin has changed, or lookInterval; its error is that of ctx,
// or the hub's.
func (f *follower) next() error {
	select {
	case f.twin = <-f.twins:
		return nil
	case <-time.After(lookInterval):
		return nil
	case err := <-f.failed:
		return err
	}
}
