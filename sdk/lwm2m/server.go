package lwm2m

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

// ServerConfig configures a Server.
type ServerConfig struct {
	// Model has the objects the server knows; see package objects for ready ones.
	// Library, if not nil, takes its place: each device is spoken to by the versions of
	// objects that it says it has. It must not change any more.
	Model   Model
	Library *Library
	// OnEvent is called for each change of the registration table, one at a time
	// and in order, outside of any lock; it may use the Device. A slow OnEvent
	// delays later events but no answers to devices.
	OnEvent func(Event)
	// Authorize decides whether a peer may register as this endpoint; an error
	// refuses it, with 4.03 unless it is an [*Error]. The identity is who it has
	// proven to be, "" over a transport without security. Nil: an identity must be
	// the endpoint's name, as [SameName] says.
	Authorize func(identity, endpoint string) error
	// MaxDevices bounds the registrations; one more is refused with 5.03. Zero means
	// 100,000.
	MaxDevices int
	// MaxLifetime bounds how long a registration lasts without an update; a longer
	// one is refused with 4.00. Zero means 31 days.
	MaxLifetime time.Duration
	// AwakeTime is how long a device in queue mode listens after each message. Zero
	// means 93 s.
	AwakeTime time.Duration
	// Queue keeps the jobs of [Server.Enqueue]; nil if there are none. OnResult hears
	// how each ended, maybe twice after a crash, in a goroutine of its device; a
	// slow one delays the device's next job.
	Queue    Queue
	OnResult func(Result)
	// Store keeps registrations and what is observed in them over restarts of the
	// server; nil: devices have to register anew.
	Store Store
	// OnSend takes what a device sends by itself (LwM2M 1.1, the Send operation),
	// with the time of each value if the device says it. It runs in a goroutine of
	// its own; the device is answered when it returns, so what it has kept by then
	// is acknowledged. An error refuses the values. Without OnSend devices are told
	// that the server does not take them (4.04).
	OnSend func(ctx context.Context, d *Device, records []Record) error
	// Logger may be nil.
	Logger *slog.Logger
}

// What a server holds if its configuration does not say.
const (
	defaultMaxDevices  = 100_000
	defaultMaxLifetime = 31 * 24 * time.Hour
)

// EventKind says what happened to a registration.
type EventKind uint8

// What can happen to a registration.
const (
	// Registered: a device is here, for the first time or again. An older
	// registration of the same endpoint is over, without an event of its own, and
	// so are its observations.
	Registered EventKind = iota + 1
	// Updated: its lifetime was prolonged; address, lifetime or objects may differ. Or it
	// is heard of again, after it was restored or had lost its connection.
	Updated
	// Deregistered: it said goodbye.
	Deregistered
	// Expired: its lifetime ended without an update.
	Expired
	// Restored: it was registered when an earlier run of the server ended, and is so
	// still (see [Store]); it was not heard since. What was observed of it should be
	// observed again ([Device.Earlier]): until then its notifications are not
	// acknowledged, and wait.
	Restored
)

var eventNames = [...]string{"none", "registered", "updated", "deregistered", "expired", "restored"}

// String is the event's name in lower case.
func (k EventKind) String() string { return eventNames[min(int(k), len(eventNames)-1)] }

// Event is one change of the registration table.
type Event struct {
	Kind         EventKind
	Device       *Device
	Registration Registration // as it was after the event
}

// Server is the management server's side of LwM2M: the table of registered
// devices and the operations on them.
type Server struct {
	config ServerConfig
	logger *slog.Logger

	workers sync.WaitGroup // of the mailboxes
	events  mailbox
	models  models
	keeper  keeper
	refused rarely

	mu           sync.Mutex
	transport    Transport
	devices      map[string]*Device // by endpoint
	locations    map[string]*Device // by registration id
	addresses    map[string]*Device // by peer
	observations map[string]*observation
}

