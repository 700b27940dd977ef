package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
)

// dial opens the socket to the LwM2M or bootstrap server, with what the device
// proves itself with.
func (l lwm2mConfig) dial(server, endpoint string, log *slog.Logger) (*coap.Conn, error) {
	options, err := l.proof(endpoint)
	if err != nil {
		return nil, err
	}
	if l.Insecure {
		options = append(options, coap.NoSec())
	}
	return coap.Dial(server, append(options, coap.WithLogger(log))...)
}

// proof is what the device proves itself with; nothing if there is nothing.
func (l lwm2mConfig) proof(endpoint string) ([]coap.Option, error) {
	switch {
	case l.PSK != "":
		key, err := readPSK(l.PSK)
		if err != nil {
			return nil, fmt.Errorf("lwm2m.psk: %w", err)
		}
		return []coap.Option{coap.PSK(cmp.Or(l.Identity, endpoint), key)}, nil
	case l.Cert != "":
		certificate, roots, err := l.certificate()
		return []coap.Option{coap.Certificate(certificate, roots)}, err
	}
	return nil, nil
}

// readPSK reads a key of 16 to 64 bytes in base64, as registries of IoT hubs
// have it. No error has a part of it.
func readPSK(path string) ([]byte, error) {
	text, err := readSecret(path)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) < 16 || len(key) > 64 {
		return nil, fmt.Errorf("%s is not base64 of 16 to 64 bytes: have it written by tranquil device create --psk, or device show --psk", path)
	}
	return key, nil
}

// maxSecret bounds a file with a key, in bytes.
const maxSecret = 64 << 10

// readSecret reads a file that nobody but its owner can.
func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", path)
	case info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s can be used by others (%v): chmod 600 it", path, info.Mode().Perm())
	case info.Size() > maxSecret:
		return nil, fmt.Errorf("%s is too long for a key", path)
	}
	return io.ReadAll(io.LimitReader(f, maxSecret))
}

func (l lwm2mConfig) certificate() (tls.Certificate, *x509.CertPool, error) {
	key, err := readSecret(l.Key)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("lwm2m.key: %w", err)
	}
	cert, err1 := os.ReadFile(l.Cert)
	issuers, err2 := os.ReadFile(l.Roots)
	if err := errors.Join(err1, err2); err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("cannot read certificates: %w", err)
	}
	own, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, nil, fmt.Errorf("cannot use %s with %s: %w", l.Cert, l.Key, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(issuers) {
		return tls.Certificate{}, nil, fmt.Errorf("lwm2m.roots: %s has no certificate", l.Roots)
	}
	return own, roots, nil
}
