package lwm2m

import (
	"context"
	"log/slog"
	"time"
)

// ClientConfig says who a device is, to which server it belongs and what it has.
type ClientConfig struct {
	// Endpoint is the device's unique name.
	Endpoint string
	// Server is the server's address as the Transport resolves it, such as
	// coap://127.0.0.1:5683.
	Server string
	// Lifetime of the registration; updated well before it ends. Zero means one
	// day; whole seconds.
	Lifetime time.Duration
	// Version of LwM2M to register with, "1.0" or "1.1". "" means "1.1".
	Version string
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
	config ClientConfig
}

// NewClient checks the configuration and makes a Client. Nothing is sent before
// [Client.Run].
func NewClient(config ClientConfig) (*Client, error) {
	return &Client{config: config}, nil
}

// Run keeps the device registered over t until ctx ends, then deregisters and
// returns nil. While the server does not answer it tries again, with growing,
// jittered pauses. An error means that the transport is broken. Run may be
// called once; t is not closed.
func (c *Client) Run(ctx context.Context, t Transport) error { panic("soon") }

// Registered tells whether the device is registered now.
func (c *Client) Registered() bool { panic("soon") }

// Changed says that the values at these paths (of any depth) may have changed:
// whoever observes them is notified. Changes are coalesced: while a notification
// is under way, or its minimum period has not passed, later ones wait and are
// sent as one, with the values of that time.
func (c *Client) Changed(paths ...Path) { panic("soon") }

// ObjectsChanged says that instances came or went: the server gets the new list.
func (c *Client) ObjectsChanged() { panic("soon") }

// Deliver notifies like Changed and waits until the server has acknowledged the
// values at these paths as they are now or newer: a path is delivered when a
// notification of an observation that covers it was acknowledged. If the device
// is not registered or nobody observes yet, Deliver waits for it; the only error
// is that of ctx.
func (c *Client) Deliver(ctx context.Context, paths ...Path) error { panic("soon") }
