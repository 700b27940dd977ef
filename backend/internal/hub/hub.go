// Package hub speaks Azure IoT Hub's contract: MQTT 3.1.1 to devices, REST and server-sent events to the back end.
// It is not a broker: a device talks only to its own twin, on fixed topics, so a connection is a [session] whose
// identity is checked once and whose subscriptions are bits. All state is in the store. A change of a twin goes to the
// store and its event log; what a connected device is told comes out of that log, in its order. Several hubs may share a
// store: each holds the connections that it has accepted, and no other state.
package hub

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/limit"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/places"
)

// Registry keeps devices; every answered change is durable. Errors are twin.DeviceNotFound, twin.DeviceExists,
// what the callback answered, or the store's own.
type Registry interface {
	Create(ctx context.Context, d twin.Device, event *twin.Event) error
	Device(ctx context.Context, id string) (twin.Device, error)
	Devices(ctx context.Context) iter.Seq2[twin.Device, error]
	Update(ctx context.Context, id string, change func(*twin.Device) (*twin.Event, error)) (twin.Device, error)
	Delete(ctx context.Context, id string, check func(twin.Device) (*twin.Event, error)) error
}

// Index knows all devices and modules, a little late.
type Index interface {
	Modules(ctx context.Context, device string) iter.Seq2[twin.Device, error]
	Changed(ctx context.Context) iter.Seq2[string, *twin.Device]
}

// EventLog keeps events in order, and how updates have ended for longer. Events begins after a sequence and waits for more
// until ctx is done.
type EventLog interface {
	Append(ctx context.Context, event twin.Event) error
	Position(ctx context.Context) (uint64, error)
	Events(ctx context.Context, device string, after uint64) iter.Seq2[twin.Event, error]
	History(ctx context.Context, device string) (twin.History, error)
}

// Queue keeps messages to devices until they have ended.
type Queue interface {
	Enqueue(ctx context.Context, c twin.Command) error
	Command(ctx context.Context, device string, after uint64) (*twin.Command, error)
	Dequeue(ctx context.Context, sequence uint64, end *twin.Feedback) error
	Queued(ctx context.Context, device string) (map[string]int, error)
}

// Outcomes tell what comes into the queue, what has waited too long, and how messages have ended.
type Outcomes interface {
	Arrivals(ctx context.Context) (iter.Seq2[string, error], error)
	Overdue(ctx context.Context, now time.Time) ([]twin.Command, error)
	Feedback(ctx context.Context, n int) ([]twin.Feedback, string, error)
	Confirm(ctx context.Context, token string, again bool) error
}

// Peers are the hubs on the same store; this one is among them.
type Peers interface {
	Node() string
	Nodes(ctx context.Context) (map[string]bool, error)
	Ask(ctx context.Context, node string, question []byte) ([]byte, error)
	Answer(ctx context.Context, answer func(ctx context.Context, question []byte) []byte) error
	Recover(ctx context.Context) error
}

// Documents are texts with names, by kind: configurations, jobs, and outcomes of jobs.
type Documents interface {
	Put(ctx context.Context, kind string, d twin.Document) (revision uint64, err error)
	Document(ctx context.Context, kind, name string) (d twin.Document, ok bool, err error)
	Remove(ctx context.Context, kind string, d twin.Document) error
	Documents(ctx context.Context, kind, parent string) iter.Seq2[twin.Document, error]
	DocumentsChange(ctx context.Context, kind string, changed chan<- struct{}) error
}

// Secrets are what all hubs on a store have in common.
type Secrets interface {
	Secret(ctx context.Context, name string, fresh []byte) ([]byte, error)
}

// Store is where the hub keeps everything.
type Store interface {
	Registry
	Index
	EventLog
	Messages
	Shared
}

// Messages are those to devices.
type Messages interface {
	Queue
	Outcomes
}

// Shared is what hubs on one store share beside devices.
type Shared interface {
	Documents
	Peers
	Secrets
}

// Config says where the hub listens.
type Config struct {
	MQTT string      // address for devices, as in 127.0.0.1:1883; port 0 takes a free one
	HTTP string      // address for the back end
	TLS  *tls.Config // that both listeners speak; nil is plaintext
	// DeviceRoots is a PEM file of those who may issue certificates of devices; "" is nobody.
	DeviceRoots string
	// InsecurePlaintext permits plaintext on addresses that others can reach: tokens can be overheard there.
	InsecurePlaintext bool
	// Grace is by how much an update may be late before its device is taken for broken; 0 is DefaultGrace.
	Grace time.Duration
	Audit Audit // nil: nobody writes down what the back end changes
	// Reader answers the user whom a token of an operator's API lets read what happens; twin.Unauthorized, twin.Forbidden.
	// nil: such tokens let nobody in.
	Reader func(ctx context.Context, token string) (user string, err error)
	Verify time.Duration // how often it is asked again; 0 is every 30 s
	Log    *slog.Logger
}

// Hub listens from New on and serves during Serve.
type Hub struct {
	store      Store
	log        *slog.Logger
	policies   map[string]string // name → key
	roots      *x509.CertPool    // who may issue certificates of devices
	mqtt, http net.Listener
	secure     bool
	grace      time.Duration
	audit      Audit
	greetings  places.Places // of devices that are not let in yet
	sockets    chan net.Conn // WebSockets of devices
	starts     chan start    // jobs that this hub is to run

	leads    atomic.Bool // does what one hub has to do for all
	expected expected    // devices that somebody waits for

	streams     limit.Seats[struct{}] // of events
	reader      func(ctx context.Context, token string) (string, error)
	verifyEvery time.Duration

	mu          sync.Mutex
	sessions    map[string]*session    // by device or module
	subscribers map[string]*subscriber // by whose they are, and client id
}

