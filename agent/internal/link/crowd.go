package link

import (
	"net"
	"sync"

	"golang.org/x/sys/unix"
)

// What may be open at a socket, of all users of this machine and of one of them: a
// component that forgets its connections costs the agent neither its descriptors nor
// its memory.
const (
	maxOpen     = 512
	maxOpenEach = 256
)

// A crowd accepts so many connections, and closes others.
type crowd struct {
	net.Listener

	mu  sync.Mutex
	all int
	of  map[uint32]int // by user
}

func (c *crowd) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if user := userOf(conn); c.enter(user) {
			return &guest{Conn: conn, leave: sync.OnceFunc(func() { c.leave(user) })}, nil
		}
		conn.Close()
	}
}

func (c *crowd) enter(user uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all >= maxOpen || c.of[user] >= maxOpenEach {
		return false
	}
	c.all++
	c.of[user]++
	return true
}

func (c *crowd) leave(user uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.of[user]--; c.of[user] == 0 {
		delete(c.of, user)
	}
}

// userOf is who has connected; nobody knows of some, who are one user then.
func userOf(conn net.Conn) uint32 {
	user := ^uint32(0)
	unixConn, is := conn.(*net.UnixConn)
	if !is {
		return user
	}
	if raw, err := unixConn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			if peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
				user = peer.Uid
			}
		})
	}
	return user
}

// A guest leaves the crowd when it is closed.
type guest struct {
	net.Conn
	leave func()
}

func (g *guest) Close() error {
	defer g.leave()
	return g.Conn.Close()
}
