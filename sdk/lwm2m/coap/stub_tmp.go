package coap

import (
	"context"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

var _ lwm2m.Transport = (*Conn)(nil)

// Resolve implements [lwm2m.Transport].
func (c *Conn) Resolve(ctx context.Context, address string) (string, error) { panic("soon") }

// Exchange implements [lwm2m.Transport].
func (c *Conn) Exchange(ctx context.Context, peer string, request *lwm2m.Message) (*lwm2m.Message, error) {
	panic("soon")
}

// Notify implements [lwm2m.Transport].
func (c *Conn) Notify(ctx context.Context, peer string, notification *lwm2m.Message) error {
	panic("soon")
}

// Serve implements [lwm2m.Transport].
func (c *Conn) Serve(ctx context.Context, h lwm2m.Handler) error { panic("soon") }

// Close implements [lwm2m.Transport].
func (c *Conn) Close() error { panic("soon") }