// NewServer makes a Server.
func NewServer(config ServerConfig) *Server {
	config.MaxDevices = cmp.Or(config.MaxDevices, defaultMaxDevices)
	config.MaxLifetime = cmp.Or(config.MaxLifetime, defaultMaxLifetime)
	s := &Server{
		config:       config,
		logger:       loggerOrDiscard(config.Logger),
		devices:      map[string]*Device{},
		locations:    map[string]*Device{},
		addresses:    map[string]*Device{},
		observations: map[string]*observation{},
	}
	s.events.workers = &s.workers
	s.models = models{library: config.Library, known: map[string]Model{}}
	s.keeper = keeper{dirty: map[string]bool{}, sprees: map[string]*spree{}, wake: make(chan struct{}, 1)}
	return s
}

func loggerOrDiscard(l *slog.Logger) *slog.Logger {
	if l == nil {
		return slog.New(slog.DiscardHandler)
	}
	return l
}

// Run serves devices over t until ctx ends; then it returns nil. An error means
// that the transport is broken. Run may be called once; t is not closed.
func (s *Server) Run(ctx context.Context, t Transport) error {
	s.mu.Lock()
	s.transport = t
	s.mu.Unlock()
	s.restore()
	stop, kept := make(chan struct{}), make(chan struct{})
	s.workers.Go(func() { s.wake(t, stop) })
	go func() { defer close(kept); s.keepStore(stop) }()
	err := t.Serve(ctx, serverHandler{s})
	close(stop)
	<-kept // what ends now is not forgotten
	for _, d := range s.Devices() {
		s.remove(d)
	}
	s.events.close()
	s.workers.Wait()
	return err
}

// Device finds a registered device by its endpoint name.
func (s *Server) Device(endpoint string) (*Device, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.devices[endpoint]
	return d, ok
}

// Devices lists the registered devices by endpoint name.
func (s *Server) Devices() []*Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*Device, 0, len(s.devices))
	for _, d := range s.devices {
		list = append(list, d)
	}
	slices.SortFunc(list, func(a, b *Device) int { return strings.Compare(a.endpoint, b.endpoint) })
	return list
}

// serverHandler keeps the Handler's methods out of the Server's API.
type serverHandler struct{ *Server }

// ServeRequest implements [Handler]: the registration interface under /rd.
func (s serverHandler) ServeRequest(ctx context.Context, peer string, m *Message) *Message {
	answer, err := s.serve(ctx, peer, m)
	if err != nil {
		s.refused.log(s.logger.Info, "refused a device's request", "peer", peer, "error", brief(err.Error()))
		return errorMessage(err)
	}
	return answer
}

// errorMessage is the answer for an error: its code if it is an [*Error]. The
// text of other errors stays on this side.
func errorMessage(err error) *Message {
	if e, ok := errors.AsType[*Error](err); ok {
		return &Message{Code: e.Code, Payload: []byte(brief(e.Reason))}
	}
	return &Message{Code: CodeInternal}
}

func (s *Server) serve(ctx context.Context, peer string, m *Message) (*Message, error) {
	switch {
	case len(m.Path) == 1 && m.Path[0] == sendPath && s.config.OnSend != nil:
		return s.receive(ctx, peer, m)
	case len(m.Path) == 0 || m.Path[0] != "rd" || len(m.Path) > 2:
		return nil, Errorf(CodeNotFound, "there is no such path here")
	case m.Code == Post && len(m.Path) == 1:
		return s.register(peer, m)
	case m.Code == Post:
		return s.update(peer, m)
	case m.Code == Delete && len(m.Path) == 2:
		return s.deregister(m)
	}
	return nil, Errorf(CodeMethodNotAllowed, "use POST or DELETE")
}

