package lwm2m

import (
	"context"
	"errors"
	"slices"
	"time"
)

// watch is the device's side of one observation.
type watch struct {
	client    *Client
	paths     []Path // one, or those of an Observe-Composite
	composite bool
	token     []byte
	format    Format
	stop      context.CancelFunc
	dirty     chan struct{} // holds one element while a change waits to be sent
	poke      chan struct{} // the attributes changed

	sent time.Time
	last []Record // sorted, as last sent; guarded by the client's lock
}

// base is the path that the payloads belong to.
func (w *watch) base() Path {
	if w.composite {
		return Path{}
	}
	return w.paths[0]
}

func (w *watch) overlaps(p Path) bool { return slices.ContainsFunc(w.paths, p.Overlaps) }
func (w *watch) contains(p Path) bool {
	return slices.ContainsFunc(w.paths, func(q Path) bool { return q.Contains(p) })
}

func (w *watch) changed()    { signal(w.dirty) }
func (w *watch) reconsider() { signal(w.poke) }

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// observe answers an Observe request (0) or its cancellation (1). A path is
// observed once; observing it again replaces the token.
func (c *Client) observe(ctx context.Context, p Path, m *Message) (*Message, error) {
	return c.observeAs(ctx, &watch{paths: []Path{p}, format: FormatTLV}, m)
}

// observeAs fills w from the request and starts it.
func (c *Client) observeAs(ctx context.Context, w *watch, m *Message) (*Message, error) {
	w.client, w.token, w.sent = c, m.Token, time.Now()
	w.dirty, w.poke = make(chan struct{}, 1), make(chan struct{}, 1)
	if m.Accept != nil {
		w.format = *m.Accept
	}
	if *m.Observe != 0 {
		c.forgetObservation(m.Token)
	} else if !c.startWatch(w) { // before reading, so that no change is missed
		return nil, Errorf(CodeUnavailable, "%d observations are here, and no more can be", maxWatches)
	}
	first := c.nextSequence()
	payload, records, err := c.readWatched(ctx, w)
	if err != nil {
		c.forgetObservation(m.Token)
		return nil, err
	}
	answer := &Message{Code: CodeContent, Format: &w.format, Payload: payload}
	if *m.Observe == 0 {
		answer.Observe = new(first)
		c.keepSent(w, records, false)
	}
	return answer, nil
}

// nextSequence orders notifications (RFC 7641 section 3.4), also those of an observation
// that is begun again with the same token.
func (c *Client) nextSequence() uint32 { return c.sequence.Add(1) & 0xffffff }

// keepSent remembers what a notification says, to compare later values with.
func (c *Client) keepSent(w *watch, records []Record, replace bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w.last == nil || replace {
		w.last = records
	}
}

// maxWatches bounds what a server observes of a device: some kilobytes each.
const maxWatches = 512

// startWatch reports false if there is no room for another one.
func (c *Client) startWatch(w *watch) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running.Err() != nil { // Run is about to wait for the watches
		return true
	}
	for token, old := range c.watches {
		if old.composite == w.composite && slices.Equal(old.paths, w.paths) || token == string(w.token) {
			old.stop()
			delete(c.watches, token)
		}
	}
	if len(c.watches) >= maxWatches {
		return false
	}
	ctx, stop := context.WithCancel(c.running)
	w.stop = stop
	c.watches[string(w.token)] = w
	if len(c.awaited(w)) > 0 {
		w.changed()
	}
	c.workers.Go(func() { w.run(ctx) })
	return true
}

func (c *Client) forgetObservation(token []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if w, ok := c.watches[string(token)]; ok {
		w.stop()
		delete(c.watches, string(token))
	}
}

func (c *Client) forgetObservations() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for token, w := range c.watches {
		w.stop()
		delete(c.watches, token)
	}
}

// run sends a notification for each batch of changes, and at least once per pmax.
func (w *watch) run(ctx context.Context) {
	for w.wait(ctx) {
		err := w.send(ctx)
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil:
			return
		case errors.Is(err, ErrReset):
			w.client.logger.Info("the server does not know an observation", "path", w.base().String())
			w.client.forgetObservation(w.token)
			w.client.updateSoon() // does it still know the device?
			return
		}
		w.client.logger.Warn("cannot notify, waiting for the server", "path", w.base().String(), "error", err)
		w.changed()
		if !w.client.awaitUpdate(ctx) {
			return
		}
	}
}

