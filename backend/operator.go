package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/accounts"
	"github.com/tranquil-iot/tranquil/backend/internal/api"
	"github.com/tranquil-iot/tranquil/backend/internal/audit"
	"github.com/tranquil-iot/tranquil/backend/internal/fleet"
	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/backend/internal/web"
	"github.com/tranquil-iot/tranquil/backend/internal/webhook"
	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/places"
)

// maxOperators bounds the connections to the pages and the API, maxOperatorsEach those
// of one network, but for loopback's.
const (
	maxOperators     = 4096
	maxOperatorsEach = 256
)

// startWeb comes after startHub, whose store it reads, and startFiles, if that is here.
func (b *backend) startWeb(ctx context.Context) (part, error) {
	c := b.config.Web
	if c.HTTPS == "" {
		return part{"web", func(ctx context.Context) error { <-ctx.Done(); return nil }}, nil
	}
	hooks, err := b.webhooks(ctx)
	if err != nil {
		return part{}, err
	}
	security, err := b.webTLS(c)
	if err != nil {
		return part{}, fmt.Errorf("web: %w", err)
	}
	handler, err := b.operator(ctx, hooks, security)
	if err != nil {
		return part{}, err
	}
	l, err := net.Listen("tcp", c.HTTPS)
	if err != nil {
		return part{}, fmt.Errorf("cannot listen for operators: %w", err)
	}
	l = (&places.Crowd{Max: maxOperators, Each: maxOperatorsEach}).Listen(l)
	b.endpoints.Web.HTTPS = l.Addr().String()
	b.log.Info("pages and API are listening", "address", "https://"+b.endpoints.Web.HTTPS, "ca", b.endpoints.Web.CA)
	return part{"web", func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		sent := make(chan error, 1)
		go func() { sent <- hooks.Run(ctx) }()
		err := serveOperator(ctx, l, security, handler, b.log)
		cancel()
		return errors.Join(err, <-sent)
	}}, nil
}

// webhooks opens them.
func (b *backend) webhooks(ctx context.Context) (*webhook.Service, error) {
	hooks, err := b.store.Records(ctx, "webhooks", 0)
	if err != nil {
		return nil, err
	}
	dead, err := b.store.Records(ctx, "deadletters", webhook.DeadLetterLife)
	return &webhook.Service{Hooks: hooks, Dead: dead, Events: b.store, Ledger: b.ledger, Log: b.log}, err
}

// operator wires what operators see.
func (b *backend) operator(ctx context.Context, hooks *webhook.Service, security *tls.Config) (http.Handler, error) {
	password, err := b.people.First(audit.By(ctx, audit.Actor{Who: "first start"}))
	if err == nil && password != "" {
		err = b.tellPassword(password)
	}
	if err != nil {
		return nil, err
	}
	owner, err := b.hub.ConnectionString(hub.PolicyOwner)
	if err != nil {
		return nil, err
	}
	f := &fleet.Fleet{
		Hub:     &iothub.Client{ConnectionString: owner, HTTP: &http.Client{Transport: inProcess{b.hub.Handler(nil)}}},
		Devices: b.store, Ledger: b.ledger, Log: b.log, Spool: filepath.Join(b.config.Data, "web"),
		Connect: iothub.ConnectionString{HostName: named(b.hub.MQTTAddr()), Insecure: owner.Insecure},
	}
	if b.files != nil {
		f.Shop = b.files
	}
	if err := os.MkdirAll(f.Spool, 0o700); err != nil {
		return nil, err
	}
	desk, err := b.enrolment(ctx, security)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	rest := &api.API{Accounts: b.people, Audit: b.ledger, Fleet: f, Enrolment: desk, Webhooks: hooks, Hub: b.hubAs(), Log: b.log}
	mux.Handle(api.Base+"/", rest.Handler())
	mux.Handle("/", (&web.Web{Accounts: b.people, Audit: b.ledger, Fleet: f, Enrolment: desk, Webhooks: hooks, Log: b.log}).Handler())
	return mux, nil
}

func (b *backend) openAccounts(ctx context.Context) error {
	users, err := b.store.Records(ctx, "users", 0)
	if err != nil {
		return err
	}
	tokens, err := b.store.Records(ctx, "tokens", 0)
	if err != nil {
		return err
	}
	sessions, err := b.store.Records(ctx, "sessions", accounts.SessionLife)
	if err != nil {
		return err
	}
	seal, err := b.store.Secret(ctx, "accounts.known", []byte(rand.Text()+rand.Text()))
	b.people = accounts.New(accounts.Config{Users: users, Tokens: tokens, Sessions: sessions, Ledger: b.ledger, Log: b.log, Seal: seal})
	return err
}

// mayRead answers whose token of the API lets a program read what happens.
func (b *backend) mayRead(ctx context.Context, token string) (user string, err error) {
	who, err := b.people.Token(ctx, token)
	if err == nil {
		err = who.May(accounts.Read)
	}
	return who.User, err
}

