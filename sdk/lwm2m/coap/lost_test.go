package coap_test

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// A nat stands before a server: each socket of a device has one of its own there.
type nat struct {
	front   *net.UDPConn
	server  *net.UDPAddr
	workers sync.WaitGroup
	deaf    atomic.Bool // alerts of the server are lost
	silent  atomic.Bool // all is lost
	one     bool        // it has one address for all

	mu   sync.Mutex
	back map[string]*net.UDPConn // by the device's address
	last *net.UDPAddr            // who sent last
}

func startNAT(t *testing.T, server string, one bool) *nat {
	t.Helper()
	n := &nat{one: one, back: map[string]*net.UDPConn{}}
	var err error
	if n.server, err = net.ResolveUDPAddr("udp", server); err != nil {
		t.Fatal(err)
	}
	if n.front, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	n.workers.Go(func() { n.forward(t) })
	t.Cleanup(func() {
		n.front.Close()
		n.mu.Lock()
		for _, back := range n.back {
			back.Close()
		}
		n.mu.Unlock()
		n.workers.Wait()
	})
	return n
}

func (n *nat) forward(t *testing.T) {
	b := make([]byte, 1<<16)
	for {
		size, from, err := n.front.ReadFromUDP(b)
		if err != nil {
			return
		}
		name := from.String()
		if n.one {
			name = "all"
		}
		n.mu.Lock()
		n.last = from
		back := n.back[name]
		if back == nil {
			if back, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
				t.Error(err)
				return
			}
			n.back[name] = back
			n.workers.Go(func() { n.backward(back, from) })
		}
		n.mu.Unlock()
		if !n.silent.Load() {
			_, _ = back.WriteToUDP(b[:size], n.server)
		}
	}
}

func (n *nat) backward(back *net.UDPConn, to *net.UDPAddr) {
	b := make([]byte, 1<<16)
	for {
		size, _, err := back.ReadFromUDP(b)
		if err != nil {
			return
		}
		if n.one {
			n.mu.Lock()
			to = n.last
			n.mu.Unlock()
		}
		if !n.silent.Load() && (b[0] != 21 || !n.deaf.Load()) {
			_, _ = n.front.WriteToUDP(b[:size], to)
		}
	}
}

// kill ends a server so that no device hears of it.
func kill(s *server, n *nat) {
	n.deaf.Store(true)
	s.stop()
}

// TestKilledServer: a device over DTLS whose server was killed makes another session when
// the server is there again: at once, if the server remembers it, else with its next
// message; not with the next update, a day later.
func TestKilledServer(t *testing.T) {
	for name, remembers := range map[string]bool{"remembers": true, "has forgotten": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change := func(*lwm2m.ServerConfig) {}
			if remembers {
				change = keeping(t, t.TempDir())
			}
			s := startServerAt(t, "coaps://127.0.0.1:0", change, coap.PSKs(keys), patient())
			n := startNAT(t, s.address, false)
			d := startDevice(t, "coaps://"+n.front.LocalAddr().String(), func(c *lwm2m.ClientConfig) { c.Lifetime = 24 * time.Hour },
				coap.PSK("device-1", secret), coap.WithTransmission(coap.Transmission{AckTimeout: time.Hour}))
			var box inbox
			if _, err := s.event(t, lwm2m.Registered).Device.Observe(deadline(t), version, box.put); err != nil {
				t.Fatal(err)
			}
			kill(s, n)
			s = startServerAt(t, "coaps://"+s.address, change, coap.PSKs(keys), patient())
			d.component.SetValue(0, objects.ComponentVersion, lwm2m.String("2.0.0"))
			if remembers {
				s.event(t, lwm2m.Restored)
			} else {
				d.Changed(version) // whatever it has to say
			}
			remote := s.event(t, lwm2m.Registered).Device
			if _, err := remote.Observe(deadline(t), version, box.put); err != nil {
				t.Fatal(err)
			}
			box.await(t, version, lwm2m.String("2.0.0"))
		})
	}
}

// TestForgedHelloRequest: anybody can have a device make another session, once a minute,
// with its own server only; nothing is lost by that.
func TestForgedHelloRequest(t *testing.T) {
	t.Parallel()
	s := startSecureServer(t, "coaps://127.0.0.1:0", coap.PSKs(keys), patient())
	n := startNAT(t, s.address, false)
	d := startDevice(t, "coaps://"+n.front.LocalAddr().String(), nil, coap.PSK("device-1", secret), patient())
	s.event(t, lwm2m.Registered)
	eventually(t, "the device is registered", d.Registered)
	const forged = "\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	device, err := net.ResolveUDPAddr("udp", d.conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	forge := func() {
		_, _ = n.front.WriteToUDP([]byte(forged), &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: device.Port})
	}
	forge()
	remote := s.event(t, lwm2m.Registered).Device
	for range 20 {
		forge()
	}
	exercise(t, d, remote)
	for len(s.events) > 0 {
		if e := <-s.events; e.Kind == lwm2m.Registered {
			t.Error("the device has registered once more")
		}
	}
}
