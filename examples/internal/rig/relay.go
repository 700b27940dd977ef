package rig

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

// A Relay passes the datagrams of a device on to a server, and can be cut: a
// network that is there or not.
type Relay struct {
	front   net.PacketConn
	server  string
	cut     atomic.Bool
	running sync.WaitGroup
}

// NewRelay begins to pass datagrams on to server, host:port.
func NewRelay(server string) (*Relay, error) {
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Relay{front: front, server: server}
	r.running.Go(r.forward)
	return r, nil
}

// Addr is where the device finds the relay, host:port.
func (r *Relay) Addr() string { return r.front.LocalAddr().String() }

// Cut has nothing pass from now on, or everything again.
func (r *Relay) Cut(cut bool) { r.cut.Store(cut) }

// Close ends the relay.
func (r *Relay) Close() {
	r.front.Close()
	r.running.Wait()
}

func (r *Relay) forward() {
	behind := map[string]net.Conn{}
	defer func() {
		for _, c := range behind {
			c.Close()
		}
	}()
	for b := make([]byte, 64<<10); ; {
		n, from, err := r.front.ReadFrom(b)
		if err != nil {
			return
		}
		c := behind[from.String()]
		if c == nil {
			if c, err = net.Dial("udp", r.server); err != nil {
				return
			}
			behind[from.String()] = c
			r.running.Go(func() { r.back(c, from) })
		}
		if !r.cut.Load() {
			_, _ = c.Write(b[:n])
		}
	}
}

func (r *Relay) back(c net.Conn, to net.Addr) {
	for b := make([]byte, 64<<10); ; {
		n, err := c.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && !r.cut.Load() { // a server that is away is no error
			_, _ = r.front.WriteTo(b[:n], to)
		}
	}
}
