// Package delivery brings packages that an LwM2M server delivers by the standard
// objects alone: it pulls them from a URI, or takes them as they are pushed, into
// the content store; and when they shall be installed it turns them into a wish.
//
// What a delivery may do next is in machine.go, without side effects. All that
// has to be remembered is an [engine.Delivery] among the component's wishes, so
// a restart loses nothing but the bytes of a push.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// maxURI is how long a URI may be, in bytes (OMA LwM2M 1.0, object 5).
const maxURI = 255

// A Book is where deliveries are noted; the manager is one.
type Book interface {
	View(component string) (engine.View, error)
	Want(component string, change func(*engine.Wishes)) error
}

// Content is the store of blobs by digest.
type Content interface {
	Receive(digest string, size int64, fill func(have int64, w io.Writer) error) error
	Open(digest string) (*os.File, error)
	Has(digest string) bool
	Hold(holder string, digests ...string)
	Reserve(bytes, files int64) error
}

// A Remote is a package that a URI names.
type Remote interface {
	// Single reports whether it is a single file.
	Single() bool
	Manifest(ctx context.Context) ([]byte, error)
	Blob(ctx context.Context, digest string, size int64) error
	File(ctx context.Context) io.ReadSeekCloser
	Close()
}

// Config is what a Desk works with.
type Config struct {
	Book    Book
	Content Content
	// Locate reads a URI; it does not touch the network.
	Locate func(uri, user, password string) (Remote, error)
	// Collect frees the disk from what nothing needs any more, when that does no
	// update any harm.
	Collect func(ctx context.Context, component string) error
	// Judge names an error: a result of [engine.Delivery].
	Judge    func(error) string
	Platform pack.Platform
	Log      *slog.Logger
}

// A Desk takes deliveries, one of each component at a time.
type Desk struct {
	Config
	ctx    context.Context
	end    context.CancelFunc
	active sync.WaitGroup

	mu    sync.Mutex
	under map[string]*underway // by component
}

// underway is what brings one package.
type underway struct {
	number int // of the delivery
	cancel context.CancelFunc
	ended  chan struct{}
}

// New returns a Desk.
func New(c Config) *Desk {
	k := &Desk{Config: c, under: map[string]*underway{}}
	k.ctx, k.end = context.WithCancel(context.Background())
	return k
}

// Close waits until nothing is being fetched any more; the next process goes on.
func (k *Desk) Close() {
	k.end()
	k.active.Wait()
}

// Pull has a package fetched from a URI. In place means that no installed
// package had to make way before.
func (k *Desk) Pull(component, uri, user, password string, inPlace bool) error {
	remote, err := k.Locate(uri, user, password)
	if err == nil {
		remote.Close()
	}
	if err == nil && len(uri) > maxURI {
		err = fmt.Errorf("the URI has more than %d bytes", maxURI)
	}
	if err != nil {
		return k.refuse(component, inPlace, err)
	}
	from := engine.Delivery{URI: uri, User: user, Password: password}
	d, err := k.begin(component, from, inPlace)
	if err != nil {
		return err
	}
	k.start(component, d, k.pull)
	return nil
}

// refuse notes why a delivery is not even begun.
func (k *Desk) refuse(component string, inPlace bool, cause error) error {
	return errors.Join(k.change(component, func(v engine.View, d engine.Delivery) (engine.Delivery, error) {
		return refused(v, d, inPlace, k.Judge(cause), cause)
	}), cause)
}

// begin notes a new delivery.
func (k *Desk) begin(component string, from engine.Delivery, inPlace bool) (begun engine.Delivery, err error) {
	err = k.change(component, func(v engine.View, d engine.Delivery) (engine.Delivery, error) {
		begun, err = begin(v, d, from, inPlace)
		return begun, err
	})
	return begun, err
}

