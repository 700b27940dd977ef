// Package readings is what the agent keeps of the components' readings: the
// last of each sensor, which is shown, and all that the server has not got yet.
//
// Most pass through. But those that a component publishes before an update
// stops it are the last ones for a while: from the announcement on each is on
// the disk before the component hears that it has arrived, so that neither a
// crash nor a network that is away keeps it from the twin. When the component
// has stopped, its readings end with that one until a version has started and
// the server has it.
package readings

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/component"
)

// A Memory keeps readings; it is durable.
type Memory interface {
	Readings() ([]component.Reading, error)
	KeepReadings([]component.Reading) error
	ForgetReadings(component string) error
}

// Config is what a book works with.
type Config struct {
	Memory Memory
	// Show brings a reading to the server, or refuses it for good.
	Show func(component.Reading) error
	// Spool brings each reading to the server, where Show brings the last. May be nil.
	Spool *Spool
	// Deliver returns when the server has the readings shown of a component,
	// or ctx ends.
	Deliver func(ctx context.Context, component string) error
	Log     *slog.Logger
}

// A Book has the last readings.
type Book struct {
	Config
	mu    sync.Mutex
	last  map[sensor]component.Reading
	modes map[string]mode // by component
	kept  map[string]bool // components that readings are kept of

	delivered map[string]chan struct{} // closed when the server has the last ones
}

type sensor struct{ object, instance int }

type mode int

const (
	passing mode = iota
	closing      // the component is about to be stopped: its readings are durable
	ended        // it is stopped
)

// New returns a book. [Book.Restore] shows what an earlier process has kept.
func New(c Config) *Book {
	return &Book{Config: c, last: map[sensor]component.Reading{}, modes: map[string]mode{}, kept: map[string]bool{}, delivered: map[string]chan struct{}{}}
}

// Restore shows the readings that were kept, so that the server gets what it
// has missed.
func (b *Book) Restore() error {
	kept, err := b.Memory.Readings()
	if err != nil {
		return fmt.Errorf("cannot restore readings: %w", err)
	}
	for _, r := range kept {
		b.kept[r.Component] = true
		if err := b.Show(r); err != nil {
			b.Log.Warn("cannot show a reading of before", "component", r.Component, "error", err)
		}
	}
	return nil
}

// ErrAway refuses a reading for now: its component is being updated.
var ErrAway = errors.New("the component is being updated: its readings are taken when a version has started")

// Publish takes a reading. [ErrAway] says that it can be sent again later; any
// other error of Show is for good.
func (b *Book) Publish(r component.Reading) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.modes[r.Component] == ended {
		return ErrAway
	}
	at := sensor{r.Object, r.Instance}
	if last, known := b.last[at]; known && last.Component == r.Component && last.Value == r.Value && last.Time.Equal(r.Time) {
		return nil // sent again: our answer was lost
	}
	if err := b.Show(r); err != nil {
		return err
	}
	if err := b.spool(r); err != nil {
		return err
	}
	b.last[at] = r
	if b.modes[r.Component] == closing {
		return b.keep(r.Component)
	}
	if b.kept[r.Component] { // there are newer ones now
		if err := b.Memory.ForgetReadings(r.Component); err != nil {
			return err
		}
		delete(b.kept, r.Component)
	}
	return nil
}

// spool has the server get a reading, also if others follow soon. A full disk keeps
// a reading from the twin only if it is one of the last.
func (b *Book) spool(r component.Reading) error {
	if b.Spool == nil {
		return nil
	}
	last := b.modes[r.Component] == closing
	err := b.Spool.Add(r, last)
	if err != nil && !last {
		b.Log.Warn("a reading is shown only", "component", r.Component, "error", err)
		return nil
	}
	return err
}

// keep writes down the last readings of a component. The caller holds b.mu.
func (b *Book) keep(name string) error {
	var all []component.Reading
	for _, r := range b.last {
		if r.Component == name {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b component.Reading) int { return (a.Object-b.Object)<<16 + a.Instance - b.Instance })
	if len(all) == 0 {
		return nil
	}
	b.kept[name] = true
	return b.Memory.KeepReadings(all)
}

// Closing says that a component will be stopped: from now on its last readings
// are durable.
func (b *Book) Closing(name string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.modes[name] = closing
	return b.keep(name)
}

// Closed says that a component has stopped: no more readings of it are taken.
// The server gets the last ones while the update goes on.
func (b *Book) Closed(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.modes[name] == ended {
		return
	}
	b.modes[name] = ended
	for _, r := range b.last {
		if r.Component == name {
			b.delivered[name] = b.deliver(name)
			return
		}
	}
}

func (b *Book) deliver(name string) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		ctx, cancel := context.WithTimeout(context.Background(), deliverTime)
		defer cancel()
		if err := b.Deliver(ctx, name); err != nil {
			b.Log.Warn("the server gets the last readings later", "component", name, "error", err)
		}
	}()
	return done
}

// deliverTime bounds how long the next version's readings wait for a server
// that is away: it gets the last ones later then.
const deliverTime = 3 * time.Second

// Open says that a component runs, or is about to. Its readings are taken
// when the server has the last ones of before, whose place they take.
func (b *Book) Open(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	done := b.delivered[name]
	if done == nil {
		delete(b.modes, name)
		return
	}
	go func() {
		<-done
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.delivered[name] == done && b.modes[name] == ended {
			delete(b.modes, name)
			delete(b.delivered, name)
		}
	}()
}
