package lwm2m

import (
	"context"
	"log/slog"
	"time"
)

// ServerConfig configures a Server.
type ServerConfig struct {
	// Model has the objects the server knows; see package objects for ready ones.
	Model Model
	// OnEvent is called for each change of the registration table, one at a time
	// and in order, outside of any lock; it may use the Device. A slow OnEvent
	// delays later events but no answers to devices.
	OnEvent func(Event)
	// Logger may be nil.
	Logger *slog.Logger
}

// EventKind says what happened to a registration.
type EventKind uint8

// What can happen to a registration.
const (
	// Registered: a device is here, for the first time or again. An older
	// registration of the same endpoint is over, without an event of its own, and
	// so are its observations.
	Registered EventKind = iota + 1
	// Updated: its lifetime was prolonged; address, lifetime or objects may differ.
	Updated
	// Deregistered: it said goodbye.
	Deregistered
	// Expired: its lifetime ended without an update.
	Expired
)

var eventNames = [...]string{"none", "registered", "updated", "deregistered", "expired"}

// String is the event's name in lower case.
func (k EventKind) String() string { return eventNames[min(int(k), len(eventNames)-1)] }

// Event is one change of the registration table.
type Event struct {
	Kind         EventKind
	Device       *Device
	Registration Registration // as it was after the event
}

// Registration is what a device told about itself.
type Registration struct {
	ID       string // last segment of the location, /rd/{ID}
	Endpoint string
	Address  string // the peer it was last heard from
	Lifetime time.Duration
	Version  string // of LwM2M: "1.0" or "1.1"
	Binding  string // "U" for UDP
	Root     string // alternate path of its objects, "" if none
	Links    []Link // the registration payload
	// Objects are the paths of Links: instances, and objects that have none.
	Objects []Path
	// Registered and Updated tell when.
	Registered, Updated time.Time
}

// Server is the management server's side of LwM2M: the table of registered
// devices and the operations on them.
type Server struct {
	config ServerConfig
}

// NewServer makes a Server.
func NewServer(config ServerConfig) *Server { return &Server{config: config} }

// Run serves devices over t until ctx ends; then it returns nil. An error means
// that the transport is broken. Run may be called once; t is not closed.
func (s *Server) Run(ctx context.Context, t Transport) error { panic("soon") }

// Device finds a registered device by its endpoint name.
func (s *Server) Device(endpoint string) (*Device, bool) { panic("soon") }

// Devices lists the registered devices by endpoint name.
func (s *Server) Devices() []*Device { panic("soon") }

// Device is one registration of a device. When the device registers anew there is
// a new Device, and operations on the old one give [ErrGone].
//
// Operations send a request and wait for its answer. Their context should have a
// deadline; without one they end when the transport gives up (about 90 s). An
// answer of class 4 or 5 is an [*Error].
type Device struct{}

// Registration is its present state.
func (d *Device) Registration() Registration { panic("soon") }

// Read reads an object, an instance, a resource or a resource instance.
func (d *Device) Read(ctx context.Context, p Path) ([]Record, error) { panic("soon") }

// Write writes records, all under p, an instance or a resource: Replace (PUT) or,
// on an instance or a multiple resource, Update (POST).
func (d *Device) Write(ctx context.Context, p Path, mode WriteMode, records []Record) error {
	panic("soon")
}

// WriteAttributes sets the notification attributes of p in seconds: pmin, the
// shortest time between notifications, and pmax, the longest (0: unset).
func (d *Device) WriteAttributes(ctx context.Context, p Path, pmin, pmax time.Duration) error {
	panic("soon")
}

// Execute executes a resource.
func (d *Device) Execute(ctx context.Context, p Path, arguments string) error { panic("soon") }

// Discover lists what lies under p, an object, an instance or a resource, with
// attributes.
func (d *Device) Discover(ctx context.Context, p Path) ([]Link, error) { panic("soon") }

// Observe asks for notifications of p, an object, an instance or a resource, and
// returns its present values. Each notification is given to notify, one at a time
// per device and in order, until CancelObserve or the end of the registration;
// stale and repeated notifications are dropped. Observing a path again replaces
// the former observation.
func (d *Device) Observe(ctx context.Context, p Path, notify func([]Record)) ([]Record, error) {
	panic("soon")
}

// CancelObserve ends the observation of p. Even if the device cannot be told now,
// notify is not called any more.
func (d *Device) CancelObserve(ctx context.Context, p Path) error { panic("soon") }
