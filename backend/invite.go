package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/backend/internal/enrolment"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// An enrolConfig says where devices find this backend, if that is not where it
// listens: as behind a router, or if its parts are on several machines.
type enrolConfig struct {
	Server string `toml:"server"` // LwM2M server, "coaps://tranquil.example.org:5684"; "" is the bridge of this process
	Files  string `toml:"files"`  // file server, "coaps://…" or "https://…"; "" is that of this process
}

// enrolment is where devices are invited and come to, by the pages' certificate.
func (b *backend) enrolment(ctx context.Context, security *tls.Config) (*enrolment.Desk, error) {
	invitations, err := b.store.Records(ctx, "invitations", enrolment.Life)
	if err != nil {
		return nil, err
	}
	authority, err := fingerprint(b.endpoints.Web.CA)
	return &enrolment.Desk{
		Invitations: invitations, Ledger: b.ledger, Authority: authority, Places: b.places, Root: b.root,
		Own: func(host string) bool { return own(security, host) },
		Key: func(ctx context.Context, device string) (string, error) {
			d, err := b.store.Device(ctx, device)
			return d.Keys.Primary, err
		},
	}, err
}

// own tells whether a host is this machine, or what its certificate is for: a request may name any.
func own(security *tls.Config, host string) bool {
	cert, err := certificate(security)
	if err != nil {
		return false
	}
	if leaf, err := x509.ParseCertificate(cert); err == nil && leaf.VerifyHostname(host) == nil {
		return true
	}
	addresses, _ := net.InterfaceAddrs() // none, if they cannot be known
	return slices.ContainsFunc(addresses, func(a net.Addr) bool {
		network, ok := a.(*net.IPNet)
		return ok && network.IP.Equal(net.ParseIP(host))
	})
}

// fingerprint is that of the certificate in a PEM file; none of no file.
func fingerprint(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s has no certificate", path)
	}
	sum := sha256.Sum256(block.Bytes)
	return sum[:], nil
}

// places are the servers for a device that has reached this backend at host.
func (b *backend) places(host string) (server, files string, err error) {
	server = cmp.Or(b.config.Enrol.Server, place("coap", b.endpoints.Bridge.LwM2M, host))
	files = b.config.Enrol.Files
	if files == "" && strings.HasPrefix(b.endpoints.Files.CoAP, "coaps://") {
		files = place("coaps", b.endpoints.Files.CoAP, host) // by the key that the device is given anyway
	}
	if files == "" {
		scheme := "http"
		if b.config.Files.Cert != "" {
			scheme = "https"
		}
		files = place(scheme, b.endpoints.Files.HTTP, host)
	}
	if server == "" || files == "" {
		return "", "", twin.ArgumentInvalid.With("this process has no bridge or no file server, and its configuration does not say where devices find them: [enrol], server and files")
	}
	return server, files, nil
}

// place is a listener's address as a URL for who has reached this machine at host; ""
// if there is no listener.
func place(scheme, listens, host string) string {
	if own, rest, said := strings.Cut(listens, "://"); said {
		scheme, listens = own, rest
	}
	at, port, err := net.SplitHostPort(listens)
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(at); at == "" || ip != nil && ip.IsUnspecified() {
		at = host
	}
	return scheme + "://" + net.JoinHostPort(at, port)
}

// root is the newest root metadata of the file server; nil if nobody has made any.
func (b *backend) root() (newest []byte, err error) {
	dir := filepath.Join(b.config.Data, "files", "trust", "metadata")
	for version := int64(1); ; version++ {
		text, err := os.ReadFile(filepath.Join(dir, trust.File(trust.Root, version)))
		if errors.Is(err, fs.ErrNotExist) {
			return newest, nil
		}
		if err != nil {
			return nil, err
		}
		newest = text
	}
}
