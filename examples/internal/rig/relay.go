package rig

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
)

// A Relay passes the datagrams of a device on to a server, and can be cut: a
// network that is there or not. It is also what a NAT is, which may forget.
type Relay struct {
	front   net.PacketConn
	server  string
	running sync.WaitGroup

	mu     sync.Mutex
	behind map[string]net.Conn // by the device's address
	cut    bool
	loss   float64
	dice   *rand.Rand
}

// NewRelay begins to pass datagrams on to server, host:port.
func NewRelay(server string) (*Relay, error) { return NewRelayAt("127.0.0.1:0", server) }

// NewRelayAt has the device find the relay at an address, host:port.
func NewRelayAt(address, server string) (*Relay, error) {
	front, err := net.ListenPacket("udp", address)
	if err != nil {
		return nil, err
	}
	r := &Relay{front: front, server: server, behind: map[string]net.Conn{}}
	r.running.Go(r.forward)
	return r, nil
}

// Addr is where the device finds the relay, host:port.
func (r *Relay) Addr() string { return r.front.LocalAddr().String() }

// Cut has nothing pass from now on, or everything again.
func (r *Relay) Cut(cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut = cut
}

// Lose has a share of the datagrams, 0 to 1, get lost in each direction, as a seed says.
func (r *Relay) Lose(share float64, seed uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loss, r.dice = share, rand.New(rand.NewPCG(seed, 0))
}

// Rebind has the server see the device at another port from now on, and what it sends to
// the former one get lost.
func (r *Relay) Rebind() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.behind {
		c.Close()
	}
	clear(r.behind)
}

// Close ends the relay.
func (r *Relay) Close() {
	r.front.Close()
	r.Rebind()
	r.running.Wait()
}

// passes decides the fate of a datagram.
func (r *Relay) passes() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.cut && (r.loss == 0 || r.dice.Float64() >= r.loss)
}

func (r *Relay) forward() {
	defer r.Rebind()
	for b := make([]byte, 64<<10); ; {
		n, from, err := r.front.ReadFrom(b)
		if err != nil {
			return
		}
		c, err := r.way(from)
		if err != nil {
			return
		}
		if r.passes() {
			_, _ = c.Write(b[:n])
		}
	}
}

// way is the socket that the server sees in place of the device's.
func (r *Relay) way(from net.Addr) (net.Conn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.behind[from.String()]; c != nil {
		return c, nil
	}
	c, err := net.Dial("udp", r.server)
	if err != nil {
		return nil, err
	}
	r.behind[from.String()] = c
	r.running.Go(func() { r.back(c, from) })
	return c, nil
}

func (r *Relay) back(c net.Conn, to net.Addr) {
	for b := make([]byte, 64<<10); ; {
		n, err := c.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && r.passes() { // a server that is away is no error
			_, _ = r.front.WriteTo(b[:n], to)
		}
	}
}
