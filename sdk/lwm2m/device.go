package lwm2m

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// maxNotifications bounds what waits for a slow notify function, per device.
const maxNotifications = 1024

// maxJobCalls: one more look at the queue is enough, whatever happened meanwhile.
const maxJobCalls = 1

// Device is one registration of a device. When the device registers anew there is
// a new Device, and operations on the old one give [ErrGone].
//
// Operations send a request and wait for its answer. Their context should have a
// deadline; without one they end when the transport gives up (with CoAP's usual
// parameters after three minutes). An answer of class 4 or 5 is an [*Error]. If the
// device sleeps (queue mode), or has lost its connection, they wait until it is heard of.
type Device struct {
	server        *Server
	endpoint      string
	expiry        *time.Timer
	notifications mailbox
	jobs          mailbox
	alive         context.Context // ends with the registration
	end           context.CancelFunc
	tokens        map[string]struct{} // of its observations; guarded by the server's lock
	lost          rarely              // lines on its notifications

	mu           sync.Mutex
	registration Registration
	known        Model                   // of the registration, once asked for
	observed     map[string]*observation // by what is observed
	listens      time.Time               // until then, in queue mode
	cut          bool                    // there is no connection, until it is heard of
	unheard      bool                    // since the server was restarted
	woken        chan struct{}           // closed by the next sign of life
}

func newDevice(s *Server, r Registration) *Device {
	d := &Device{server: s, endpoint: r.Endpoint, registration: r, observed: map[string]*observation{}, tokens: map[string]struct{}{}, woken: make(chan struct{})}
	d.notifications.limit, d.notifications.workers = maxNotifications, &s.workers
	d.jobs.limit, d.jobs.workers = maxJobCalls, &s.workers
	d.alive, d.end = context.WithCancel(context.Background())
	return d
}

// Registration is its present state.
func (d *Device) Registration() Registration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.registration.clone()
}

func (d *Device) isAt(peer, identity string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.registration.Address == peer && d.registration.Identity == identity
}

// move changes the address of a device that has this identity.
func (d *Device) move(peer, identity string) (before string, moved bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.registration.Identity != identity {
		return "", false
	}
	before, d.registration.Address = d.registration.Address, peer
	return before, true
}

func (d *Device) update(peer string, m *Message) (Registration, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.registration.clone()
	if err := r.update(m, d.server.config.MaxLifetime); err != nil {
		return r, err
	}
	r.Address, r.Updated = peer, time.Now()
	d.registration, d.known = r, nil
	return r.clone(), nil
}

// Read reads an object, an instance, a resource or a resource instance.
func (d *Device) Read(ctx context.Context, p Path) ([]Record, error) {
	return d.read(ctx, p, &Message{Code: Get})
}

// read sends m, a GET, for p. A device that cannot answer in the preferred format
// may choose one.
func (d *Device) read(ctx context.Context, p Path, m *Message) ([]Record, error) {
	answer, err := d.get(ctx, p, m)
	if err != nil {
		return nil, err
	}
	m.Observe = answer.Observe
	return d.decode(p, answer)
}

func (d *Device) get(ctx context.Context, p Path, m *Message) (*Message, error) {
	m.Accept = new(d.Registration().format)
	answer, err := d.request(ctx, p, m)
	if e, ok := err.(*Error); ok && e.Code == CodeNotAcceptable {
		m.Accept = nil
		answer, err = d.request(ctx, p, m)
	}
	return answer, err
}

func (d *Device) decode(p Path, m *Message) ([]Record, error) {
	f := FormatText
	if m.Format != nil {
		f = *m.Format
	}
	records, err := Decode(f, p, m.Payload, d.model())
	if err != nil {
		return nil, fmt.Errorf("cannot read the answer of %s: %v", d.endpoint, err)
	}
	return records, nil
}

// Write writes records, all under p, an instance or a resource: Replace (PUT) or,
// on an instance or a multiple resource, Update (POST). Values are converted to
// the kind that the server's model has for the resource. A single opaque value
// travels as it is. A device that does not
// understand the format it announced (4.15) gets TLV.
func (d *Device) Write(ctx context.Context, p Path, mode WriteMode, records []Record) error {
	m := &Message{Code: Put}
	if mode == Update {
		m.Code = Post
	}
	f := d.Registration().format
	if len(records) == 1 && records[0].Path == p && records[0].Value.Kind() == KindOpaque {
		f = FormatOpaque // the one that every device takes at any length
	}
	_, err := d.send(ctx, p, m, f, records)
	if e, ok := err.(*Error); ok && e.Code == CodeUnsupportedFormat && f != FormatTLV {
		_, err = d.send(ctx, p, m, FormatTLV, records)
	}
	return err
}

