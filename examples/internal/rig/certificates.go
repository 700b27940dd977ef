package rig

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// tlsScheme begins the address of a bridge that speaks CoAP over TLS.
const tlsScheme = "coaps+tcp://"

// StartTLS is [Start] with CoAP over TLS between bridge and agent, each of which
// proves itself with a certificate.
func StartTLS(ctx context.Context, built Built, dir string, agent ...Edit) (*System, error) {
	s := &System{certificates: filepath.Join(dir, "certificates")}
	if err := certify(s.certificates, "bridge", deviceID); err != nil {
		return s, fmt.Errorf("cannot make certificates: %w", err)
	}
	s.endpoints.Bridge.TCP = tlsScheme + "127.0.0.1:0"
	return begin(ctx, s, built, dir, agent)
}

// proof is what a program is configured with to prove itself by a certificate.
func (s *System) proof(name string) string {
	file := func(name string) string { return filepath.Join(s.certificates, name) }
	return fmt.Sprintf("cert = %q\nkey = %q\nroots = %q\n", file(name+".pem"), file(name+".key"), file("root.pem"))
}

// certify makes root.pem and, issued by it, a certificate and a key for each name, for
// this machine.
func certify(dir string, names ...string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	root, signer, err := issue(dir, "root", nil, nil)
	for _, name := range names {
		if err == nil {
			_, _, err = issue(dir, name, root, signer)
		}
	}
	return err
}

func issue(dir, name string, issuer *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: issuer == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if issuer == nil {
		issuer, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	for extension, block := range map[string]*pem.Block{".pem": {Type: "CERTIFICATE", Bytes: der}, ".key": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, name+extension), pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, nil, err
		}
	}
	return template, key, nil
}

// tls tells whether bridge and agent speak TLS.
func (s *System) tls() bool { return strings.HasPrefix(s.endpoints.Bridge.TCP, tlsScheme) }
