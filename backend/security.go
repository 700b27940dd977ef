package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"

	"github.com/tranquil-iot/tranquil/backend/internal/localca"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// security is what a server speaks at its addresses: TLS with a certificate that was configured, or where others than this
// machine can reach it, with one by an authority of our own, whose file is ca. nil is plaintext: on loopback, or since
// that was asked for.
func (b *backend) security(cert, key string, insecure bool, addresses ...string) (security *tls.Config, ca string, err error) {
	if cert != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, "", fmt.Errorf("cannot read certificate: %w", err)
		}
		return &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, "", nil
	}
	if insecure || !reachable(addresses) {
		return nil, "", nil
	}
	authority, err := b.authority()
	if err != nil {
		return nil, "", err
	}
	return authority.Config(), authority.Path(), nil
}

// authority is our own, which all servers of this process share.
func (b *backend) authority() (*localca.Authority, error) {
	if b.ca != nil {
		return b.ca, nil
	}
	names := b.config.Web.Names
	for _, address := range []string{b.config.Web.HTTPS, b.config.Hub.MQTT, b.config.Hub.HTTP, b.config.Files.HTTP} {
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err == nil && host != "" && (ip == nil || !ip.IsUnspecified()) {
			names = append(names, host)
		}
	}
	var err error
	b.ca, err = localca.Open(filepath.Join(b.config.Data, "ca"), names...)
	return b.ca, err
}

// reachable tells whether one of the addresses may be reached from elsewhere.
func reachable(addresses []string) bool {
	for _, address := range addresses {
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err == nil && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return true
		}
	}
	return false
}

// named is an address with this machine's name in place of "everywhere".
func named(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return address
	}
	name, err := os.Hostname()
	if err != nil {
		return address
	}
	return net.JoinHostPort(name, port)
}

// here is an address as this machine reaches it.
func here(address string) string {
	host, port, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return address
	}
	return net.JoinHostPort("localhost", port)
}

// askHere has a registry that is the hub of this process be asked without a socket, and its certificate, between.
func (b *backend) askHere(registry *iothub.Client, connection string) {
	if registry != nil && b.hub != nil && connection == b.credentials.Registry {
		registry.HTTP = &http.Client{Transport: inProcess{b.hub.Handler(nil)}}
	}
}

// beHub is for the bridge of this process: whoever has the hub's certificate of this moment is the hub, whatever names
// and issuers that has. nil if the hub speaks plaintext.
func (b *backend) beHub() *tls.Config {
	if b.hubTLS == nil {
		return nil
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, // in favour of:
		VerifyConnection: func(c tls.ConnectionState) error {
			own, err := certificate(b.hubTLS)
			if err == nil && !bytes.Equal(c.PeerCertificates[0].Raw, own) {
				err = errors.New("this is not the hub of this process")
			}
			return err
		},
	}
}

// certificate is the one of a listener, at this moment.
func certificate(security *tls.Config) ([]byte, error) {
	if security.GetCertificate == nil {
		return security.Certificates[0].Certificate[0], nil
	}
	cert, err := security.GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		return nil, err
	}
	return cert.Certificate[0], nil
}
