package rig

import (
	"context"
	"iter"
)

// Follow yields what the device reports, now and after each change, until ctx
// ends or the consumer has seen enough.
func (s *System) Follow(ctx context.Context) iter.Seq2[Reported, error] {
	return func(yield func(Reported, error) bool) {
		for twin, err := range s.Hub.Follow(ctx, s.Device) {
			if err != nil {
				yield(Reported{}, err)
				return
			}
			if reported, err := Decode(twin.Properties.Reported); !yield(reported, err) {
				return
			}
		}
	}
}
