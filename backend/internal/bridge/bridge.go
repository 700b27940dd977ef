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
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/store"
)

// Config says where the bridge listens and which hub it belongs to.
type Config struct {
	Hub    iothub.ConnectionString // of a policy that may connect devices
	HubTLS *tls.Config             // how the hub is known; nil: by a certificate that this machine trusts
	Listen string                  // UDP address for LwM2M: "coaps://0.0.0.0:5684" is DTLS, "127.0.0.1:5683" plaintext; port 0 takes a free one
	TCP    string                  // TCP address for LwM2M beside it: "coaps+tcp://0.0.0.0:5684" is TLS, "coap+tcp://127.0.0.1:5683" plaintext; "" none
	NoSec  bool                    // allow plaintext beyond this machine: anyone there can be any device
	Log    *slog.Logger

	// For DTLS one of these or both. Either way a device can only register as who
	// it has proven to be.
	Registry    *iothub.Client   // of the hub, by a policy that may see the keys of devices: the primary one is the PSK
	Certificate *tls.Certificate // of this server
	Roots       *x509.CertPool   // who may issue certificates of devices, with the id as common name

	// For devices that know only objects 5 and 9, see the README.
	Packages Packages // nil: they are not updated
	Files    []string // where they reach the file server, as in https://files.example.org and coap://192.0.2.1:5685; the first that a device supports is taken

	// Objects are definitions beside those of the OMA registry that Tranquil has, or in
	// their place.
	Objects []lwm2m.Definition

	// Dir is where it notes its name, which updates it carries out, and which devices are
	// registered with what is observed of them. No two bridges have the same. "": after a
	// restart it knows no device until that registers anew.
	Dir string

	MaxDevices  int           // registered at once; 0: 10,000
	MaxLifetime time.Duration // of a registration without a sign of life; 0: 31 days

	AckTimeout time.Duration // before a message to a device is repeated first; 0 is RFC 7252's (section 4.8)
	AwakeTime  time.Duration // that a device in queue mode listens after it was heard of; 0: 93 s (OMA LwM2M 1.1 section 6.5)
}

// defaultMaxDevices is what a machine of a few gigabytes holds: a device with
// DTLS takes 50 KB, and as much for its connection to the hub.
const defaultMaxDevices = 10_000

// A Bridge listens from New on and works during Serve.
type Bridge struct {
	Config
	udp, tcp *coap.Conn // tcp may be nil
	model    lwm2m.Model

	name string // by which twins know it

	mu        sync.Mutex
	sessions  map[string]*live // by endpoint
	strangers []string         // endpoints that the hub did not know, in the order in which they came
	pace      pace
	ledger    ledger
	store     lwm2m.Store // nil without a directory
	running   sync.WaitGroup
}

// live is a session that runs.
type live struct {
	*session
	end context.CancelFunc
}

// New opens the LwM2M socket.
func New(c Config) (*Bridge, error) {
	c.MaxDevices = cmp.Or(c.MaxDevices, defaultMaxDevices)
	b := &Bridge{Config: c, model: model(c.Objects), sessions: map[string]*live{}, pace: standardPace}
	var err error
	if b.name, err = bridgeName(c.Dir); err != nil {
		return nil, fmt.Errorf("cannot read or write the name of the bridge: %w", err)
	}
	if b.ledger, err = openLedger(c.Dir); err != nil {
		return nil, fmt.Errorf("cannot read which updates are under way: %w", err)
	}
	if c.Dir != "" {
		if b.store, err = store.Open(filepath.Join(c.Dir, "devices")); err != nil {
			return nil, err
		}
	}
	if b.udp, err = coap.Listen(c.Listen, c.options(c.Listen)...); err != nil {
		return nil, fmt.Errorf("cannot listen for devices on %s: %w", c.Listen, err)
	}
	if c.TCP == "" {
		return b, nil
	}
	if b.tcp, err = coap.Listen(c.TCP, c.options(c.TCP)...); err != nil {
		b.udp.Close()
		return nil, fmt.Errorf("cannot listen for devices on %s: %w", c.TCP, err)
	}
	return b, nil
}

// options are those of the socket at an address.
func (c Config) options(address string) []coap.Option {
	options := []coap.Option{coap.WithLogger(c.Log)}
	if c.NoSec {
		options = append(options, coap.NoSec())
	}
	if c.AckTimeout > 0 {
		options = append(options, coap.WithTransmission(coap.Transmission{AckTimeout: c.AckTimeout}))
	}
	if !secure(address) {
		return options
	}
	if c.Registry != nil {
		options = append(options, coap.PSKs(Keys(c.Registry, c.Log)))
	}
	if c.Certificate != nil {
		options = append(options, coap.Certificate(*c.Certificate, c.Roots))
	}
	return options
}

func secure(address string) bool { return strings.HasPrefix(address, "coaps") }

// Addr is the bound LwM2M address as Listen has it: host:port, or
// coaps://host:port.
func (b *Bridge) Addr() string { return bound(b.Listen, b.udp) }

