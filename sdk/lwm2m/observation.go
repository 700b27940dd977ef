package lwm2m

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"
)

// observation is the server's side of one observation. Notifications are recognised
// by its token, and by the peer that the device was last heard from: a token travels
// in plaintext where there is no DTLS, and who has seen it may not forge values.
type observation struct {
	device *Device
	paths  []Path // one, or those of an Observe-Composite
	key    string // what is observed, in words
	notify func([]Record)
	token  string

	// Of the device's mailbox: when the latest values that did not come with their
	// notification were read.
	readBegun, readEnded time.Time

	earlier bool // it is of an earlier run of the server; guarded by the device's lock

	// Guarded by the server's lock.
	begun bool   // notify has the first values
	held  []note // notifications that came before them
	asked int    // how many of those had come before the values were asked for

	mu       sync.Mutex
	seen     bool // sequence and at are those of the latest values
	sequence uint32
	at       time.Time
	waiting  map[uint32]bool // sequence numbers of what notify is yet to be given
}

// note is a notification that waits for notify.
type note struct {
	*Message
	done func(Reception)
}

// Observe asks for notifications of p, an object, an instance or a resource.
// First its present values and then each notification are given to notify, one at
// a time per device and in order, until CancelObserve or the end of the
// registration. Stale and repeated notifications are dropped. Observing a path
// again replaces the former observation.
//
// A notification is acknowledged when notify has returned, so a device may repeat it
// until then and tells nothing newer: whoever keeps what it is given loses nothing.
// Who can keep no more cancels the observation before it returns: the device is told
// then that it has ended.
//
// The present values are returned too. Who keeps state should take it from notify
// alone: it may have newer values before the caller has looked at these.
func (d *Device) Observe(ctx context.Context, p Path, notify func([]Record)) ([]Record, error) {
	o := newObservation(d, p.String(), []Path{p}, notify)
	return d.observe(ctx, o, func(m *Message) ([]Record, error) {
		m.Code = Get
		return d.read(ctx, p, m)
	})
}

func newObservation(d *Device, key string, paths []Path, notify func([]Record)) *observation {
	token := make([]byte, 8)
	_, _ = rand.Read(token) // never fails
	return &observation{device: d, paths: paths, key: key, notify: notify, token: string(token), waiting: map[uint32]bool{}}
}

// observe begins o; request sends the message and gives the present values. One of an
// earlier run of the server goes on with its token, and with what has come meanwhile.
func (d *Device) observe(ctx context.Context, o *observation, request func(*Message) ([]Record, error)) ([]Record, error) {
	d.mu.Lock()
	former := d.observed[o.key]
	d.mu.Unlock()
	again := former != nil && former.takenUp(d, true)
	if again {
		o = d.server.takeUp(former, o.notify)
	} else {
		d.server.addObservation(o)
	}
	m := &Message{Token: []byte(o.token), Observe: new(uint32(0))}
	records, err := request(m)
	if err == nil && m.Observe == nil {
		err = fmt.Errorf("%s does not notify changes of %s", d.endpoint, o.key)
	}
	switch {
	case err != nil && again && unanswered(err):
		o.takenUp(d, false)
		return nil, err
	case err != nil && again:
		_, _ = d.endObservation(o.key)
		return nil, err
	case err != nil:
		d.server.dropObservation(o)
		return nil, err
	}
	d.server.begin(o, *m.Observe, records)
	d.mu.Lock()
	former = d.observed[o.key]
	d.observed[o.key] = o
	d.mu.Unlock()
	if former != nil && former != o {
		d.server.dropObservation(former)
	}
	d.server.keep(d.endpoint)
	return records, nil
}

// takenUp changes whether somebody has taken an earlier observation up, and reports
// whether that is a change.
func (o *observation) takenUp(d *Device, yes bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	changed := o.earlier == yes
	o.earlier = !yes
	return changed
}

// takeUp gives an observation of an earlier run its notify.
func (s *Server) takeUp(o *observation, notify func([]Record)) *observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.notify, o.asked = notify, len(o.held)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen = false // the device may count anew
	return o
}

// CancelObserve ends the observation of p. Even if the device cannot be told now,
// notify is not called any more.
func (d *Device) CancelObserve(ctx context.Context, p Path) error {
	o, err := d.endObservation(p.String())
	if err == nil { // some devices answer without the values
		_, err = d.get(ctx, p, &Message{Code: Get, Token: []byte(o.token), Observe: new(uint32(1))})
	}
	return err
}

func (d *Device) endObservation(key string) (*observation, error) {
	d.mu.Lock()
	o := d.observed[key]
	delete(d.observed, key)
	d.mu.Unlock()
	if o == nil {
		return nil, Errorf(CodeNotFound, "%s is not observed", key)
	}
	d.server.dropObservation(o)
	d.server.keep(d.endpoint)
	return o, nil
}

func (s *Server) addObservation(o *observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observations[o.token] = o
	o.device.tokens[o.token] = struct{}{}
}

func (s *Server) dropObservation(o *observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.observations[o.token] == o {
		delete(s.observations, o.token)
		delete(o.device.tokens, o.token)
	}
	o.release()
}

// release gives back what waits for the first values. The caller holds the server's
// lock.
func (o *observation) release() {
	for _, n := range o.held {
		n.done(Ignored)
	}
	o.held = nil
}