// Install turns a package that was delivered into a wish. Quietly means that what
// was not installed before does not run until it is activated.
func (k *Desk) Install(component string, quietly bool) error {
	return k.wish(component, func(v engine.View, w *engine.Wishes) error {
		d, err := install(w.Delivery, attempt(v, *w))
		if err != nil {
			return err
		}
		w.Wish, w.Delivery = d.Wish, d
		w.Inactive = w.Inactive || quietly && v.Installed.Version == ""
		return nil
	})
}

// Uninstall removes what is installed or, if that is to be upgraded, only makes
// way; of a package that was delivered it drops that.
func (k *Desk) Uninstall(component string, upgrade bool) error {
	v, err := k.Book.View(component)
	if err != nil {
		return err
	}
	if v.Delivery.State == engine.Delivered {
		return k.Drop(component, v.Delivery.Result)
	}
	return k.wish(component, func(v engine.View, w *engine.Wishes) error {
		d, err := uninstall(v, w.Delivery, upgrade, attempt(v, *w))
		if err != nil {
			return err
		}
		if w.Delivery = d; d.State == engine.Removing {
			w.Wish = d.Wish
		}
		return nil
	})
}

// Drop gives up a delivery that has not been installed, with that result.
func (k *Desk) Drop(component, result string) error {
	var dropped int
	err := k.change(component, func(_ engine.View, d engine.Delivery) (engine.Delivery, error) {
		dropped = d.Number
		return drop(d, result)
	})
	if err == nil {
		k.stop(component, dropped)
		k.release(component, dropped)
	}
	return err
}

// Observe takes note of what has become of the wish to install or to remove.
func (k *Desk) Observe(v engine.View) {
	before := v.Delivery
	d, ended := settle(v)
	forgets := v.Inactive && v.Installed.Version == "" && before.State != engine.Installing // what comes next shall run
	if !ended && !forgets {
		return
	}
	err := k.Book.Want(v.Component, func(w *engine.Wishes) {
		if w.Delivery != before {
			return
		}
		if w.Inactive = w.Inactive && !forgets; ended {
			w.Delivery = d
			w.Delivery.Since = time.Now().Unix()
		}
	})
	if err != nil {
		k.Log.Error("cannot note how an installation has ended", "component", v.Component, "error", err)
	} else if d.State == "" {
		k.release(v.Component, before.Number)
	}
}

// Resume goes on with what an earlier process began. What has become of a wish is
// observed when the manager has finished what is in the journal.
func (k *Desk) Resume(components []string) {
	for _, c := range components {
		v, err := k.Book.View(c)
		if err != nil {
			k.Log.Error("cannot go on with a delivery", "component", c, "error", err)
			continue
		}
		if !k.busy(c) { // a server may be faster
			k.resume(c, v.Delivery)
		}
	}
}

func (k *Desk) resume(component string, d engine.Delivery) {
	needed, err := k.needed(d.Package)
	if err == nil {
		k.hold(component, d.Number, d.Package, needed)
	}
	switch d.State {
	case engine.Downloading, engine.Downloaded:
		if d.URI != "" {
			k.start(component, d, k.pull)
		} else if d.State == engine.Downloaded {
			k.start(component, d, func(context.Context, string, engine.Delivery) error { return nil })
		} else {
			k.fail(component, d, fmt.Errorf("%w: the agent was started anew before all had come", ErrLost))
		}
	case engine.Delivered:
		k.active.Go(func() {
			if err == nil {
				err = engine.Intact(k.ctx, k.Content.Open, needed)
			}
			if err != nil && k.ctx.Err() == nil {
				k.fail(component, d, fmt.Errorf("the package that was delivered is gone: %w", err))
			}
		})
	}
}

