package coap

import "net"

// Conn is an [lwm2m.Transport] on one UDP socket.
type Conn struct{}

// Listen opens a server's socket on a UDP address such as "127.0.0.1:5683" or
// ":5683". An address that is not loopback needs [NoSec].
func Listen(address string, options ...Option) (*Conn, error) { panic("soon") }

// Dial opens a device's socket for a server such as "coap://127.0.0.1:5683" (the
// port defaults to 5683). A server that is not on loopback needs [NoSec].
func Dial(server string, options ...Option) (*Conn, error) { panic("soon") }

// LocalAddr is the socket's address.
func (c *Conn) LocalAddr() net.Addr { panic("soon") }
