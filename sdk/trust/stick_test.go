package trust_test

import (
	"context"
	"errors"
	"testing"
	"time"

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

// TestVerifyWithin: who is offline with all it needs does not wait for a network.
func TestVerifyWithin(t *testing.T) {
	for name, within := range map[string]time.Duration{"not at all": 0, "a little": 20 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			w := trusttest.New(t)
			asked := 0
			c, err := trust.Open(trust.Config{Dir: t.TempDir(), Root: w.FirstRoot(), Clock: w.Clock(), Fetch: func(ctx context.Context, _ string, _ int64) ([]byte, error) {
				asked++
				<-ctx.Done()
				return nil, context.Cause(ctx)
			}})
			if err == nil {
				err = c.Learn(t.Context(), w.Fetch, w.Good.Component)
			}
			if err != nil {
				t.Fatal(err)
			}
			v, err := c.VerifyWithin(t.Context(), w.Good, within)
			if err != nil || !v.Offline || v.Doubt == "" || asked > 1 || within == 0 && asked > 0 {
				t.Errorf("%+v, %v, asked %d times", v, err, asked)
			}
			w.Now = w.Now.Add(trust.SnapshotGood) // by a clock that is right, and by one that nobody sets
			if v, err := c.VerifyWithin(t.Context(), w.Good, within); !v.Offline || !errors.Is(err, trust.ErrExpired) {
				t.Errorf("when it has expired: %+v, %v", v, err)
			}
		})
	}
}