func (s *Server) register(peer string, m *Message) (*Message, error) {
	r, err := newRegistration(peer, m, s.config.MaxLifetime)
	if err != nil {
		return nil, err
	}
	if err := authorize(s.config.Authorize, r.Identity, r.Endpoint); err != nil {
		return nil, err
	}
	d := newDevice(s, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, ok := s.devices[r.Endpoint]; ok {
		s.removeLocked(old)
	} else if len(s.devices) >= s.config.MaxDevices {
		return nil, Errorf(CodeUnavailable, "%d devices are registered, and no more can be", len(s.devices))
	}
	s.enterLocked(d, r)
	d.heard() // before anybody asks whether it is awake
	s.report(Registered, d, r)
	s.work(d)
	return &Message{Code: CodeCreated, Location: []string{"rd", r.ID}}, nil
}

func (s *Server) enterLocked(d *Device, r Registration) {
	s.devices[r.Endpoint], s.locations[r.ID], s.addresses[r.Address] = d, d, d
	d.expiry = time.AfterFunc(r.Lifetime, func() { s.expire(d) })
	s.keep(r.Endpoint)
}

// alive notes that the device was heard of without being asked: it is awake.
func (s *Server) alive(d *Device) {
	if d.heard() {
		s.report(Updated, d, d.Registration())
	}
	s.work(d)
}

// authorize goes by rule or, without one, by [SameName].
func authorize(rule func(identity, endpoint string) error, identity, endpoint string) error {
	if rule == nil {
		rule = SameName
	}
	err := rule(identity, endpoint)
	if _, told := errors.AsType[*Error](err); err == nil || told {
		return err
	}
	return Errorf(CodeForbidden, "this peer is not %q", endpoint)
}

// SameName refuses a peer that has proven to be another than the endpoint.
func SameName(identity, endpoint string) error {
	if identity != "" && identity != endpoint {
		return Errorf(CodeForbidden, "this peer is not %q", endpoint)
	}
	return nil
}

func (s *Server) update(peer string, m *Message) (*Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.locations[m.Path[1]]
	if !ok || d.Registration().Identity != m.Identity {
		return nil, Errorf(CodeNotFound, "register first")
	}
	before := d.Registration().Address
	r, err := d.update(peer, m)
	if err != nil {
		return nil, err
	}
	if s.addresses[before] == d {
		delete(s.addresses, before)
	}
	s.addresses[peer] = d
	if before != peer || len(m.Query) > 0 || len(m.Payload) > 0 {
		s.keep(r.Endpoint)
	}
	d.expiry.Reset(r.Lifetime)
	d.heard()
	s.report(Updated, d, r)
	s.work(d)
	return &Message{Code: CodeChanged}, nil
}

func (s *Server) deregister(m *Message) (*Message, error) {
	s.mu.Lock()
	d, ok := s.locations[m.Path[1]]
	s.mu.Unlock()
	if !ok || d.Registration().Identity != m.Identity || !s.remove(d) {
		return nil, Errorf(CodeNotFound, "register first")
	}
	s.report(Deregistered, d, d.Registration())
	return &Message{Code: CodeDeleted}, nil
}

func (s *Server) expire(d *Device) {
	r := d.Registration()
	if left := time.Until(r.Updated.Add(r.Lifetime)); left > 0 { // it was updated just now
		d.expiry.Reset(left)
		return
	}
	if s.remove(d) {
		s.report(Expired, d, r)
	}
}

// remove ends a registration and tells whether it was there.
func (s *Server) remove(d *Device) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.removeLocked(d)
}

func (s *Server) removeLocked(d *Device) bool {
	r := d.Registration()
	if s.locations[r.ID] != d {
		return false
	}
	delete(s.locations, r.ID)
	if s.addresses[r.Address] == d {
		delete(s.addresses, r.Address)
	}
	if s.devices[d.endpoint] == d {
		delete(s.devices, d.endpoint)
	}
	for token := range d.tokens {
		s.observations[token].release()
		delete(s.observations, token)
	}
	s.keep(d.endpoint)
	d.expiry.Stop()
	d.notifications.close()
	d.jobs.close()
	d.end()
	return true
}

func (s *Server) report(kind EventKind, d *Device, r Registration) {
	s.logger.Debug("registration", "event", kind.String(), "endpoint", r.Endpoint, "address", r.Address)
	if s.config.OnEvent != nil {
		s.events.put(letter{run: func() { s.config.OnEvent(Event{Kind: kind, Device: d, Registration: r}) }})
	}
}
