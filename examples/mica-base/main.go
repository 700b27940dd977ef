// Command mica-base stands in for the Base OS of a HARTING MICA: JSON-RPC 2.0 over
// WebSocket at /ws/, with containers that are real, run by LXC. The documented
// methods are as documented; those that handle containers are assumptions, the
// same that the container updater makes (README.md).
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address")
	data := flag.String("data", "", "directory for everything")
	password := flag.String("password", "admin", "of the user admin")
	flag.Parse()
	if err := run(*listen, *data, *password); err != nil {
		fmt.Fprintln(os.Stderr, "mica-base:", err)
		os.Exit(1)
	}
}

func run(listen, data, password string) error {
	if data == "" {
		return errors.New("name a directory with -data")
	}
	b, err := newBase(data, password)
	if err != nil {
		return err
	}
	certificate, pin, err := selfSigned()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: b.handler(), ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
	}
	// What an updater's configuration needs, for who has started this.
	endpoint := fmt.Sprintf(`{"url":"wss://%s/ws/","pin":"%x"}`, listener.Addr(), pin)
	if err := os.WriteFile(filepath.Join(data, "endpoint.json.new"), []byte(endpoint), 0o600); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(data, "endpoint.json.new"), filepath.Join(data, "endpoint.json")); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return b.stopAll()
}

// selfSigned makes a certificate as a MICA has one, and returns what pins its key.
func selfSigned() (c tls.Certificate, pin [sha256.Size]byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, pin, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mica"}, DNSNames: []string{"mica"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(10, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return c, pin, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return c, pin, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, sha256.Sum256(parsed.RawSubjectPublicKeyInfo), nil
}
