package coap_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

func TestUpdate(t *testing.T) {
	s, d, remote := connect(t, func(c *lwm2m.ClientConfig) { c.Lifetime = 2 * time.Second })
	if e := s.event(t, lwm2m.Updated); e.Device != remote || e.Registration.Lifetime != 2*time.Second {
		t.Errorf("update %+v", e.Registration)
	}
	d.component.SetValue(1, objects.ComponentName, lwm2m.String("firmware/base"))
	d.ObjectsChanged()
	for added := false; !added; {
		for _, p := range s.event(t, lwm2m.Updated).Registration.Objects {
			added = added || p == lwm2m.NewPath(objects.ComponentUpdateID, 1)
		}
	}
	lifetime := lwm2m.NewPath(objects.ServerID, 0, objects.ServerLifetime)
	if err := remote.Write(deadline(t), lifetime, lwm2m.Replace, []lwm2m.Record{{Path: lifetime, Value: lwm2m.Int(77)}}); err != nil {
		t.Fatal(err)
	}
	for s.event(t, lwm2m.Updated).Registration.Lifetime != 77*time.Second {
		continue
	}
	if err := remote.Execute(deadline(t), lwm2m.NewPath(objects.ServerID, 0, objects.ServerUpdateTrigger), ""); err != nil {
		t.Fatal(err)
	}
	s.event(t, lwm2m.Updated)
}

// register sends a bare Register request over its own socket.
func register(t *testing.T, s *server, query ...string) (*lwm2m.Message, *coap.Conn, func()) {
	t.Helper()
	conn, err := coap.Dial("coap://"+s.address, quick())
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, conn, func(ctx context.Context, tr lwm2m.Transport) error { return tr.Serve(ctx, deaf{}) })
	answer, err := conn.Exchange(deadline(t), s.address, &lwm2m.Message{Code: lwm2m.Post, Path: []string{"rd"}, Query: query})
	if err != nil {
		t.Fatal(err)
	}
	return answer, conn, stop
}

// deaf refuses everything.
type deaf struct{}

func (deaf) ServeRequest(context.Context, string, *lwm2m.Message) *lwm2m.Message {
	return &lwm2m.Message{Code: lwm2m.CodeNotFound}
}

func (deaf) ServeNotification(_ string, _ *lwm2m.Message, done func(lwm2m.Reception)) {
	done(lwm2m.Refused)
}

func TestExpiry(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	if answer, _, _ := register(t, s, "ep=silent", "lt=1", "lwm2m=1.1"); answer.Code != lwm2m.CodeCreated {
		t.Fatal(answer.Code)
	}
	registered := s.event(t, lwm2m.Registered)
	s.event(t, lwm2m.Expired)
	if after := time.Since(registered.Registration.Registered); after < time.Second {
		t.Errorf("expired after %v", after)
	}
	if len(s.Devices()) != 0 {
		t.Error("an expired device is still there")
	}
}

func TestRegisterRefusals(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	for query, want := range map[string]lwm2m.Code{
		"lwm2m=1.1":            lwm2m.CodeBadRequest,
		"ep=a":                 lwm2m.CodePreconditionFailed,
		"ep=a lwm2m=2.0":       lwm2m.CodePreconditionFailed,
		"ep=a lwm2m=1.1 lt=0":  lwm2m.CodeBadRequest,
		"ep=a lwm2m=1.1 lt=-5": lwm2m.CodeBadRequest,
	} {
		if answer, _, stop := register(t, s, strings.Fields(query)...); answer.Code != want {
			t.Errorf("%q: %v, want %v", query, answer.Code, want)
			stop()
		}
	}
	if len(s.Devices()) != 0 {
		t.Error("a refused device is in the table")
	}
}

