package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/accounts"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
)

// connect gives the part of the agent that keeps the device registered: with the
// server that is configured, or the one that a bootstrap server names.
func (a *agent) connect() (work func(context.Context) error, closing func(), err error) {
	l := a.config.LwM2M
	if l.Bootstrap != "" {
		return func(ctx context.Context) error { return a.keeper().Run(ctx, a.registerAt) }, func() {}, nil
	}
	transport, err := l.dial(l.Server, a.config.Endpoint, a.log)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot use LwM2M server %s: %w", l.Server, err)
	}
	return func(ctx context.Context) error { return a.device.Run(ctx, transport) }, func() { transport.Close() }, nil
}

// keeper is for a device that gets its server from a bootstrap server.
func (a *agent) keeper() accounts.Keeper {
	l := a.config.LwM2M
	return accounts.Keeper{
		File: filepath.Join(a.config.Data, "account.json"), Endpoint: a.config.Endpoint, Server: l.Bootstrap, Log: a.log,
		Dial: func() (lwm2m.Transport, error) { return l.dial(l.Bootstrap, a.config.Endpoint, a.log) },
	}
}

// errGivenUp says that a server has not taken the device for a long time.
var errGivenUp = errors.New("the device was not registered for lwm2m.bootstrap_after")

// registerAt keeps the device registered with a server that a bootstrap server has
// named, until ctx ends or the server has not taken the device for too long.
func (a *agent) registerAt(ctx context.Context, account lwm2m.Account) error {
	transport, err := dialAccount(account, a.config.LwM2M.Insecure, a.log)
	if err != nil {
		return fmt.Errorf("cannot use LwM2M server %s: %w", account.URI, err)
	}
	defer transport.Close()
	if err := a.device.Move(account); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	patience := time.Duration(a.config.LwM2M.BootstrapAfter)
	giveUp := time.AfterFunc(patience, func() { cancel(errGivenUp) })
	defer giveUp.Stop()
	a.registration.watch(func(registered bool) {
		if giveUp.Stop(); !registered {
			giveUp.Reset(patience)
		}
	})
	defer a.registration.watch(func(bool) {})
	return errors.Join(a.device.Run(ctx, transport), context.Cause(ctx))
}

// A registration tells whoever watches when the device becomes registered and when
// it is not any more.
type registration struct {
	mu    sync.Mutex
	now   func(registered bool)
	is    bool
	since time.Time // of that
}

// about is whether the device is registered, and since when that is so.
func (r *registration) about() (is bool, since time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.is, r.since
}

func (r *registration) watch(f func(registered bool)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now = f
}

func (r *registration) tell(registered bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.is != registered || r.since.IsZero() {
		r.is, r.since = registered, time.Now()
	}
	if r.now != nil {
		r.now(registered)
	}
}

// dialAccount opens the socket to a server with the key that the account has.
func dialAccount(a lwm2m.Account, insecure bool, log *slog.Logger) (*coap.Conn, error) {
	options, err := proofOf(a)
	if err != nil {
		return nil, err
	}
	if insecure {
		options = append(options, coap.NoSec())
	}
	return coap.Dial(a.URI, append(options, coap.WithLogger(log))...)
}

// proofOf is what the device proves itself with by an account.
func proofOf(a lwm2m.Account) ([]coap.Option, error) {
	switch a.Mode {
	case lwm2m.SecurityPSK:
		return []coap.Option{coap.PSK(string(a.Identity), a.SecretKey)}, nil
	case lwm2m.SecurityX509:
		own, roots, err := certificateOf(a)
		return []coap.Option{coap.Certificate(own, roots)}, err
	case lwm2m.SecurityNoSec:
		return nil, nil
	}
	return nil, fmt.Errorf("security mode %d of the account is neither a key (0), a certificate (2) nor none (3)", a.Mode)
}

// secured is how the device makes sessions with file servers; nil if it has nothing
// to prove itself with.
func (a *agent) secured() func(ctx context.Context, conn net.Conn, host string) (net.Conn, error) {
	if l := a.config.LwM2M; l.PSK == "" && l.Cert == "" && l.Bootstrap == "" {
		return nil
	}
	return a.secure
}

// secure makes a session with a file server, by what the device proves itself with
// to its LwM2M server.
func (a *agent) secure(ctx context.Context, conn net.Conn, host string) (net.Conn, error) {
	options, err := a.config.LwM2M.proof(a.config.Endpoint)
	if a.config.LwM2M.Bootstrap != "" {
		var account lwm2m.Account
		if account, err = a.keeper().Load(); err == nil {
			options, err = proofOf(account)
		}
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return coap.Secure(ctx, conn, host, options...)
}

// certificateOf is the device's certificate, and that of the server, or its issuer.
func certificateOf(a lwm2m.Account) (own tls.Certificate, roots *x509.CertPool, err error) {
	key, err := x509.ParsePKCS8PrivateKey(a.SecretKey)
	if err != nil {
		return own, nil, fmt.Errorf("cannot read the key of the account: %w", err)
	}
	server, err := x509.ParseCertificate(a.ServerKey)
	if err != nil {
		return own, nil, fmt.Errorf("cannot read the certificate of the account's server: %w", err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(server)
	return tls.Certificate{Certificate: [][]byte{a.Identity}, PrivateKey: key}, roots, nil
}
