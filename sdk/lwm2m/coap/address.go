package coap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// The ports of coap and coaps.
const (
	DefaultPort       = "5683"
	DefaultSecurePort = "5684"
)

var errNoSec = errors.New("plaintext CoAP beyond this machine needs the NoSec option")

// Listen opens a server's socket on an address such as "coaps://:5684" (DTLS,
// needs [PSKs] or [Certificate]), "127.0.0.1:5683" or ":5683" (plaintext; an
// address that is not loopback needs [NoSec]). An address without a scheme is for
// DTLS if there are credentials.
func Listen(address string, options ...Option) (*Conn, error) {
	c, err := listen(address, newSettings(options))
	if err != nil {
		return nil, fmt.Errorf("cannot listen for CoAP on %q: %w", address, err)
	}
	return c, nil
}

func listen(address string, s settings) (*Conn, error) {
	secure := isSecure(address, s)
	_, host, schemed := strings.Cut(address, "://")
	if !schemed {
		host = address
	}
	a, err := net.ResolveUDPAddr("udp", host)
	switch {
	case err != nil:
		return nil, err
	case secure:
		return orConn(listenDTLS(unmap(a), s))(s)
	case s.credentials.given():
		return nil, errPlaintext
	case !strings.HasPrefix(address, "coap://") && schemed:
		return nil, errors.New("the scheme is neither coap nor coaps")
	case !a.IP.IsLoopback() && !s.insecure:
		return nil, errNoSec
	}
	return orConn(newUDPLink(unmap(a), s))(s)
}

// orConn makes a Conn of a link, if there is one.
func orConn[L link](l L, err error) func(settings) (*Conn, error) {
	return func(s settings) (*Conn, error) {
		if err != nil {
			return nil, err
		}
		return newConn(l, s), nil
	}
}

var errPlaintext = errors.New("there are credentials, but the scheme coap does not use them; use coaps")

// Dial opens a device's socket for a server such as "coaps://example.org" (DTLS,
// needs [PSK] or [Certificate]; the port defaults to 5684) or
// "coap://127.0.0.1:5683" (plaintext; the port defaults to 5683, a server that is
// not on loopback needs [NoSec]). A DTLS session is made when the address is
// resolved, that is with each registration.
func Dial(server string, options ...Option) (*Conn, error) {
	s := newSettings(options)
	switch {
	case isSecure(server, s):
		if _, err := s.credentials.client(""); err != nil {
			return nil, fmt.Errorf("cannot open a socket for %q: %w", server, err)
		}
		return newConn(newDTLSLink(s), s), nil
	case s.credentials.given():
		return nil, fmt.Errorf("cannot open a socket for %q: %w", server, errPlaintext)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if s.insecure { // where the server is may change, or not be known yet
		c, err := orConn(newUDPLink(netip.AddrPort{}, s))(s)
		if err != nil {
			return nil, fmt.Errorf("cannot open a CoAP socket: %w", err)
		}
		return c, nil
	}
	to, err := resolve(ctx, server, s)
	if err != nil {
		return nil, err
	}
	c, err := orConn(newUDPLink(netip.AddrPortFrom(to.Addr(), 0), s))(s)
	if err != nil {
		return nil, fmt.Errorf("cannot open a CoAP socket for %q: %w", server, err)
	}
	return c, nil
}

// Resolve implements [lwm2m.Transport] for coap://host[:port], coaps://host[:port]
// and host:port.
func (c *Conn) Resolve(ctx context.Context, address string) (string, error) {
	return c.link.resolve(ctx, address)
}

func resolve(ctx context.Context, address string, s settings) (netip.AddrPort, error) {
	to, _, err := lookUp(ctx, address, "coap")
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("cannot resolve the CoAP address %q: %w", address, err)
	}
	if !to.Addr().IsLoopback() && !s.insecure {
		return netip.AddrPort{}, fmt.Errorf("cannot use the CoAP address %q: %w", address, errNoSec)
	}
	return to, nil
}

// lookUp finds the address and the host name in a URI of this scheme.
func lookUp(ctx context.Context, address, scheme string) (netip.AddrPort, string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		u = &url.URL{Scheme: scheme, Host: address}
	}
	if u.Scheme != scheme {
		return netip.AddrPort{}, "", fmt.Errorf("the scheme %q is not that of this socket, which is %s", u.Scheme, scheme)
	}
	port := u.Port()
	if port == "" {
		port = DefaultPort
		if scheme == "coaps" {
			port = DefaultSecurePort
		}
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return netip.AddrPort{}, "", err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return netip.AddrPort{}, "", err
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(n)), u.Hostname(), nil
}

func unmap(a *net.UDPAddr) netip.AddrPort {
	p := a.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
