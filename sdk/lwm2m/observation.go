package lwm2m

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"
)

// observation is the server's side of one observation. Its token is known to the
// whole server: notifications are recognised by it, not by the address they come
// from, which may change.
type observation struct {
	device *Device
	path   Path
	notify func([]Record)
	token  string

	// Guarded by the server's lock.
	begun    bool       // notify has the first values
	held     []*Message // notifications that came before them
	seen     bool       // sequence and at are those of the latest values
	sequence uint32
	at       time.Time
}

// Observe asks for notifications of p, an object, an instance or a resource.
// First its present values and then each notification are given to notify, one at
// a time per device and in order, until CancelObserve or the end of the
// registration. Stale and repeated notifications are dropped. Observing a path
// again replaces the former observation.
//
// The present values are returned too. Who keeps state should take it from notify
// alone: it may have newer values before the caller has looked at these.
func (d *Device) Observe(ctx context.Context, p Path, notify func([]Record)) ([]Record, error) {
	token := make([]byte, 8)
	_, _ = rand.Read(token) // never fails
	o := &observation{device: d, path: p, notify: notify, token: string(token)}
	d.server.addObservation(o)
	m := &Message{Code: Get, Token: token, Observe: new(uint32(0))}
	records, err := d.read(ctx, p, m)
	if err == nil && m.Observe == nil {
		err = fmt.Errorf("%s does not notify changes of %v", d.endpoint, p)
	}
	if err != nil {
		d.server.dropObservation(o)
		return nil, err
	}
	d.server.begin(o, *m.Observe, records)
	d.mu.Lock()
	former := d.observed[p]
	d.observed[p] = o
	d.mu.Unlock()
	if former != nil {
		d.server.dropObservation(former)
	}
	return records, nil
}

// CancelObserve ends the observation of p. Even if the device cannot be told now,
// notify is not called any more.
func (d *Device) CancelObserve(ctx context.Context, p Path) error {
	d.mu.Lock()
	o := d.observed[p]
	delete(d.observed, p)
	d.mu.Unlock()
	if o == nil {
		return Errorf(CodeNotFound, "%v is not observed", p)
	}
	d.server.dropObservation(o)
	_, err := d.read(ctx, p, &Message{Code: Get, Token: []byte(o.token), Observe: new(uint32(1))})
	return err
}

func (s *Server) addObservation(o *observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.observations[o.token] = o
}

func (s *Server) dropObservation(o *observation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.observations, o.token)
}

func (s *Server) observation(token []byte) (*observation, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.observations[string(token)]
	return o, ok
}

// ServeNotification implements [Handler]. Rejecting an unknown token makes the
// device forget the observation.
func (s serverHandler) ServeNotification(_ string, m *Message) bool {
	o, ok := s.observation(m.Token)
	if !ok {
		return false
	}
	if !m.Code.Success() {
		s.logger.Info("an observation ended", "endpoint", o.device.endpoint, "path", o.path.String(), "code", m.Code.String())
		s.dropObservation(o)
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case m.Observe == nil || !o.fresh(*m.Observe):
	case o.begun:
		s.deliver(o, m)
	case len(o.held) < maxNotifications:
		o.held = append(o.held, m)
	}
	return true
}

// begin gives the first values to notify, then what came meanwhile.
func (s *Server) begin(o *observation, sequence uint32, records []Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.fresh(sequence)
	o.device.notifications.put(func() { s.hand(o, records) })
	for _, m := range o.held {
		s.deliver(o, m)
	}
	o.begun, o.held = true, nil
}

// deliver lets the device's mailbox decode a notification. The caller holds the
// lock.
func (s *Server) deliver(o *observation, m *Message) {
	dropped := o.device.notifications.put(func() {
		records, err := s.notificationRecords(o, m)
		if err != nil {
			s.logger.Warn("dropped a notification", "endpoint", o.device.endpoint, "path", o.path.String(), "error", err)
			return
		}
		s.hand(o, records)
	})
	if dropped {
		s.logger.Warn("dropped a notification: too many wait", "endpoint", o.device.endpoint)
	}
}

// hand gives values to notify unless the observation has ended.
func (s *Server) hand(o *observation, records []Record) {
	if _, ok := s.observation([]byte(o.token)); ok {
		o.notify(records)
	}
}

// fresh tells whether values are newer than the last (RFC 7641 section 3.4), and
// remembers their sequence number. The caller holds the lock.
func (o *observation) fresh(sequence uint32) bool {
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
	if !m.Partial {
		return o.device.decode(o.path, m)
	}
	return o.device.Read(o.device.alive, o.path)
}
