package localca

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestAuthority: who trusts the authority's file trusts the server by all its names, also after a restart, and after
// its certificate was renewed.
func TestAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	first, err := Open(dir, "hub.example.org", "192.0.2.7")
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(first.Path())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	again, err := Open(dir, "hub.example.org", "192.0.2.7")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []*Authority{first, again} {
		for _, now := range []time.Time{time.Now(), time.Now().Add(61 * 24 * time.Hour), time.Now().Add(365 * 24 * time.Hour)} {
			pair, err := a.certificate(now)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"hub.example.org", "192.0.2.7", "localhost", "127.0.0.1", "::1"} {
				if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now}); err != nil {
					t.Error(name, err)
				}
			}
			same, err := a.certificate(now.Add(24 * time.Hour))
			if err != nil || same.Leaf != pair.Leaf {
				t.Error("there is another certificate a day later", err)
			}
		}
	}
	if info, err := os.Stat(filepath.Join(dir, keyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info, err)
	}
	if c, err := again.Config().GetCertificate(&tls.ClientHelloInfo{}); err != nil || c.Leaf.IsCA {
		t.Error(err)
	}
}

// TestDamage: an authority that cannot be used is not replaced silently: it may be trusted somewhere.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, certFile), []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil {
		t.Error("it is replaced")
	}
	if b, err := os.ReadFile(filepath.Join(dir, certFile)); err != nil || string(b) != "nonsense" {
		t.Error(string(b), err)
	}
}
