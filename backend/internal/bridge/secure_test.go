package bridge

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// deaf is a device that answers nothing.
type deaf struct{}

func (deaf) ServeRequest(context.Context, string, *lwm2m.Message) *lwm2m.Message {
	return &lwm2m.Message{Code: lwm2m.CodeNotFound}
}

func (deaf) ServeNotification(_ string, _ *lwm2m.Message, done func(lwm2m.Reception)) {
	done(lwm2m.Refused)
}

// register registers an endpoint over a socket of its own, which it closes.
func register(t *testing.T, address, endpoint string, options ...coap.Option) error {
	t.Helper()
	conn, err := coap.Dial(address, append(options, coap.WithTransmission(coap.Transmission{AckTimeout: ackTimeout}))...)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	served := make(chan error, 1)
	go func() { served <- conn.Serve(ctx, deaf{}) }()
	defer func() { cancel(); <-served; conn.Close() }()
	short, stop := context.WithTimeout(ctx, 3*time.Second) // some failures of a handshake are silent
	defer stop()
	peer, err := conn.Resolve(short, address)
	if err != nil {
		return err
	}
	answer, err := conn.Exchange(ctx, peer, &lwm2m.Message{Code: lwm2m.Post, Path: []string{"rd"}, Query: []string{"ep=" + endpoint, "lwm2m=1.1", "lt=60"}})
	if err == nil && !answer.Code.Success() {
		err = &lwm2m.Error{Code: answer.Code}
	}
	return err
}

// create registers a device in the hub and returns its key.
func create(t *testing.T, service *iothub.Client, id string) []byte {
	t.Helper()
	d, err := service.CreateDevice(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	key, err := base64.StdEncoding.DecodeString(d.Authentication.SymmetricKey.PrimaryKey)
	if err != nil || len(key) < 16 {
		t.Fatalf("a key of %d bytes: %v", len(key), err)
	}
	return key
}

// TestSecure has a device prove itself with the key that the registry has of it,
// and others try to be that device.
func TestSecure(t *testing.T) {
	h, _ := startHub(t, t.TempDir(), "127.0.0.1:0", "127.0.0.1:0")
	s := system{service: iothub.NewClient(connection(t, h, hub.PolicyOwner))}
	key, other, former := create(t, s.service, endpoint), create(t, s.service, "device-2"), create(t, s.service, "device-3")
	b, err := New(Config{
		Hub: connection(t, h, hub.PolicyDevice), Registry: iothub.NewClient(connection(t, h, hub.PolicyRegistryReadWrite)),
		Listen: "coaps://127.0.0.1:0", Log: quiet, AckTimeout: ackTimeout,
	})
	if err != nil {
		t.Fatal(err)
	}
	background(t, b.Serve)
	var stop func()
	s.device, stop = startDevice(t, b.Addr(), coap.PSK(endpoint, key))
	eventually(t, "the device is online", s.at(t, "state"), is("online"))
	if err := s.service.DeleteDevice(t.Context(), "device-3"); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"the name of another device": register(t, b.Addr(), endpoint, coap.PSK("device-2", other)),
		"the key of another device":  register(t, b.Addr(), endpoint, coap.PSK(endpoint, other)),
		"a stranger":                 register(t, b.Addr(), "stranger", coap.PSK("stranger", other)),
		"a device that was deleted":  register(t, b.Addr(), "device-3", coap.PSK("device-3", former)),
		"nobody":                     register(t, b.Addr(), endpoint, coap.PSK("", other)),
		"a path":                     register(t, b.Addr(), "..", coap.PSK("..", other)),
	} {
		if err == nil {
			t.Errorf("%s: registered", name)
		}
	}
	s.desire(t, wish(map[string]any{"version": "2.0.0"}))
	eventually(t, "a wish over DTLS", s.wishes, last("2.0.0"))
	s.set(objects.ComponentStale, lwm2m.Bool(true))
	eventually(t, "a notification over DTLS", s.at(t, "state"), is("updating"))
	stop()
	eventually(t, "the device has gone", s.at(t, "state"), is("offline"))
}

// TestRoom has one device more than there is room for.
func TestRoom(t *testing.T) {
	h, _ := startHub(t, t.TempDir(), "127.0.0.1:0", "127.0.0.1:0")
	create(t, iothub.NewClient(connection(t, h, hub.PolicyOwner)), "a")
	b, err := New(Config{
		Hub: connection(t, h, hub.PolicyDevice), Listen: "127.0.0.1:0", Log: quiet,
		AckTimeout: ackTimeout, MaxDevices: 1, MaxLifetime: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	background(t, b.Serve)
	address := "coap://" + b.Addr()
	for range 2 { // again is not one more
		if err := register(t, address, "a"); err != nil {
			t.Fatal(err)
		}
	}
	if err := register(t, address, "b"); !errors.Is(err, &lwm2m.Error{Code: lwm2m.CodeUnavailable}) {
		t.Errorf("the second of one: %v", err)
	}
}

// TestStrangersGiveWay: whoever registers endpoints that the hub does not know takes no
// room from those that it does.
func TestStrangersGiveWay(t *testing.T) {
	t.Parallel()
	h, _ := startHub(t, t.TempDir(), "127.0.0.1:0", "127.0.0.1:0")
	s := system{service: iothub.NewClient(connection(t, h, hub.PolicyOwner))}
	create(t, s.service, endpoint)
	b, err := New(Config{Hub: connection(t, h, hub.PolicyDevice), Listen: "127.0.0.1:0", Log: quiet, AckTimeout: ackTimeout, MaxDevices: maxStrangers + 10})
	if err != nil {
		t.Fatal(err)
	}
	background(t, b.Serve)
	stranger, err := coap.Dial("coap://" + b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stranger.Close() })
	background(t, func(ctx context.Context) error { return stranger.Serve(ctx, deaf{}) })
	for i := range maxStrangers + 100 {
		eventually(t, "one more", func() error {
			m := &lwm2m.Message{Code: lwm2m.Post, Path: []string{"rd"}, Query: []string{fmt.Sprintf("ep=nobody-%d", i), "lwm2m=1.1"}}
			answer, err := stranger.Exchange(t.Context(), b.Addr(), m)
			if err == nil && answer.Code != lwm2m.CodeCreated {
				err = &lwm2m.Error{Code: answer.Code}
			}
			return err
		}, func(err error) bool { return err == nil })
	}
	s.device, _ = startDevice(t, "coap://"+b.Addr())
	eventually(t, "the device is online", s.at(t, "state"), is("online"))
}