// TestRegistrationLimits: what a server holds of devices is bounded in number, in
// time and in size; who is refused is told why.
func TestRegistrationLimits(t *testing.T) {
	s := startServerWith(t, func(c *lwm2m.ServerConfig) { c.MaxDevices, c.MaxLifetime = 2, time.Hour })
	var bye func()
	for _, tt := range []struct {
		query string
		want  lwm2m.Code
	}{
		{"ep=a lwm2m=1.1 lt=3600", lwm2m.CodeCreated},
		{"ep=b lwm2m=1.1 lt=3601", lwm2m.CodeBadRequest},
		{"ep=b lwm2m=1.1 lt=60", lwm2m.CodeCreated},
		{"ep=c lwm2m=1.1 lt=60", lwm2m.CodeUnavailable},
		{"ep=a lwm2m=1.1 lt=60", lwm2m.CodeCreated}, // anew
	} {
		answer, conn, _ := register(t, s, strings.Fields(tt.query)...)
		if answer.Code != tt.want {
			t.Errorf("%q: %v %s, want %v", tt.query, answer.Code, answer.Payload, tt.want)
		}
		exchange := func(m *lwm2m.Message) lwm2m.Code {
			m.Path = answer.Location
			r, err := conn.Exchange(deadline(t), s.address, m)
			if err != nil {
				t.Fatal(err)
			}
			return r.Code
		}
		if tt.want == lwm2m.CodeCreated {
			if code := exchange(&lwm2m.Message{Code: lwm2m.Post, Query: []string{"lt=3601"}}); code != lwm2m.CodeBadRequest {
				t.Errorf("an update to a longer lifetime: %v", code)
			}
			links := strings.Repeat("</3303/0>,", 10_000) + "</3303/1>"
			if code := exchange(&lwm2m.Message{Code: lwm2m.Post, Format: new(lwm2m.FormatLink), Payload: []byte(links)}); code != lwm2m.CodeTooLarge {
				t.Errorf("a list of 10,001 links: %v", code)
			}
			bye = func() { exchange(&lwm2m.Message{Code: lwm2m.Delete}) }
		}
	}
	bye()
	if answer, _, _ := register(t, s, "ep=c", "lwm2m=1.1"); answer.Code != lwm2m.CodeBadRequest {
		t.Errorf("the default lifetime, a day, is too long here: %v", answer.Code)
	}
	if answer, _, _ := register(t, s, "ep=c", "lwm2m=1.1", "lt=60"); answer.Code != lwm2m.CodeCreated {
		t.Errorf("a device after another has gone: %v", answer.Code)
	}
}

// TestNewPort moves a registration to another address by an update.
func TestNewPort(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	answer, _, stop := register(t, s, "ep=nat", "lwm2m=1.1")
	before := s.event(t, lwm2m.Registered)
	stop()
	conn, err := coap.Dial("coap://"+s.address, quick())
	if err != nil {
		t.Fatal(err)
	}
	run(t, conn, func(ctx context.Context, tr lwm2m.Transport) error { return tr.Serve(ctx, deaf{}) })
	update := &lwm2m.Message{Code: lwm2m.Post, Path: answer.Location}
	if r, err := conn.Exchange(deadline(t), s.address, update); err != nil || r.Code != lwm2m.CodeChanged {
		t.Fatal(r, err)
	}
	if e := s.event(t, lwm2m.Updated); e.Device != before.Device || e.Registration.Address != conn.LocalAddr().String() {
		t.Errorf("the registration is at %s, the device at %s", e.Registration.Address, conn.LocalAddr())
	}
	_, err = before.Device.Read(deadline(t), version)
	wantCode(t, "reaches the device at its new address", err, lwm2m.CodeNotFound)
}

func TestServerRestart(t *testing.T) {
	registrations := make(chan bool, 8)
	s, d, remote := connect(t, func(c *lwm2m.ClientConfig) {
		c.Lifetime = 3 * time.Second
		c.OnRegistered = func(yes bool) {
			if yes {
				registrations <- true
			}
		}
	})
	var box inbox
	if _, err := remote.Observe(deadline(t), version, box.put); err != nil {
		t.Fatal(err)
	}
	s.stop()
	d.component.SetValue(0, objects.ComponentVersion, lwm2m.String("2.0.0"))
	delivered := make(chan error, 1)
	go func() { delivered <- d.Deliver(deadline(t), version) }()
	s = startServer(t, s.address)
	remote = s.event(t, lwm2m.Registered).Device
	if _, err := remote.Observe(deadline(t), version, box.put); err != nil {
		t.Fatal(err)
	}
	if err := <-delivered; err != nil {
		t.Fatal(err)
	}
	box.await(t, version, lwm2m.String("2.0.0"))
	for n := range 2 { // the device may hear of it after the server
		select {
		case <-registrations:
		case <-deadline(t).Done():
			t.Fatalf("OnRegistered told of %d registrations", n)
		}
	}
	d.stop() // while the server can hear it
}

// TestStrangeRegistrars: only 2.01 with a location that can be used is a registration.
func TestStrangeRegistrars(t *testing.T) {
	t.Parallel()
	answers := make(chan *lwm2m.Message, 5)
	for _, m := range []*lwm2m.Message{
		{Code: lwm2m.CodeCreated},
		{Code: lwm2m.CodeChanged, Location: []string{"rd", "1"}},
		{Code: lwm2m.CodeCreated, Location: []string{"rd", strings.Repeat("x", 250), strings.Repeat("x", 250), strings.Repeat("x", 250)}},
		{Code: lwm2m.CodeCreated, Location: []string{"rd", "good"}},
	} {
		answers <- m
	}
	conn, err := coap.Listen("127.0.0.1:0", quick())
	if err != nil {
		t.Fatal(err)
	}
	run(t, conn, func(ctx context.Context, tr lwm2m.Transport) error { return tr.Serve(ctx, registrar(answers)) })
	d := startDevice(t, conn.LocalAddr().String(), nil)
	eventually(t, "the device is registered", d.Registered)
	if n := len(answers); n > 0 {
		t.Errorf("%d answers before the good one", n)
	}
}