// TCPAddr is the bound TCP address as TCP has it; "" if there is none.
func (b *Bridge) TCPAddr() string {
	if b.tcp == nil {
		return ""
	}
	return bound(b.TCP, b.tcp)
}

// bound is an address with the port that it has got.
func bound(address string, at *coap.Conn) string {
	scheme, _, given := strings.Cut(address, "://")
	if !given {
		return at.LocalAddr().String()
	}
	return scheme + "://" + at.LocalAddr().String()
}

// transport is by what devices are reached.
func (b *Bridge) transport() (lwm2m.Transport, error) {
	if b.tcp == nil {
		return b.udp, nil
	}
	return coap.Join(b.udp, b.tcp)
}

// Serve works until ctx ends.
func (b *Bridge) Serve(ctx context.Context) error {
	transport, err := b.transport()
	if err != nil {
		return err
	}
	defer transport.Close()
	server := lwm2m.NewServer(lwm2m.ServerConfig{
		Model:   b.model,
		OnEvent: func(e lwm2m.Event) { b.event(ctx, e) },
		OnSend:  b.sent,
		Store:   b.store,
		Logger:  b.Log,

		AwakeTime: b.AwakeTime, Authorize: b.authorize, MaxDevices: b.MaxDevices, MaxLifetime: b.MaxLifetime,
	})
	b.resume(ctx)
	b.Log.Info("bridge is listening", "lwm2m", b.Addr(), "tcp", b.TCPAddr(), "hub", b.Hub)
	err = server.Run(ctx, transport)
	b.running.Wait()
	return err
}

// authorize lets a device register as who it has proven to be, if there is room
// for its session. That of a device that has gone stays for a while.
func (b *Bridge) authorize(identity, endpoint string) error {
	if err := lwm2m.SameName(identity, endpoint); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.sessions[endpoint] == nil && len(b.sessions) >= b.MaxDevices {
		return lwm2m.Errorf(lwm2m.CodeUnavailable, "%d devices are here, and no more can be", len(b.sessions))
	}
	return nil
}

// maxStrangers bounds the devices that are here and that the hub does not know: they may
// be registered there any moment, and they may be nobody's.
const maxStrangers = 256

// stranger hears that the hub does not know a device. When there are too many of them,
// the first one gives way; if it is a device, it registers here again.
func (b *Bridge) stranger(endpoint string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Contains(b.strangers, endpoint) {
		return
	}
	b.strangers = append(b.strangers, endpoint)
	if len(b.strangers) <= maxStrangers {
		return
	}
	first := b.strangers[0]
	b.strangers = b.strangers[1:]
	if s := b.sessions[first]; s != nil && !s.link.stands() {
		b.letGo(first, s)
	}
}

// letGo ends the session of a device, and its registration: it hears so at its next
// update. The caller holds b.mu.
func (b *Bridge) letGo(endpoint string, s *live) {
	if b.sessions[endpoint] == s {
		delete(b.sessions, endpoint)
	}
	s.end()
	s.mu.Lock()
	d := s.device
	s.mu.Unlock()
	if d != nil {
		d.Forget()
	}
}

// event takes a change of the registration table.
func (b *Bridge) event(ctx context.Context, e lwm2m.Event) {
	endpoint := e.Registration.Endpoint
	b.Log.Info("device "+e.Kind.String(), "device", endpoint, "address", e.Registration.Address)
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sessions[endpoint]
	switch e.Kind {
	case lwm2m.Registered, lwm2m.Restored:
		if s == nil {
			s = b.start(ctx, endpoint)
		}
		s.attach(e.Device, e.Kind == lwm2m.Registered)
	case lwm2m.Updated:
		if s != nil {
			s.poke() // its objects may be others now
		}
	default:
		if s != nil {
			s.attach(nil, false)
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

// resume begins the sessions of devices whose updates an earlier bridge has begun:
// one that never comes back has a deadline too.
func (b *Bridge) resume(ctx context.Context) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, endpoint := range b.ledger.open() {
		b.start(ctx, endpoint)
	}
}

// farewell is how long a session stays after its device has gone: time to tell
// the twin, and for a device that only restarts to come back.
const farewell = 5 * time.Second

// start begins the session of a device. The caller holds b.mu.
func (b *Bridge) start(ctx context.Context, endpoint string) *live {
	ctx, cancel := context.WithCancel(ctx)
	s := &live{newSession(b.Hub, b.HubTLS, endpoint, b.model, func() { b.stranger(endpoint) }, b.Log.With("device", endpoint)), cancel}
	s.packages, s.addresses, s.pace, s.resumed = b.Packages, b.Files, b.pace, b.ledger.has(endpoint)
	s.bridge, s.cede = b.name, func() bool { return b.cede(endpoint, s) }
	s.begun = func() error { return b.ledger.add(endpoint) }
	s.idle = func() {
		if err := b.ledger.remove(endpoint); err != nil {
			b.Log.Error("cannot note that an update has ended", "device", endpoint, "error", err)
		}
		time.AfterFunc(farewell, func() { b.dismiss(endpoint, s) })
	}
	b.sessions[endpoint] = s
	b.running.Go(func() { s.run(ctx) })
	return s
}
