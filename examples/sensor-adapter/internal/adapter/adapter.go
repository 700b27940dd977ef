// Package adapter is what the versions of the sensor adapter truly share: the
// simulated sensor, the loop that stores a reading before it publishes it and
// that can be brought to tranquillity, and durable files. What the state
// looks like is each version's own business, behind [Store].
package adapter

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/internal/milli"
	"github.com/tranquil-iot/tranquil/sdk/component"
)

// A Store keeps readings. It is used by one goroutine at a time.
type Store interface {
	// Last returns the last sequence number, 0 if the store is empty.
	Last() int
	// Offset is what the calibration adds to a raw sample.
	Offset() milli.Degrees
	// Append keeps readings, which follow Last without a gap, durably.
	Append(...Reading) error
}

// IPSO temperature object.
const temperature = 3303

// An Adapter samples, stores and publishes. Use Flags, then Main.
type Adapter struct {
	Unit string        // SenML unit in which readings are published, "Cel" or "K"
	Zero milli.Degrees // 0 °C in that unit

	interval time.Duration
	seed     int
	sick     bool

	mu     sync.Mutex // held while a sample is in flight
	store  Store
	paused bool
	stored time.Time // when the last reading was
}

// Flags declares the command line.
func (a *Adapter) Flags() {
	flag.DurationVar(&a.interval, "interval", 100*time.Millisecond, "time between two samples")
	flag.IntVar(&a.seed, "seed", 4000, "readings that an empty state begins with, as if sampled earlier")
	flag.BoolVar(&a.sick, "sick", false, "never be healthy")
}

// Main runs the adapter on the state that open recovers, until SIGTERM.
func (a *Adapter) Main(open func(dir string) (Store, error)) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := a.run(ctx, open); err != nil {
		fmt.Fprintln(os.Stderr, "sensor-adapter:", err)
		os.Exit(1)
	}
}

func (a *Adapter) run(ctx context.Context, open func(string) (Store, error)) error {
	store, err := open(component.StateDir("./state"))
	if err != nil {
		return err
	}
	a.store = store
	if store.Last() == 0 {
		if err := store.Append(past(a.seed, time.Now(), store.Offset())...); err != nil {
			return err
		}
	}
	fmt.Printf("sensor-adapter %s goes on after reading %d\n", component.Version(), store.Last())
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		handler := component.Handler{Quiesce: a.quiesce, Resume: a.resume, Health: a.health}
		if err := component.Serve(ctx, handler); err != nil {
			cancel(err)
		}
	}()
	err = a.loop(ctx)
	a.flush(context.WithoutCancel(ctx))
	fmt.Printf("sensor-adapter %s ends after reading %d\n", component.Version(), store.Last())
	return err
}

// loop samples until ctx ends.
func (a *Adapter) loop(ctx context.Context) error {
	tick := time.NewTicker(a.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return failure(ctx)
		case now := <-tick.C:
			if err := a.sample(ctx, now); err != nil {
				return err
			}
		}
	}
}

// failure is nil if the end was asked for.
func failure(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// sample stores one reading and then publishes it, so that what others have
// seen is never forgotten; what is stored is published also if the end is asked
// for in between. An error ends the program: it starts again from what is on
// disk.
func (a *Adapter) sample(ctx context.Context, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.paused {
		return nil
	}
	seq := a.store.Last() + 1
	r := Reading{Seq: seq, Time: stamp(now), Celsius: sense(seq) + a.store.Offset()}
	if err := a.store.Append(r); err != nil {
		return fmt.Errorf("cannot store reading %d: %w", seq, err)
	}
	a.stored = now
	return component.Publish(context.WithoutCancel(ctx), component.Reading{
		Object: temperature, Value: (r.Celsius + a.Zero).Float(), Unit: a.Unit, Time: r.Time,
	})
}

// quiesce returns when the sample in flight is stored and published; none
// follows until resume.
func (a *Adapter) quiesce(ctx context.Context) error {
	a.mu.Lock()
	a.paused = true
	a.mu.Unlock()
	a.flush(ctx)
	return nil
}

// flush waits until the agent has what was published. One that does not take
// readings keeps the adapter neither from its rest nor from its end: the history
// has them.
func (a *Adapter) flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := component.Flush(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "sensor-adapter:", err)
	}
}

func (a *Adapter) resume(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.paused = false
	return nil
}

func (a *Adapter) health(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.sick:
		return errors.New("the sensor does not answer")
	case !a.paused && time.Since(a.stored) > max(2*time.Second, 10*a.interval):
		return errors.New("no reading was stored lately")
	}
	return nil
}
