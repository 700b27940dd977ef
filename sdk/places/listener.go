package places

import (
	"net"
	"net/netip"
	"sync"
)

// Listen accepts as many connections of l as the crowd has room for, and closes others.
func (c *Crowd) Listen(l net.Listener) net.Listener { return crowded{l, c} }

type crowded struct {
	net.Listener
	crowd *Crowd
}

func (c crowded) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		from, _ := netip.ParseAddrPort(conn.RemoteAddr().String())
		if c.crowd.Enter(from.Addr()) == nil {
			return &Guest{Conn: conn, Leave: sync.OnceFunc(func() { c.crowd.Leave(from.Addr()) })}, nil
		}
		conn.Close()
	}
}

// A Guest is a connection of a crowd. It leaves that when it is closed, or before.
type Guest struct {
	net.Conn
	Leave func()
}

// Close implements net.Conn.
func (g *Guest) Close() error {
	defer g.Leave()
	return g.Conn.Close()
}