// auditHub writes down what is changed by connection strings, or by people in that way.
func (b *backend) auditHub(r *http.Request, policy string, detail json.RawMessage, change func() error) error {
	ctx := r.Context()
	if _, known := audit.Of(ctx); !known {
		ctx = audit.By(ctx, audit.Actor{Who: "policy " + policy, From: accounts.RemoteHost(r)})
	}
	return b.ledger.Change(ctx, "hub."+strings.ToLower(r.Method), r.URL.Path, orNil(detail), change)
}

// orNil has nothing be nil.
func orNil(detail json.RawMessage) any {
	if len(detail) == 0 {
		return nil
	}
	return detail
}

// auditFiles writes down what is changed with the publisher's token.
func (b *backend) auditFiles(r *http.Request, action, object string, change func() error) error {
	ctx := audit.By(r.Context(), audit.Actor{Who: "publisher", Via: "token", From: accounts.RemoteHost(r)})
	return b.ledger.Change(ctx, action, object, nil, change)
}

// tellPassword writes the password of the user admin where only we can read it.
func (b *backend) tellPassword(password string) error {
	path := filepath.Join(b.config.Data, "admin.password")
	if err := durable.WriteFile(path, []byte(password+"\n"), 0o600); err != nil {
		return fmt.Errorf("cannot write the password: %w", err)
	}
	b.log.Info("there is an administrator: change the password, and remove the file", "user", "admin", "password", path)
	return nil
}

// renewPassword lets somebody in who has lost all passwords.
func (b *backend) renewPassword(ctx context.Context) error {
	if err := b.openStore(ctx); err != nil {
		return err
	}
	if err := b.openAccounts(ctx); err != nil {
		return err
	}
	ctx = audit.By(ctx, audit.Actor{Who: "command line"})
	password, err := b.people.First(ctx)
	if err == nil && password == "" {
		password, err = b.people.Renew(ctx)
	}
	if err != nil {
		return err
	}
	return b.tellPassword(password)
}

// webTLS is the certificate that was configured, or one of our own authority, also on loopback: browsers want it.
func (b *backend) webTLS(c webConfig) (*tls.Config, error) {
	if c.Cert != "" {
		security, _, err := b.security(c.Cert, c.Key, false)
		return security, err
	}
	authority, err := b.authority()
	if err != nil {
		return nil, err
	}
	b.endpoints.Web.CA = authority.Path()
	return authority.Config(), nil
}

// requestTime bounds a request, unless what serves it takes longer.
const requestTime = time.Minute

func serveOperator(ctx context.Context, l net.Listener, security *tls.Config, handler http.Handler, log *slog.Logger) error {
	// No page of another site may have a browser send us anything, also not the form to log in.
	handler = http.NewCrossOriginProtection().Handler(handler)
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			control, until := http.NewResponseController(w), time.Now().Add(requestTime)
			control.SetReadDeadline(until)
			control.SetWriteDeadline(until)
			handler.ServeHTTP(w, r)
		}),
		TLSConfig:         security,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends event streams too
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(l, "", "") }()
	select {
	case err := <-ended:
		return fmt.Errorf("cannot serve operators: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if server.Shutdown(grace) != nil {
		server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// tokenLife is how long it may take until the hub has looked at a token.
const tokenLife = 5 * time.Minute

// hubAs is the hub's REST interface for people, whom somebody else lets in: by a policy of the hub.
func (b *backend) hubAs() func(policy string) http.Handler {
	hub := b.hub.Handler(b.auditHub)
	return func(policy string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			cs, err := b.hub.ConnectionString(policy)
			var token string
			if err == nil {
				token, err = cs.ServiceToken(time.Now().Add(tokenLife))
			}
			if err != nil {
				b.log.Error("cannot sign token", "policy", policy, "error", err)
				http.Error(w, "the backend has an error of its own: see its log", http.StatusInternalServerError)
				return
			}
			r = r.Clone(r.Context())
			r.Header.Set("Authorization", token)
			hub.ServeHTTP(w, r)
		})
	}
}

// inProcess sends requests to a handler of this process, without a socket and its certificate between.
type inProcess struct{ http.Handler }

// RoundTrip has the handler answer.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.RemoteAddr = "operator"
	if r.Body == nil {
		r.Body = http.NoBody
	}
	a := &answer{header: http.Header{}, status: http.StatusOK}
	t.ServeHTTP(a, r)
	return &http.Response{
		Status: http.StatusText(a.status), StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: a.header, Body: io.NopCloser(&a.body), ContentLength: int64(a.body.Len()), Request: r,
	}, nil
}

// An answer keeps what a handler writes. There is nobody slow to be waited for, so deadlines mean nothing.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header              { return a.header }
func (a *answer) WriteHeader(status int)           { a.status = status }
func (a *answer) Write(b []byte) (int, error)      { return a.body.Write(b) }
func (a *answer) SetReadDeadline(time.Time) error  { return nil }
func (a *answer) SetWriteDeadline(time.Time) error { return nil }
