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
// needs [PSKs] or [Certificate]), "coaps+tcp://:5684" (TLS, needs [Certificate]),
// "coap://127.0.0.1:5683", "coap+tcp://127.0.0.1:5683" or ":5683" (plaintext; an
// address that is not loopback needs [NoSec]). An address without a scheme is for
// DTLS if there are credentials, else for UDP.
func Listen(address string, options ...Option) (*Conn, error) {
	c, err := listen(address, newSettings(options))
	if err != nil {
		return nil, fmt.Errorf("cannot listen for CoAP on %q: %w", address, err)
	}
	return c, nil
}

func listen(address string, s settings) (*Conn, error) {
	scheme, host, err := split(address, s)
	if err != nil {
		return nil, err
	}
	a, err := net.ResolveUDPAddr("udp", host)
	switch {
	case err != nil:
		return nil, err
	case scheme == "coaps":
		return orConn(listenDTLS(unmap(a), s))(s)
	case scheme == "coaps+tcp":
		return orConn(listenTCP(unmap(a), s, true))(s)
	case !a.IP.IsLoopback() && !s.insecure:
		return nil, errNoSec
	case scheme == "coap+tcp":
		return orConn(listenTCP(unmap(a), s, false))(s)
	}
	return orConn(newUDPLink(unmap(a), s))(s)
}

// split takes the scheme from an address. Plaintext does not go with credentials.
func split(address string, s settings) (scheme, host string, err error) {
	scheme, host, found := strings.Cut(address, "://")
	switch {
	case !found && s.credentials.given():
		scheme, host = "coaps", address
	case !found:
		scheme, host = "coap", address
	}
	switch scheme {
	case "coaps", "coaps+tcp":
		return scheme, host, nil
	case "coap", "coap+tcp":
		if s.credentials.given() {
			err = errPlaintext
		}
		return scheme, host, err
	}
	return "", "", fmt.Errorf("the scheme %q is none of coap, coaps, coap+tcp and coaps+tcp", scheme)
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

var errPlaintext = errors.New("there are credentials, but plaintext does not use them; use coaps or coaps+tcp")

// Dial opens a device's socket for a server such as "coaps://example.org" (DTLS,
// needs [PSK] or [Certificate]; the port defaults to 5684), "coaps+tcp://example.org"
// (TLS, needs [Certificate]), "coap://127.0.0.1" or "coap+tcp://127.0.0.1" (plaintext;
// the port defaults to 5683, a server that is not on loopback needs [NoSec]). A
// session or a connection is made when the address is resolved, that is with each
// registration.
func Dial(server string, options ...Option) (*Conn, error) {
	s := newSettings(options)
	l, err := dial(server, s)
	if err != nil {
		return nil, fmt.Errorf("cannot open a socket for %q: %w", server, err)
	}
	return newConn(l, s), nil
}

func dial(server string, s settings) (link, error) {
	scheme, _, err := split(server, s)
	if err != nil {
		return nil, err
	}
	switch scheme {
	case "coaps":
		_, err := s.credentials.client("")
		return newSessions(dtlsSessions{s}, s), err
	case "coaps+tcp":
		_, err := s.credentials.clientTLS("")
		return newSessions(tcpSessions{s, true}, s), err
	}
	var local netip.AddrPort
	if !s.insecure { // else where the server is may change, or not be known yet
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		to, err := resolve(ctx, server, scheme, s)
		if err != nil {
			return nil, err
		}
		local = netip.AddrPortFrom(to.Addr(), 0)
	}
	if scheme == "coap+tcp" {
		return newSessions(tcpSessions{s, false}, s), nil
	}
	return newUDPLink(local, s)
}

// Resolve implements [lwm2m.Transport] for host:port and scheme://host[:port], of the
// scheme that the socket was opened for.
func (c *Conn) Resolve(ctx context.Context, address string) (string, error) {
	return c.link.resolve(ctx, address)
}

func resolve(ctx context.Context, address, scheme string, s settings) (netip.AddrPort, error) {
	all, _, err := lookUp(ctx, address, scheme)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("cannot resolve the CoAP address %q: %w", address, err)
	}
	to := all[0]
	if !to.Addr().IsLoopback() && !s.insecure {
		return netip.AddrPort{}, fmt.Errorf("cannot use the CoAP address %q: %w", address, errNoSec)
	}
	return to, nil
}

// maxAddresses is how many of those that a name has are tried.
const maxAddresses = 6

// lookUp finds the addresses, the one to be tried first coming first, and the host name
// in a URI of this scheme.
func lookUp(ctx context.Context, address, scheme string) ([]netip.AddrPort, string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		u = &url.URL{Scheme: scheme, Host: address}
	}
	if u.Scheme != scheme {
		return nil, "", fmt.Errorf("the scheme %q is not that of this socket, which is %s", u.Scheme, scheme)
	}
	port := u.Port()
	if port == "" {
		port = DefaultPort
		if strings.HasPrefix(scheme, "coaps") {
			port = DefaultSecurePort
		}
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return nil, "", err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return nil, "", err
	}
	var all []netip.AddrPort
	for _, ip := range ips[:min(len(ips), maxAddresses)] {
		all = append(all, netip.AddrPortFrom(ip.Unmap(), uint16(n)))
	}
	return all, u.Hostname(), nil
}

func unmap(a *net.UDPAddr) netip.AddrPort {
	p := a.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