// send sends m with records as its payload.
func (d *Device) send(ctx context.Context, p Path, m *Message, f Format, records []Record) (*Message, error) {
	records, err := conform(records, d.model())
	if err != nil {
		return nil, err
	}
	if m.Payload, err = Encode(f, p, records); err != nil {
		return nil, err
	}
	m.Format = &f
	return d.request(ctx, p, m)
}

// model has the objects as the device has them.
func (d *Device) model() Model {
	if d.server.config.Library == nil {
		return d.server.config.Model
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == nil {
		d.known = d.server.models.of(d.registration)
	}
	return d.known
}

// conform gives each value the kind that the model has for it.
func conform(records []Record, model Model) ([]Record, error) {
	out := make([]Record, len(records))
	for i, r := range records {
		v, err := r.Value.Convert(model.kind(r.Path))
		if err != nil {
			return nil, fmt.Errorf("%v: %w", r.Path, err)
		}
		r.Value = v
		out[i] = r
	}
	return out, nil
}

// WriteFrom writes an opaque resource (PUT) with the size bytes of body, which are
// read as they are sent: a package for a device that is to be pushed. What body
// fails with is part of the error, which then says nothing of the device.
func (d *Device) WriteFrom(ctx context.Context, p Path, body io.Reader, size int64) error {
	from := &source{Reader: body, left: size}
	_, err := d.request(ctx, p, &Message{Code: Put, Format: new(FormatOpaque), Body: from, Size: size})
	if err != nil && from.err != nil {
		return fmt.Errorf("cannot read what is to be written: %w", from.err)
	}
	return err
}

// source remembers what has kept a body from being read to its end.
type source struct {
	io.Reader
	left int64
	err  error
}

// Read implements [io.Reader].
func (s *source) Read(b []byte) (int, error) {
	n, err := s.Reader.Read(b)
	s.left -= int64(n)
	switch {
	case err == io.EOF && s.left > 0:
		s.err = io.ErrUnexpectedEOF
	case err != io.EOF:
		s.err = err
	}
	return n, err
}

// WriteAttributes sets or removes notification attributes of p, an object or
// deeper (OMA LwM2M 1.1 section 5.1.2). Attributes that are not named stay as
// they are. A device that does not support one refuses all, with 4.00.
func (d *Device) WriteAttributes(ctx context.Context, p Path, a ...Attribute) error {
	m := &Message{Code: Put}
	for _, attribute := range a {
		m.Query = append(m.Query, attribute.query)
	}
	_, err := d.request(ctx, p, m)
	return err
}

// Execute executes a resource.
func (d *Device) Execute(ctx context.Context, p Path, arguments string) error {
	m := &Message{Code: Post, Payload: []byte(arguments)}
	if arguments != "" {
		m.Format = new(FormatText)
	}
	_, err := d.request(ctx, p, m)
	return err
}

// Discover lists what lies under p, an object, an instance or a resource, with
// attributes.
func (d *Device) Discover(ctx context.Context, p Path) ([]Link, error) {
	answer, err := d.request(ctx, p, &Message{Code: Get, Accept: new(FormatLink)})
	if err != nil {
		return nil, err
	}
	return DecodeLinks(answer.Payload)
}

// request sends m to p on the device. The error is ErrGone as soon as the
// registration has ended.
func (d *Device) request(ctx context.Context, p Path, m *Message) (*Message, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(d.alive, func() { cancel(ErrGone) })()
	if err := d.await(ctx); err != nil {
		return nil, fmt.Errorf("%w %s, which sleeps: %w", ErrUnreachable, d.endpoint, err)
	}
	r := d.Registration()
	if r.Root != "" {
		m.Path = strings.Split(r.Root, "/")
	} else {
		m.Path = nil
	}
	m.Path = append(m.Path, p.segments()...)
	answer, err := d.server.transport.Exchange(ctx, r.Address, m)
	switch {
	case d.alive.Err() != nil:
		return nil, ErrGone
	case err != nil:
		switch {
		case errors.Is(err, ErrTimeout):
			d.asleep()
		case errors.Is(err, ErrNoConnection):
			d.cutOff()
		}
		return nil, fmt.Errorf("%w %s: %w", ErrUnreachable, d.endpoint, err)
	}
	d.heard()
	switch {
	case !answer.Code.Success():
		return nil, &Error{Code: answer.Code, Reason: brief(string(answer.Payload))}
	}
	return answer, nil
}

// Forget ends the registration on this side, without an event: the device hears at its
// next update that it is not registered, and registers anew.
func (d *Device) Forget() { d.server.remove(d) }