// wait returns true when a notification is due, false when the watch has ended.
func (w *watch) wait(ctx context.Context) bool {
	dirty := false
	for ctx.Err() == nil {
		pmin, pmax := w.client.periods(w.paths)
		var due <-chan time.Time
		switch {
		case dirty && time.Since(w.sent) >= pmin:
			if w.worth(ctx) {
				return true
			}
			dirty = false
			continue
		case dirty:
			due = time.After(pmin - time.Since(w.sent))
		case pmax > 0:
			due = time.After(pmax - time.Since(w.sent))
		}
		select {
		case <-ctx.Done():
			return false
		case <-w.dirty:
			dirty = true
		case <-due:
			if !dirty {
				return ctx.Err() == nil
			}
		case <-w.poke:
		}
	}
	return false
}

// send notifies the present values and returns when they are acknowledged. If
// they cannot be read, the observation ends with the reason.
func (w *watch) send(ctx context.Context) error {
	c := w.client
	select {
	case <-w.dirty: // what changed up to here is in the values read below
	default:
	}
	c.mu.Lock()
	peer, carried, running := c.peer, c.awaited(w), c.running
	c.mu.Unlock()
	sequence := c.nextSequence()
	m := &Message{Code: CodeContent, Token: w.token, Format: &w.format, Observe: new(sequence)}
	payload, records, err := c.readWatched(ctx, w)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		m = errorMessage(err)
		m.Token, m.Observe = w.token, new(sequence)
		c.forgetObservation(w.token)
		return c.transport.Notify(running, peer, m)
	}
	m.Payload = payload
	w.sent = time.Now()
	if err := c.transport.Notify(ctx, peer, m); err != nil {
		return err
	}
	c.stirred()
	c.keepSent(w, records, true)
	c.delivered(carried)
	return nil
}

func (c *Client) readWatched(ctx context.Context, w *watch) (payload []byte, records []Record, err error) {
	if w.composite {
		records, err = c.readComposite(ctx, w.paths)
	} else if _, err = c.target(w.paths[0].segments()); err == nil {
		records, err = c.read(ctx, w.paths[0])
	}
	if err != nil {
		return nil, nil, err
	}
	payload, err = Encode(w.format, w.base(), oneTime(records))
	return payload, records, err
}

// worth tells whether what changed is worth a notification: always, unless gt, lt
// or st are set, or a delivery waits for one.
func (w *watch) worth(ctx context.Context) bool {
	c := w.client
	c.mu.Lock()
	always := len(c.awaited(w)) > 0 || !slices.ContainsFunc(w.paths, func(p Path) bool { return c.effective(p).conditional() })
	c.mu.Unlock()
	if always {
		return true
	}
	_, records, err := c.readWatched(ctx, w)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil || len(records) != len(w.last) {
		return true
	}
	return !slices.EqualFunc(records, w.last, func(now, last Record) bool {
		return now.Path == last.Path && !c.effective(now.Path).worth(last.Value, now.Value)
	})
}

// awaitUpdate asks for a registration update and waits until one succeeds.
func (c *Client) awaitUpdate(ctx context.Context) bool {
	c.mu.Lock()
	renewed := c.renewed
	c.mu.Unlock()
	c.updateSoon()
	select {
	case <-renewed:
		return true
	case <-ctx.Done():
		return false
	}
}

// delivery is one call of Deliver: the paths that nobody has acknowledged yet.
type delivery struct {
	pending []Path
	done    chan struct{}
}

// parcel is a path of a delivery that a notification carries.
type parcel struct {
	delivery *delivery
	path     Path
}

// Deliver notifies like Changed and waits until the server has acknowledged the
// values at these paths as they are now or newer: a path is delivered when a
// notification of an observation that covers it was acknowledged. If the device
// is not registered or nobody observes yet, Deliver waits for it; the only error
// is that of ctx.
func (c *Client) Deliver(ctx context.Context, paths ...Path) error {
	if len(paths) == 0 {
		return nil
	}
	d := &delivery{pending: slices.Clone(paths), done: make(chan struct{})}
	c.mu.Lock()
	c.deliveries[d] = struct{}{}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.deliveries, d)
		c.mu.Unlock()
	}()
	c.Changed(paths...)
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// awaited lists what deliveries wait for under w. The caller holds the lock.
func (c *Client) awaited(w *watch) []parcel {
	var list []parcel
	for d := range c.deliveries {
		for _, q := range d.pending {
			if w.contains(q) {
				list = append(list, parcel{d, q})
			}
		}
	}
	return list
}

func (c *Client) delivered(parcels []parcel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range parcels {
		i := slices.Index(x.delivery.pending, x.path)
		if i < 0 {
			continue
		}
		x.delivery.pending = slices.Delete(x.delivery.pending, i, i+1)
		if len(x.delivery.pending) == 0 {
			close(x.delivery.done)
		}
	}
}