// start has a delivery go on beside everything else, until it is delivered or
// has failed.
func (k *Desk) start(component string, d engine.Delivery, bring func(context.Context, string, engine.Delivery) error) *underway {
	ctx, cancel := context.WithCancel(k.ctx)
	now := &underway{d.Number, cancel, make(chan struct{})}
	k.mu.Lock()
	before := k.under[component]
	if before != nil && before.number >= d.Number { // Resume and a server have met
		k.mu.Unlock()
		cancel()
		return before
	}
	k.under[component] = now
	k.mu.Unlock()
	if before != nil { // who has dropped it comes too late to stop it
		before.cancel()
	}
	k.active.Go(func() {
		defer close(now.ended)
		defer cancel()
		if before != nil { // it has failed or was dropped, but may still have a blob in hand
			<-before.ended
		}
		err := bring(ctx, component, d)
		if ctx.Err() != nil {
			return // dropped, or the next process goes on
		}
		k.arrived(ctx, component, d, err)
	})
	return now
}

// arrived verifies what has come.
func (k *Desk) arrived(ctx context.Context, component string, d engine.Delivery, err error) {
	if err == nil {
		err = k.advance(component, d, engine.Downloaded)
	}
	if err == nil {
		err = k.verify(ctx, component)
	}
	if err == nil {
		err = k.advance(component, d, engine.Delivered)
	}
	if err != nil && ctx.Err() == nil {
		k.fail(component, d, err)
	}
}

// stop ends the bringing of a delivery. If the next one has begun already, that has
// ended it and must go on.
func (k *Desk) stop(component string, number int) {
	k.mu.Lock()
	u := k.under[component]
	k.mu.Unlock()
	if u != nil && u.number <= number {
		u.cancel()
		<-u.ended
	}
}

// release lets go of what a delivery has brought. Without that a disk that one
// package has filled would take no other.
func (k *Desk) release(component string, number int) {
	k.Content.Hold(holder(component, number))
	k.active.Go(func() {
		if err := k.Collect(k.ctx, component); err != nil && k.ctx.Err() == nil {
			k.Log.Warn("cannot free the disk from a package that is not needed any more", "component", component, "error", err)
		}
	})
}

// holder names a delivery to the content store.
func holder(component string, number int) string { return fmt.Sprintf("%s#%d", component, number) }

func (k *Desk) busy(component string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.under[component] != nil
}

func (k *Desk) advance(component string, of engine.Delivery, state string) error {
	return k.change(component, func(_ engine.View, d engine.Delivery) (engine.Delivery, error) { return advance(d, of.Number, state) })
}

// fail notes why a delivery has failed, unless another has taken its place.
func (k *Desk) fail(component string, of engine.Delivery, cause error) {
	k.Log.Warn("package was not delivered", "component", component, "pushed", of.URI == "", "cause", cause)
	err := k.change(component, func(_ engine.View, d engine.Delivery) (engine.Delivery, error) {
		return fail(d, of.Number, k.Judge(cause), cause.Error())
	})
	switch {
	case err == nil:
		k.release(component, of.Number)
	case !errors.Is(err, engine.ErrNotNow):
		k.Log.Error("cannot note that a delivery has failed", "component", component, "error", err)
	}
}

// change is a step of the machine; an error leaves all as it was, unless the
// step says so.
func (k *Desk) change(component string, step func(engine.View, engine.Delivery) (engine.Delivery, error)) error {
	return k.wish(component, func(v engine.View, w *engine.Wishes) error {
		d, err := step(v, w.Delivery)
		if err == nil {
			w.Delivery = d
		}
		return err
	})
}

// wish is a step of the machine that may become a wish.
func (k *Desk) wish(component string, step func(engine.View, *engine.Wishes) error) error {
	v, err := k.Book.View(component)
	if err != nil {
		return err
	}
	var refusal error
	err = k.Book.Want(component, func(w *engine.Wishes) {
		old := w.Delivery
		v.Delivery = old
		if refusal = step(v, w); refusal == nil && w.Delivery.State != old.State {
			w.Delivery.Since = time.Now().Unix()
		}
	})
	return errors.Join(refusal, err)
}
