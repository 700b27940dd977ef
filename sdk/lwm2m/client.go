package lwm2m

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// ClientConfig says who a device is, to which server it belongs and what it has.
type ClientConfig struct {
	// Endpoint is the device's unique name.
	Endpoint string
	// Server is the server's address as the Transport resolves it, such as
	// coap://127.0.0.1:5683.
	Server string
	// Also are other servers of the same scheme, which know the device as well. An
	// attempt to register that fails is followed by one with the next of them; when a
	// registration is lost, Server is the first to be asked again.
	Also []string
	// ShortID is the number that the device knows this server by (objects 0, 1 and 2),
	// 1 to 65534; zero means 1. It tells servers apart if there are several.
	ShortID uint16
	// Lifetime of the registration; updated well before it ends. Zero means one
	// day; whole seconds.
	Lifetime time.Duration
	// Version of LwM2M to register with, "1.0" or "1.1". "" means "1.1".
	Version string
	// QueueMode says that the device sleeps: the server sends requests only while
	// it listens, which is for AwakeTime after each message (zero means 93 s).
	QueueMode bool
	AwakeTime time.Duration
	// OnAwake is called, if not nil and in queue mode, when the device must listen
	// (true) and when it may stop (false). It must not block.
	OnAwake func(awake bool)
	// Objects of the device. Object 1 (Server) is added by the Client if it is
	// not among them. Object 0 (Security) is never shown to a server.
	Objects []Object
	// OnRegistered is called, if not nil, each time the device becomes registered
	// (true; also when it registers anew) and each time it finds that it is not
	// any more (false). It must not block.
	OnRegistered func(registered bool)
	// Logger may be nil.
	Logger *slog.Logger
}

// Client is the device's side of LwM2M: it keeps the device registered, answers
// its server and sends notifications.
type Client struct {
	config  ClientConfig
	logger  *slog.Logger
	objects map[uint16]Object
	model   Model
	kick    chan struct{} // asks for a registration update now
	disable chan struct{} // ends the registration for a while
	doubt   chan struct{} // asks for another session with the server

	creating sync.Mutex // held while an instance is created
	workers  sync.WaitGroup

	transport Transport

	sequence atomic.Uint32 // of notifications

	mu         sync.Mutex
	running    context.Context // of the observations
	peer       string
	turn       int // whose it is: 0 is config.Server's
	server     serverSettings
	location   []string
	listed     []byte // the object list the server has
	registered bool
	doubted    time.Time     // when another session was last asked for
	interrupt  func(error)   // ends the update that is under way
	renewed    chan struct{} // closed by the next successful registration or update
	watches    map[string]*watch
	attributes map[Path]attributes
	deliveries map[*delivery]struct{}
	awake      bool        // in queue mode
	dozing     *time.Timer // ends it
}

// NewClient checks the configuration and makes a Client. Nothing is sent before
// [Client.Run].
func NewClient(config ClientConfig) (*Client, error) {
	c := &Client{
		config:     config,
		logger:     loggerOrDiscard(config.Logger),
		objects:    map[uint16]Object{},
		model:      Model{},
		kick:       make(chan struct{}, 1),
		disable:    make(chan struct{}, 1),
		doubt:      make(chan struct{}, 1),
		interrupt:  func(error) {},
		server:     serverSettings{lifetime: config.Lifetime, disableTimeout: defaultDisableTimeout},
		renewed:    make(chan struct{}),
		watches:    map[string]*watch{},
		attributes: map[Path]attributes{},
		deliveries: map[*delivery]struct{}{},
	}
	if c.config.Version == "" {
		c.config.Version = "1.1"
	}
	if c.config.ShortID == 0 {
		c.config.ShortID = 1
	}
	if c.config.AwakeTime == 0 {
		c.config.AwakeTime = defaultAwake
	}
	if c.server.lifetime == 0 {
		c.server.lifetime = defaultLifetime
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("cannot make an LwM2M client: %w", err)
	}
	return c, nil
}

func (c *Client) check() error {
	switch {
	case c.config.Endpoint == "":
		return errors.New("the endpoint name is missing")
	case c.config.Server == "":
		return errors.New("the server's address is missing")
	case slices.ContainsFunc(c.config.Also, func(other string) bool { return scheme(other) != scheme(c.config.Server) }):
		return fmt.Errorf("the servers %v are not all of the scheme of %s", c.config.Also, c.config.Server)
	case c.server.lifetime < time.Second:
		return fmt.Errorf("the lifetime %v is shorter than a second", c.server.lifetime)
	case c.config.Version != "1.0" && c.config.Version != "1.1":
		return fmt.Errorf("the version %q is neither 1.0 nor 1.1", c.config.Version)
	}
	for _, o := range append(slices.Clone(c.config.Objects), &serverObject{client: c}) {
		d := o.Definition()
		if _, twice := c.objects[d.ID]; twice && d.ID != ServerDefinition.ID {
			return fmt.Errorf("object %d is given twice", d.ID)
		} else if !twice {
			c.objects[d.ID], c.model[d.ID] = o, d
		}
	}
	return nil
}

// Run keeps the device registered over t until ctx ends, then deregisters and
// returns nil. While the server does not answer it tries again, with growing,
// jittered pauses. An error means that the transport is broken. Run may be
// called again when it has returned, perhaps after [Client.Move]; t is not closed.
func (c *Client) Run(ctx context.Context, t Transport) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	c.transport = t
	c.mu.Lock()
	c.running = ctx
	c.mu.Unlock()
	served := make(chan error, 1)
	go func() {
		served <- t.Serve(serving, clientHandler{c})
		cancel()
	}()
	c.stayRegistered(ctx)
	c.forgetObservations()
	c.workers.Wait()
	c.deregister(serving)
	c.doze()
	stop()
	return <-served
}

// Move gives the device another server, as a bootstrap server has named it. It may
// be called before Run and between two, but not while Run runs.
func (c *Client) Move(a Account) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case a.URI == "" || a.Bootstrap:
		return errors.New("cannot move to another LwM2M server: the account is not one of a management server")
	case a.Lifetime < time.Second:
		return fmt.Errorf("cannot move to another LwM2M server: the lifetime %v is shorter than a second", a.Lifetime)
	}
	c.config.Server, c.config.ShortID, c.server.lifetime = a.URI, a.ShortID, a.Lifetime
	c.config.Also, c.turn = nil, 0
	return nil
}

// Server is the address of the server that the device is registered with, or tries
// to register with now.
func (c *Client) Server() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.turn == 0 {
		return c.config.Server
	}
	return c.config.Also[c.turn-1]
}

// nextServer has the next attempt to register be with another server, if there is one.
func (c *Client) nextServer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn = (c.turn + 1) % (1 + len(c.config.Also))
}

// firstServer has it be with the first.
func (c *Client) firstServer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.turn = 0
}

// Registered tells whether the device is registered now.
func (c *Client) Registered() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.registered
}

// Changed says that the values at these paths (of any depth) may have changed:
// whoever observes them is notified. Changes are coalesced: while a notification
// is under way, or its minimum period has not passed, later ones wait and are
// sent as one, with the values of that time.
func (c *Client) Changed(paths ...Path) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.watches {
		if slices.ContainsFunc(paths, w.overlaps) {
			w.changed()
		}
	}
}

// ObjectsChanged says that instances came or went: the server gets the new list.
func (c *Client) ObjectsChanged() { c.updateSoon() }

func (c *Client) updateSoon() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}
