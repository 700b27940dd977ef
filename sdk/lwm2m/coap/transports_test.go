package coap_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// transport is one way for LwM2M: what a server listens with, and a device dials.
type transport struct {
	scheme, host   string
	server, client []coap.Option
}

func transports(t *testing.T) map[string]transport {
	t.Helper()
	root := newAuthority(t, "root", nil)
	certificate := func(name string) []coap.Option {
		return []coap.Option{coap.Certificate(root.issue(t, name), root.pool())}
	}
	return map[string]transport{
		"UDP":               {scheme: "coap://", host: "127.0.0.1"},
		"DTLS, PSK":         {"coaps://", "127.0.0.1", []coap.Option{coap.PSKs(keys)}, []coap.Option{coap.PSK("device-1", secret)}},
		"DTLS, certificate": {"coaps://", "localhost", certificate("localhost"), certificate("device-1")},
		"TCP":               {scheme: "coap+tcp://", host: "127.0.0.1"},
		"TLS":               {"coaps+tcp://", "localhost", certificate("localhost"), certificate("device-1")},
	}
}

func (tr transport) serve(t *testing.T, port string) *server {
	t.Helper()
	return startServerAt(t, tr.scheme+"127.0.0.1:"+port, func(*lwm2m.ServerConfig) {}, append(tr.server, patient())...)
}

func (tr transport) dial(t *testing.T, s *server) *device {
	t.Helper()
	_, port, _ := net.SplitHostPort(s.address)
	return startDevice(t, tr.scheme+net.JoinHostPort(tr.host, port), nil, append(tr.client, patient())...)
}

// TestTransports does everything over every transport, also when the server starts
// again.
func TestTransports(t *testing.T) {
	for name, tr := range transports(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tr.serve(t, "0")
			d := tr.dial(t, s)
			e := s.event(t, lwm2m.Registered)
			if strings.HasPrefix(tr.scheme, "coaps") != (e.Registration.Identity == "device-1") {
				t.Errorf("the identity is %q", e.Registration.Identity)
			}
			if strings.Contains(tr.scheme, "tcp") != (e.Registration.Binding == "T") {
				t.Errorf("the binding is %q", e.Registration.Binding)
			}
			operate(t, d, e.Device)
			exercise(t, d, e.Device)
			s.stop()
			_, port, _ := net.SplitHostPort(s.address)
			s = tr.serve(t, port)
			if e.Registration.Binding == "U" { // else the device knows that the connection is lost
				d.ObjectsChanged()
			}
			exercise(t, d, registration(t, s))
			d.stop()
			for e := range s.events {
				if e.Kind == lwm2m.Deregistered {
					break
				}
			}
		})
	}
}

// registration waits for a device, which may register more than once.
func registration(t *testing.T, s *server) *lwm2m.Device {
	t.Helper()
	eventually(t, "the device registers anew", func() bool { _, ok := s.Device("device-1"); return ok })
	d, _ := s.Device("device-1")
	return d
}

// operate does what exercise leaves out.
func operate(t *testing.T, d *device, remote *lwm2m.Device) {
	t.Helper()
	ctx := deadline(t)
	executed := make(chan string, 1)
	d.hook(nil, func(_ context.Context, p lwm2m.Path, arguments string) error {
		executed <- p.String() + " " + arguments
		return nil
	})
	if err := remote.Execute(ctx, component.Child(objects.ComponentCheckNow), "0='x'"); err != nil {
		t.Fatal(err)
	}
	if got := <-executed; got != "/26250/0/9 0='x'" {
		t.Errorf("executed %q", got)
	}
	if links, err := remote.Discover(ctx, component); err != nil || len(links) == 0 {
		t.Errorf("discovered %v, %v", links, err)
	}
	records, err := remote.ReadComposite(ctx, reading, version)
	if err != nil || len(records) != 2 {
		t.Errorf("read %v, %v", records, err)
	}
	_, err = remote.Read(ctx, lwm2m.NewPath(3303, 9))
	wantCode(t, "what is not there", err, lwm2m.CodeNotFound)
	for _, size := range []int{1024, 1025, 60_000, 200_000} { // the last is longer than a message over TCP
		writeAndRead(t, remote, fmt.Sprintf("%0*d", size, 7))
	}
	box := new(inbox)
	if _, err := remote.Observe(ctx, reading, box.put); err != nil {
		t.Fatal(err)
	}
	if err := remote.CancelObserve(ctx, reading); err != nil {
		t.Error(err)
	}
	before := box.count()
	d.sensor.Reading(0, 30, "Cel", time.Now())
	d.Changed(reading)
	if _, err := remote.Read(ctx, reading); err != nil || box.count() > max(before, 1) {
		t.Errorf("%d values after the end of an observation, %v", box.count()-before, err)
	}
}

