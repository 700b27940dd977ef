// Package localca makes certificates for a backend that nobody has given one: by an authority of its own, which people
// and programs can be told to trust once. The authority's key stays in one file; certificates of servers are made anew
// at each start and before they expire, and are in memory only.
package localca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/durable"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	serverLife    = 90 * 24 * time.Hour
	renewal       = serverLife / 3 // before the end
	backdated     = time.Hour      // clocks differ
)

// Files of an authority.
const (
	certFile = "ca.pem"
	keyFile  = "ca.key"
)

// An Authority signs certificates for one server.
type Authority struct {
	dir   string
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	hosts []string

	mu     sync.Mutex
	server *tls.Certificate
}

// Open reads the authority in dir, or makes one. Its certificates are for hosts, names and addresses, and for this
// machine.
func Open(dir string, hosts ...string) (*Authority, error) {
	a := &Authority{dir: dir, hosts: append(slices.Clone(hosts), "localhost", "127.0.0.1", "::1")}
	if name, err := os.Hostname(); err == nil {
		a.hosts = append(a.hosts, name)
	}
	err := a.read()
	if errors.Is(err, fs.ErrNotExist) {
		err = a.make()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the certificate authority in %s: %w", dir, err)
	}
	return a, nil
}

// Path is the PEM file of the authority's certificate.
func (a *Authority) Path() string { return filepath.Join(a.dir, certFile) }

// Config is for a listener.
func (a *Authority) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return a.certificate(time.Now())
	}}
}

func (a *Authority) read() error {
	pair, err := tls.LoadX509KeyPair(a.Path(), filepath.Join(a.dir, keyFile))
	if err != nil {
		return err
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return fmt.Errorf("%s is no authority of ours: remove both files to make a new one", a.Path())
	}
	if time.Now().After(pair.Leaf.NotAfter) {
		return fmt.Errorf("%s has expired: remove it with %s to make a new one, and have it trusted", a.Path(), keyFile)
	}
	a.cert, a.key = pair.Leaf, key
	return nil
}

// make makes an authority; its key is on disk before its certificate.
func (a *Authority) make() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	name, _ := os.Hostname()
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "Tranquil on " + name + ", " + now.Format(time.DateOnly)},
		NotBefore: now.Add(-backdated), NotAfter: now.Add(authorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return err
	}
	write := func(file, kind string, b []byte, mode fs.FileMode) error {
		return durable.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), mode)
	}
	if err := write(keyFile, "PRIVATE KEY", secret, 0o600); err != nil {
		return err
	}
	if err := write(certFile, "CERTIFICATE", der, 0o644); err != nil {
		return err
	}
	return a.read()
}

func serial() *big.Int {
	var random [16]byte
	rand.Read(random[:])
	random[0] &= 0x7f // positive in 16 bytes
	return new(big.Int).SetBytes(random[:])
}

// certificate is the server's, made anew when it is about to expire.
func (a *Authority) certificate(now time.Time) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.server != nil && now.Before(a.server.Leaf.NotAfter.Add(-renewal)) {
		return a.server, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: a.hosts[0]},
		NotBefore: now.Add(-backdated), NotAfter: now.Add(serverLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range a.hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	a.server = &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key, Leaf: leaf}
	return a.server, nil
}
