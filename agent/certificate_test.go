package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/settings"
)

// certify makes a certificate and its key as PEM files; issued by itself if
// there is no issuer.
func certify(t *testing.T, dir, name string, issuer *tls.Certificate) (tls.Certificate, string, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: issuer == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	parent, signer := template, any(key)
	if issuer != nil {
		parent, signer = issuer.Leaf, issuer.PrivateKey
	}
	der, err1 := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	secret, err2 := x509.MarshalPKCS8PrivateKey(key)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	certFile, keyFile := filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	return c, certFile, keyFile
}

// TestCertificate has the agent make a session with a server by its certificate.
func TestCertificate(t *testing.T) {
	dir := t.TempDir()
	root, rootFile, _ := certify(t, dir, "root", nil)
	server, _, _ := certify(t, dir, "localhost", &root)
	_, certFile, keyFile := certify(t, dir, "device-1", &root)
	_, foreignFile, _ := certify(t, dir, "foreign", nil)
	roots := x509.NewCertPool()
	roots.AddCert(root.Leaf)
	listener, err := coap.Listen("coaps://127.0.0.1:0", coap.Certificate(server, roots))
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.LocalAddr().String())
	good := lwm2mConfig{Server: "coaps://localhost:" + port, Lifetime: settings.Duration(time.Minute), Cert: certFile, Key: keyFile, Roots: rootFile}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	resolve := func(l lwm2mConfig, within time.Duration) error {
		conn, err := l.dial(l.Server, "device-1", slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		_, err = conn.Resolve(ctx, l.Server)
		return err
	}
	if err := resolve(good, 30*time.Second); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		change func(*lwm2mConfig)
		err    string
	}{
		"a server of others":  {func(l *lwm2mConfig) { l.Roots = foreignFile }, ""},
		"no issuers":          {func(l *lwm2mConfig) { l.Roots = keyFile }, "has no certificate"},
		"another one's key":   {func(l *lwm2mConfig) { l.Cert = foreignFile }, "cannot use"},
		"a key that is away":  {func(l *lwm2mConfig) { l.Key = filepath.Join(dir, "none") }, "lwm2m.key"},
		"a missing authority": {func(l *lwm2mConfig) { l.Roots = filepath.Join(dir, "none") }, "cannot read certificates"},
	} {
		l := good
		test.change(&l)
		if err := resolve(l, 3*time.Second); err == nil || !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v, want %q", name, err, test.err)
		}
	}
	if err := os.Chmod(keyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := resolve(good, 3*time.Second); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others can read: %v", err)
	}
}