// TestConnectionLost: a device over TCP that loses its connection registers anew at
// once, and whoever waits for it learns that it is away.
func TestConnectionLost(t *testing.T) {
	s := startServer(t, "coap+tcp://127.0.0.1:0")
	ended := make(chan struct{})
	relay, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { relay.Close(); <-ended })
	connected := make(chan net.Conn, 10)
	go func() {
		defer close(ended)
		relayTCP(relay, s.address, connected)
	}()
	d := startDevice(t, "coap+tcp://"+relay.Addr().String(), nil)
	e := s.event(t, lwm2m.Registered)
	first := <-connected
	started := make(chan struct{})
	d.hook(nil, func(ctx context.Context, _ lwm2m.Path, _ string) error {
		close(started)
		<-ctx.Done()
		return ctx.Err()
	})
	done := make(chan error, 1)
	go func() { done <- e.Device.Execute(deadline(t), component.Child(objects.ComponentCancel), "") }()
	<-started
	first.Close()
	if err := <-done; err == nil {
		t.Error("executed over a connection that was lost")
	}
	if again := s.event(t, lwm2m.Registered); again.Device == e.Device {
		t.Error("the device did not register anew")
	}
	d.stop()
}

// relayTCP passes connections on to an address, and gives each to connected.
func relayTCP(relay net.Listener, address string, connected chan<- net.Conn) {
	for {
		front, err := relay.Accept()
		if err != nil {
			return
		}
		back, err := net.Dial("tcp", address)
		if err != nil {
			front.Close()
			continue
		}
		connected <- front
		pass := func(to, from net.Conn) {
			b := make([]byte, 1<<16)
			for {
				n, err := from.Read(b)
				if err != nil {
					to.Close()
					from.Close()
					return
				}
				_, _ = to.Write(b[:n])
			}
		}
		go pass(back, front)
		go pass(front, back)
	}
}

// TestFrames speaks to a server byte by byte: capabilities first, then pings and
// requests; what is no CoAP is answered by an abort and ends that connection alone.
func TestFrames(t *testing.T) {
	s := startServer(t, "coap+tcp://127.0.0.1:0")
	for name, tt := range map[string]struct{ send, want string }{
		"ping":                     {"\x00\xe1\x01\xe2T", "\x01\xe3T"},
		"registration":             {"\x00\xe1\xd1\x05\x02T\xb2rd\x44ep=a\x09lwm2m=1.1", "\x41T"},
		"empty message, then ping": {"\x00\xe1\x00\x00\x01\xe2T", "\x01\xe3T"},
		"no capabilities":          {"\x01\xe2T", "\x00\xe5"},
		"critical capability":      {"\x10\xe1\x10", "\x00\xe5"},
		"token too long":           {"\x00\xe1\x0f\x01", "\x00\xe5"},
		"message too long":         {"\x00\xe1\xf0\xff\xff\xff\xff\x01", "\x00\xe5"},
		"broken options":           {"\x00\xe1\x10\x01\xf0", "\x00\xe5"},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", s.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte(tt.send)); err != nil {
				t.Fatal(err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			var got []byte
			for b := make([]byte, 200); !strings.Contains(string(got), tt.want); {
				n, err := conn.Read(b)
				got = append(got, b[:n]...)
				if err != nil {
					break
				}
			}
			if !strings.Contains(string(got), tt.want) {
				t.Errorf("got %x, want %x in it", got, tt.want)
			}
		})
	}
}