func (s *Server) observation(token []byte) (*observation, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.observations[string(token)]
	return o, ok
}

// ServeNotification implements [Handler]. Refusing an unknown token makes the
// device forget the observation. One from another address is ignored unless it comes
// from who the device has proven to be: if it is the device that has moved, it gets no
// answer, updates its registration and is heard.
func (s serverHandler) ServeNotification(peer string, m *Message, done func(Reception)) {
	o, ok := s.observation(m.Token)
	if !ok {
		done(Refused)
		return
	}
	if !o.device.isAt(peer, m.Identity) && !s.follow(o.device, peer, m.Identity) {
		s.logger.Debug("ignored a notification from another address than the device's", "endpoint", o.device.endpoint, "peer", peer)
		done(Ignored)
		return
	}
	s.alive(o.device)
	if !m.Code.Success() {
		s.logger.Info("an observation ended", "endpoint", o.device.endpoint, "path", o.key, "code", m.Code.String())
		s.dropObservation(o)
		done(Accepted)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case m.Observe == nil:
		done(Accepted)
	case o.awaits(*m.Observe): // a copy
		done(Ignored)
	case !o.fresh(*m.Observe):
		done(Accepted)
	case o.begun:
		s.deliver(o, note{m, done})
	case len(o.held) < maxNotifications:
		o.held = append(o.held, note{m, done})
		o.await(*m.Observe)
	default:
		done(Ignored)
	}
}

// follow notes that a device talks from another address now, if it has proven who it is:
// it has made a new session, since the server or the device has lost the former one.
func (s *Server) follow(d *Device, peer, identity string) bool {
	if identity == "" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before, moved := d.move(peer, identity)
	if !moved || s.devices[d.endpoint] != d {
		return false
	}
	if s.addresses[before] == d {
		delete(s.addresses, before)
	}
	s.addresses[peer] = d
	s.keep(d.endpoint)
	return true
}

// awaits tells whether notify is yet to be given this notification.
func (o *observation) awaits(sequence uint32) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.waiting[sequence]
}

func (o *observation) await(sequence uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting[sequence] = true
}

// settle tells the device what has become of a notification. If that is nothing, it
// may come again.
func (o *observation) settle(n note, r Reception) {
	o.mu.Lock()
	delete(o.waiting, *n.Observe)
	if r == Ignored && o.sequence == *n.Observe {
		o.seen = false
	}
	o.mu.Unlock()
	n.done(r)
}

// begin gives the first values to notify, and what has come before and after them.
func (s *Server) begin(o *observation, sequence uint32, records []Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, n := range o.held[:o.asked] {
		s.deliver(o, n)
	}
	o.fresh(sequence)
	o.device.notifications.put(letter{run: func() { s.hand(o, records) }})
	for _, n := range o.held[o.asked:] {
		s.deliver(o, n)
	}
	o.begun, o.held, o.asked = true, nil, 0
}

// deliver lets the device's mailbox decode a notification. The caller holds the
// lock.
func (s *Server) deliver(o *observation, n note) {
	arrived := time.Now()
	o.await(*n.Observe)
	o.device.notifications.put(letter{
		run: func() {
			s.decodeAndHand(o, n.Message, arrived)
			if _, stands := s.observation([]byte(o.token)); stands {
				o.settle(n, Accepted)
			} else {
				o.settle(n, Refused)
			}
		},
		dropped: func() {
			o.device.lost.log(s.logger.Warn, "dropped a notification: too many wait", "endpoint", o.device.endpoint)
			o.settle(n, Ignored)
		},
	})
}

func (s *Server) decodeAndHand(o *observation, m *Message, arrived time.Time) {
	switch {
	case arrived.Before(o.readBegun): // what was read then is as new, or newer
		return
	case arrived.Before(o.readEnded): // which is newer, nobody knows
		m.Partial = true
	}
	records, err := s.notificationRecords(o, m)
	if err != nil {
		o.device.lost.log(s.logger.Warn, "dropped a notification", "endpoint", o.device.endpoint, "path", o.key, "error", brief(err.Error()))
		return
	}
	s.hand(o, records)
}

// hand gives values to notify unless the observation has ended.
func (s *Server) hand(o *observation, records []Record) {
	if _, ok := s.observation([]byte(o.token)); ok {
		o.notify(records)
	}
}

// fresh tells whether values are newer than the last (RFC 7641 section 3.4), and
// remembers their sequence number.
func (o *observation) fresh(sequence uint32) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := time.Now()
	if o.seen && !newer(o.sequence, sequence) && now.Sub(o.at) < 128*time.Second {
		return false
	}
	o.seen, o.sequence, o.at = true, sequence, now
	return true
}

// newer compares 24-bit sequence numbers that wrap around.
func newer(last, next uint32) bool {
	diff := (next - last) & 0xffffff
	return diff != 0 && diff < 1<<23
}

func (s *Server) notificationRecords(o *observation, m *Message) ([]Record, error) {
	if m.Partial {
		o.readBegun = time.Now()
		defer func() { o.readEnded = time.Now() }()
	}
	switch {
	case len(o.paths) > 1 && m.Partial:
		return o.device.ReadComposite(o.device.alive, o.paths...)
	case len(o.paths) > 1:
		return o.device.decode(Path{}, m)
	case m.Partial:
		return o.device.Read(o.device.alive, o.paths[0])
	}
	return o.device.decode(o.paths[0], m)
}
