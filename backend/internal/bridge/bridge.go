// Package bridge joins LwM2M devices with their twins in an IoT hub: it is an
// LwM2M server on one side, and on the other one MQTT client per device, as
// Azure's own SDKs would be. It knows the hub by its connection string only,
// so it works the same with Tranquil's hub and with Azure IoT Hub.
//
// Desired properties become writes to the device's Component Update object;
// what the device tells becomes reported properties. Both sides are goal
// states that are compared, so nothing is lost if either is away for a while,
// and nothing happens twice.
package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// Config says where the bridge listens and which hub it belongs to.
type Config struct {
	Hub    iothub.ConnectionString // of a policy that may connect devices
	Listen string                  // UDP address for LwM2M, "127.0.0.1:5683"; port 0 takes a free one
	NoSec  bool                    // allow plaintext beyond this machine: anyone there can be any device
	Log    *slog.Logger

	AckTimeout time.Duration // before a message to a device is repeated first; 0 is RFC 7252's (section 4.8)
}

// A Bridge listens from New on and works during Serve.
type Bridge struct {
	Config
	transport *coap.Conn

	mu       sync.Mutex
	sessions map[string]*live // by endpoint
	running  sync.WaitGroup
}

// live is a session that runs.
type live struct {
	*session
	end context.CancelFunc
}

// New opens the LwM2M socket.
func New(c Config) (*Bridge, error) {
	options := []coap.Option{coap.WithLogger(c.Log)}
	if c.NoSec {
		options = append(options, coap.NoSec())
	}
	if c.AckTimeout > 0 {
		options = append(options, coap.WithTransmission(coap.Transmission{AckTimeout: c.AckTimeout}))
	}
	t, err := coap.Listen(c.Listen, options...)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for devices on %s: %w", c.Listen, err)
	}
	return &Bridge{Config: c, transport: t, sessions: map[string]*live{}}, nil
}

// Addr is the bound LwM2M address, host:port.
func (b *Bridge) Addr() string { return b.transport.LocalAddr().String() }

// Serve works until ctx ends.
func (b *Bridge) Serve(ctx context.Context) error {
	defer b.transport.Close()
	server := lwm2m.NewServer(lwm2m.ServerConfig{
		Model:   objects.Model(),
		OnEvent: func(e lwm2m.Event) { b.event(ctx, e) },
		Logger:  b.Log,
	})
	b.Log.Info("bridge is listening", "lwm2m", b.Addr(), "hub", b.Hub)
	err := server.Run(ctx, b.transport)
	b.running.Wait()
	return err
}

// event takes a change of the registration table.
func (b *Bridge) event(ctx context.Context, e lwm2m.Event) {
	endpoint := e.Registration.Endpoint
	b.Log.Info("device "+e.Kind.String(), "device", endpoint, "address", e.Registration.Address)
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sessions[endpoint]
	switch e.Kind {
	case lwm2m.Registered:
		if s == nil {
			s = b.start(ctx, endpoint)
		}
		s.attach(e.Device)
	case lwm2m.Updated:
		if s != nil {
			s.poke() // its objects may be others now
		}
	default:
		if s != nil {
			s.attach(nil)
			time.AfterFunc(farewell, func() { b.dismiss(endpoint, s) })
		}
	}
}

// dismiss ends a session whose device has not come back.
func (b *Bridge) dismiss(endpoint string, s *live) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sessions[endpoint] == s && s.gone() {
		delete(b.sessions, endpoint)
		s.end()
	}
}

// farewell is how long a session stays after its device has gone: time to tell
// the twin, and for a device that only restarts to come back.
const farewell = 5 * time.Second

// start begins the session of a device. The caller holds b.mu.
func (b *Bridge) start(ctx context.Context, endpoint string) *live {
	ctx, cancel := context.WithCancel(ctx)
	s := &live{newSession(b.Hub, endpoint, b.Log.With("device", endpoint)), cancel}
	b.sessions[endpoint] = s
	b.running.Go(func() { s.run(ctx) })
	return s
}
