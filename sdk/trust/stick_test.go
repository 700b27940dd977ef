package trust_test

import (
	"context"
	"errors"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/trust"
	"github.com/tranquil-iot/tranquil/sdk/trust/trusttest"
)

// A traveller has no network: all that it hears of the repository somebody brings.
type traveller struct {
	*trust.Client
	w *trusttest.World
	t *testing.T
}

func (d traveller) Verify(ctx context.Context, p trust.Package) (trust.Verdict, error) {
	learned := d.Learn(ctx, d.w.Fetch, p.Component)
	v, err := d.Client.Verify(ctx, p)
	if err == nil && p != d.w.Good {
		d.t.Errorf("%s is trusted", p.Version)
	}
	return v, errors.Join(err, learned)
}

// TestAttacksByStick: who has prepared a USB stick can do no more than who has the
// network. What is wrong with it is told; and a package is trusted only if that goes
// by what was known before.
func TestAttacksByStick(t *testing.T) {
	trusttest.RunOn(t, func(t *testing.T, w *trusttest.World, c trust.Config) trusttest.Device {
		c.Fetch = func(context.Context, string, int64) ([]byte, error) { return nil, trust.ErrUnreachable }
		client, err := trust.Open(c)
		if err != nil {
			t.Fatal(err)
		}
		return traveller{client, w, t}
	})
}