// New reads or makes the policies' keys and binds both addresses.
func New(cfg Config, store Store) (*Hub, error) {
	h := &Hub{
		store: store, log: cfg.Log, audit: cfg.Audit, grace: cmp.Or(cfg.Grace, DefaultGrace), secure: cfg.TLS != nil, sockets: make(chan net.Conn), starts: make(chan start), greetings: places.Places{Max: maxGreetings, Share: greetingShare},
		reader: cfg.Reader, verifyEvery: cmp.Or(cfg.Verify, verifyEvery), subscribers: map[string]*subscriber{},
		sessions: map[string]*session{}, expected: expected{waiting: map[string]*arrival{}},
	}
	var err error
	if h.policies, err = loadPolicies(store); err != nil {
		return nil, fmt.Errorf("cannot start hub: %w", err)
	}
	if h.roots, err = readRoots(cfg.DeviceRoots); err != nil {
		return nil, fmt.Errorf("cannot read issuers of devices' certificates: %w", err)
	}
	if h.mqtt, err = listen(cfg, cfg.MQTT, tls.RequestClientCert, func(l net.Listener) net.Listener { return l }); err != nil {
		return nil, fmt.Errorf("cannot listen for devices: %w", err)
	}
	if h.http, err = listen(cfg, cfg.HTTP, tls.NoClientCert, newCrowded); err != nil {
		h.mqtt.Close()
		return nil, fmt.Errorf("cannot listen for the back end: %w", err)
	}
	return h, nil
}

// MQTTAddr is the address that devices connect to, host:port.
func (h *Hub) MQTTAddr() string { return h.mqtt.Addr().String() }

// HTTPAddr is the address of REST and events, host:port.
func (h *Hub) HTTPAddr() string { return h.http.Addr().String() }

// ConnectionString gives access by a policy: iothubowner, service, registryRead or registryReadWrite over HTTP,
// device over MQTT. It holds the policy's key. Its host is the bound address; change that where the hub has a name.
func (h *Hub) ConnectionString(policy string) (iothub.ConnectionString, error) {
	key, ok := h.policies[policy]
	if !ok {
		return iothub.ConnectionString{}, fmt.Errorf("there is no policy %q", policy)
	}
	host := h.HTTPAddr()
	if policy == PolicyDevice {
		host = h.MQTTAddr()
	}
	return iothub.ConnectionString{HostName: host, PolicyName: policy, Key: key, Insecure: !h.secure}, nil
}

// Serve answers when ctx is done (nil) or a listener or the event log fails; by then all connections are closed.
func (h *Hub) Serve(ctx context.Context) error {
	defer h.mqtt.Close()
	defer h.http.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := h.forgetConnections(ctx); err != nil {
		return fmt.Errorf("cannot start hub: %w", err)
	}
	position, err := h.store.Position(ctx)
	if err != nil {
		return fmt.Errorf("cannot start hub: %w", err)
	}
	commands, err := h.store.Arrivals(ctx)
	if err != nil {
		return fmt.Errorf("cannot start hub: %w", err)
	}
	h.log.Info("hub is listening", "mqtt", h.MQTTAddr(), "http", h.HTTPAddr(), "tls", h.secure, "node", h.store.Node())
	return runAll(ctx,
		func(ctx context.Context) error { return h.notify(ctx, position) },
		func(ctx context.Context) error { return h.announceCommands(commands) },
		func(ctx context.Context) error { return h.store.Answer(ctx, h.answerPeer) },
		h.watch,
		h.serveJobs,
		h.serveConfigurations,
		h.awaitUpdates,
		h.tend,
		h.serveMQTT,
		h.serveHTTP,
	)
}

// runAll runs parts until one fails or ctx is done, and waits for all of them.
func runAll(parent context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var first error
	for _, part := range parts {
		wg.Go(func() {
			err := part(ctx)
			mu.Lock()
			defer mu.Unlock()
			// A part that waits on the parent sees its end before ctx does.
			if err != nil && parent.Err() == nil && ctx.Err() == nil && first == nil {
				first = err
			}
			cancel(err)
		})
	}
	wg.Wait()
	return first
}

// notify tells connected devices of their desired properties, as the event log has it.
func (h *Hub) notify(ctx context.Context, after uint64) error {
	for event, err := range h.store.Events(ctx, "", after) {
		if err != nil {
			return err
		}
		if s := h.session(event.Device); s != nil && event.Type == twin.TwinChanged {
			s.tellDesired(event.Body)
		}
	}
	return nil
}

func (h *Hub) session(device string) *session {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sessions[device]
}

// serveMQTT accepts devices and, at the end, waits until all their sessions have ended.
func (h *Hub) serveMQTT(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { h.mqtt.Close() })
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for {
			select {
			case conn := <-h.sockets:
				wg.Go(func() { h.serveDevice(ctx, conn) })
			case <-ctx.Done():
				return
			}
		}
	})
	for {
		conn, err := h.mqtt.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil { // too many open files, a connection that is gone already: others may still work
			h.log.Warn("cannot accept connection", "error", err)
			pause(ctx, 100*time.Millisecond)
			continue
		}
		wg.Go(func() { h.serveDevice(ctx, conn) })
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