// registrar gives one answer after the other; all that follows is taken.
type registrar chan *lwm2m.Message

func (r registrar) ServeRequest(context.Context, string, *lwm2m.Message) *lwm2m.Message {
	select {
	case m := <-r:
		return m
	default:
		return &lwm2m.Message{Code: lwm2m.CodeDeleted}
	}
}

func (registrar) ServeNotification(_ string, _ *lwm2m.Message, done func(lwm2m.Reception)) {
	done(lwm2m.Refused)
}

// TestClientRestart lets a device crash: its registration and its observations
// are replaced.
func TestClientRestart(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	_, _, stop := register(t, s, "ep=device-1", "lwm2m=1.1")
	old := s.event(t, lwm2m.Registered).Device
	stop()
	startDevice(t, s.address, nil)
	fresh := s.event(t, lwm2m.Registered).Device
	if fresh == old || len(s.Devices()) != 1 {
		t.Error("the former registration must be replaced")
	}
	if _, err := old.Read(deadline(t), version); !errors.Is(err, lwm2m.ErrGone) {
		t.Errorf("Read by the former registration: %v", err)
	}
	if _, err := fresh.Read(deadline(t), version); err != nil {
		t.Error(err)
	}
}

// TestGoneEndsOperations replaces a registration while an operation waits.
func TestGoneEndsOperations(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	_, _, stop := register(t, s, "ep=x", "lwm2m=1.1")
	old := s.event(t, lwm2m.Registered).Device
	stop()
	done := make(chan error, 1)
	go func() { _, err := old.Read(deadline(t), version); done <- err }()
	register(t, s, "ep=x", "lwm2m=1.1")
	if err := <-done; !errors.Is(err, lwm2m.ErrGone) {
		t.Errorf("Read: %v", err)
	}
}

func TestStrangerIsRefused(t *testing.T) {
	s, d, _ := connect(t, nil)
	_, conn, _ := register(t, s, "ep=stranger", "lwm2m=1.1")
	answer, err := conn.Exchange(deadline(t), d.conn.LocalAddr().String(), &lwm2m.Message{Code: lwm2m.Get, Path: []string{"26250", "0", "1"}})
	if err != nil || answer.Code != lwm2m.CodeUnauthorized {
		t.Errorf("a stranger reads: %v, %v", answer, err)
	}
}

func TestNoSecIsAskedFor(t *testing.T) {
	if c, err := coap.Listen("0.0.0.0:0"); err == nil {
		t.Error("listens on all addresses in plaintext without being told to")
		c.Close()
	}
	if c, err := coap.Dial("coap://192.0.2.1:5683"); err == nil {
		t.Error("talks to another machine in plaintext without being told to")
		c.Close()
	}
	if c, err := coap.Dial("coaps://127.0.0.1:5684"); err == nil {
		t.Error("coaps is not supported")
		c.Close()
	}
	c, err := coap.Listen("0.0.0.0:0", coap.NoSec())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// TestMalformedDatagrams shows that noise does not disturb a server.
func TestMalformedDatagrams(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	conn, err := net.Dial("udp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, b := range []string{"", "x", "\x40\x01", "\x4f\x01\x00\x01", "\x40\x01\x00\x02\xff\xff\xff", "\x48\x02\x00\x03rd", "\x60\x45\x00\x01", "\xff\xff\xff\xff"} {
		if _, err := conn.Write([]byte(b)); err != nil {
			t.Fatal(err)
		}
	}
	if answer, _, _ := register(t, s, "ep=a", "lwm2m=1.1"); answer.Code != lwm2m.CodeCreated {
		t.Error(answer.Code)
	}
}

// TestDuplicateRequests sends one datagram many times: it is done once.
func TestDuplicateRequests(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	conn, err := net.Dial("udp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	datagram := []byte("\x41\x02\x12\x34T\xb2rd\x44ep=a\x09lwm2m=1.1")
	answers := map[string]bool{}
	for range 5 {
		if _, err := conn.Write(datagram); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 200)
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		answers[string(b[:n])] = true
	}
	if len(answers) != 1 {
		t.Errorf("%d different answers to one request", len(answers))
	}
	s.event(t, lwm2m.Registered)
	if len(s.events) != 0 {
		t.Error("a repeated request was done again")
	}
}

// TestRestartedPeer: a peer that has started again may use a message id anew
// within minutes; it gets the answer to what it asks now.
func TestRestartedPeer(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	conn, err := net.Dial("udp", s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, endpoint := range []string{"a", "b"} {
		if _, err := conn.Write([]byte("\x41\x02\x12\x34T\xb2rd\x44ep=" + endpoint + "\x09lwm2m=1.1")); err != nil {
			t.Fatal(err)
		}
		if e := s.event(t, lwm2m.Registered); e.Registration.Endpoint != endpoint {
			t.Errorf("registered %q, not %q", e.Registration.Endpoint, endpoint)
		}
	}
}
