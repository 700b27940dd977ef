package coap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"
)

// DefaultPort is CoAP's port.
const DefaultPort = "5683"

var errNoSec = errors.New("plaintext CoAP beyond this machine needs the NoSec option")

// Listen opens a server's socket on a UDP address such as "127.0.0.1:5683" or
// ":5683". An address that is not loopback needs [NoSec].
func Listen(address string, options ...Option) (*Conn, error) {
	c, err := listen(address, newSettings(options))
	if err != nil {
		return nil, fmt.Errorf("cannot listen for CoAP on %q: %w", address, err)
	}
	return c, nil
}

func listen(address string, s settings) (*Conn, error) {
	a, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	if !a.IP.IsLoopback() && !s.insecure {
		return nil, errNoSec
	}
	return newConn(unmap(a), s)
}

// Dial opens a device's socket for a server such as "coap://127.0.0.1:5683" (the
// port defaults to 5683). A server that is not on loopback needs [NoSec].
func Dial(server string, options ...Option) (*Conn, error) {
	s := newSettings(options)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if s.insecure { // where the server is may change, or not be known yet
		c, err := newConn(netip.AddrPort{}, s)
		if err != nil {
			return nil, fmt.Errorf("cannot open a CoAP socket: %w", err)
		}
		return c, nil
	}
	to, err := resolve(ctx, server, s)
	if err != nil {
		return nil, err
	}
	c, err := newConn(netip.AddrPortFrom(to.Addr(), 0), s)
	if err != nil {
		return nil, fmt.Errorf("cannot open a CoAP socket for %q: %w", server, err)
	}
	return c, nil
}

// Resolve implements [lwm2m.Transport] for coap://host[:port] and host:port.
func (c *Conn) Resolve(ctx context.Context, address string) (string, error) {
	to, err := resolve(ctx, address, c.settings)
	if err != nil {
		return "", err
	}
	return to.String(), nil
}

func resolve(ctx context.Context, address string, s settings) (netip.AddrPort, error) {
	to, err := lookUp(ctx, address)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("cannot resolve the CoAP address %q: %w", address, err)
	}
	if !to.Addr().IsLoopback() && !s.insecure {
		return netip.AddrPort{}, fmt.Errorf("cannot use the CoAP address %q: %w", address, errNoSec)
	}
	return to, nil
}

func lookUp(ctx context.Context, address string) (netip.AddrPort, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		u = &url.URL{Scheme: "coap", Host: address}
	}
	if u.Scheme != "coap" {
		return netip.AddrPort{}, fmt.Errorf("the scheme %q is not supported, use coap", u.Scheme)
	}
	port := u.Port()
	if port == "" {
		port = DefaultPort
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return netip.AddrPort{}, err
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(n)), nil
}

func unmap(a *net.UDPAddr) netip.AddrPort {
	p := a.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
