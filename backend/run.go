package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/accounts"
	"github.com/tranquil-iot/tranquil/backend/internal/audit"
	"github.com/tranquil-iot/tranquil/backend/internal/bridge"
	"github.com/tranquil-iot/tranquil/backend/internal/files"
	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/backend/internal/localca"
	"github.com/tranquil-iot/tranquil/backend/internal/store"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects/registry"
)

// A backend is what was asked for, wired together.
type backend struct {
	config      config
	log         *slog.Logger
	store       *store.Store
	ledger      *audit.Log
	people      *accounts.Accounts
	hub         *hub.Hub
	hubTLS      *tls.Config // nil: it speaks plaintext
	endpoints   endpoints
	credentials credentials
	files       *files.Server // of this process, if it is here
	filesTLS    bool
	ca          *localca.Authority // nil until it is needed
}

// endpoints are the bound addresses, as DATA/endpoints.json has them.
type endpoints struct {
	Hub struct {
		MQTT string `json:"mqtt,omitempty"`
		HTTP string `json:"http,omitempty"`
		CA   string `json:"ca,omitempty"` // as of Web, if it speaks TLS; below too
	} `json:"hub"`
	Files struct {
		HTTP string `json:"http,omitempty"`
		CoAP string `json:"coap,omitempty"`
		TCP  string `json:"tcp,omitempty"`
		CA   string `json:"ca,omitempty"`
	} `json:"files"`
	Bridge struct {
		LwM2M string `json:"lwm2m,omitempty"`
		TCP   string `json:"tcp,omitempty"`
	} `json:"bridge"`
	Web struct {
		HTTPS string `json:"https,omitempty"`
		CA    string `json:"ca,omitempty"` // file with the certificate of whom to trust; "" if it has one of its own
	} `json:"web"`
}

// credentials are secrets for whoever may read DATA/credentials.json.
type credentials struct {
	Owner     string `json:"owner,omitempty"`     // connection string that may do everything
	Service   string `json:"service,omitempty"`   // connection string for applications
	Device    string `json:"device,omitempty"`    // connection string for a bridge
	Registry  string `json:"registry,omitempty"`  // connection string for a bridge with DTLS
	Publisher string `json:"publisher,omitempty"` // token that may push packages
}

// A part listens when it is started, and serves until ctx ends.
type part struct {
	name  string
	serve func(context.Context) error
}

// run starts the parts, tells where they are, and works until ctx ends.
func (b *backend) run(ctx context.Context, starts ...func(context.Context) (part, error)) error {
	if err := os.MkdirAll(b.config.Data, 0o700); err != nil {
		return fmt.Errorf("cannot make data directory: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(starts))
	var errs []error
	running := 0
	for _, start := range starts {
		p, err := start(ctx)
		if err != nil {
			errs = append(errs, err)
			cancel()
			break
		}
		running++
		go func() {
			err := p.serve(ctx)
			if err != nil && ctx.Err() == nil {
				err = fmt.Errorf("%s: %w", p.name, err)
			}
			ended <- err
		}()
	}
	if len(errs) == 0 {
		errs = append(errs, b.tellWhere())
	}
	for range running {
		errs = append(errs, <-ended)
		cancel() // whichever ends first ends all
	}
	return errors.Join(errs...)
}

func (b *backend) close() {
	if b.store != nil {
		b.store.Close()
	}
}

func (b *backend) openStore(ctx context.Context) (err error) {
	b.store, err = store.Open(ctx, store.Config{Dir: filepath.Join(b.config.Data, "hub", "store"), Cluster: b.config.Hub.Store, Log: b.log})
	if err != nil {
		return err
	}
	journal, err := b.store.Journal(ctx, "audit")
	b.ledger = audit.New(journal, b.log)
	return err
}

func (b *backend) startHub(ctx context.Context) (part, error) {
	if err := b.openStore(ctx); err != nil {
		return part{}, err
	}
	if err := b.openAccounts(ctx); err != nil {
		return part{}, err
	}
	c := b.config.Hub
	var err error
	if b.hubTLS, b.endpoints.Hub.CA, err = b.security(c.Cert, c.Key, c.Insecure, c.MQTT, c.HTTP); err != nil {
		return part{}, fmt.Errorf("hub: %w", err)
	}
	h, err := hub.New(hub.Config{
		MQTT: c.MQTT, HTTP: c.HTTP, TLS: b.hubTLS, DeviceRoots: c.Roots, InsecurePlaintext: c.Insecure, Log: b.log,
		Audit: b.auditHub, Grace: time.Duration(c.Overdue), Reader: b.mayRead,
	}, b.store)
	if err != nil {
		return part{}, err
	}
	b.hub = h
	b.endpoints.Hub.MQTT, b.endpoints.Hub.HTTP = h.MQTTAddr(), h.HTTPAddr()
	for policy, text := range map[string]*string{
		hub.PolicyOwner: &b.credentials.Owner, hub.PolicyService: &b.credentials.Service, hub.PolicyDevice: &b.credentials.Device, hub.PolicyRegistryReadWrite: &b.credentials.Registry,
	} {
		cs, err := h.ConnectionString(policy)
		if err != nil {
			return part{}, err
		}
		cs.HostName = named(cs.HostName)
		*text = cs.String()
	}
	return part{"hub", h.Serve}, nil
}

func (b *backend) startFiles(context.Context) (part, error) {
	dir := filepath.Join(b.config.Data, "files")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return part{}, fmt.Errorf("cannot make data directory: %w", err)
	}
	token, err := secret(filepath.Join(dir, "publisher.token"))
	if err != nil {
		return part{}, err
	}
	c := b.config.Files
	cfg := files.Config{
		Dir: filepath.Join(dir, "oci"), Trust: filepath.Join(dir, "trust"), HTTP: c.HTTP, CoAP: c.CoAP, TCP: c.TCP, Token: token, PlaintextBeyondLoopback: c.Insecure, Log: b.log,
		Keep: c.Keep, Deltas: c.Deltas, Quota: c.Quota, HTTPRate: c.HTTPRate, HTTPBurst: 2 * c.HTTPRate,
		Store: c.Store, StoreUser: c.StoreUser, OnlineKey: c.OnlineKey,
	}
	if c.StorePassword != "" {
		if cfg.StorePassword, err = readSecret(c.StorePassword); err != nil {
			return part{}, fmt.Errorf("files.store_password: %w", err)
		}
	}
	if b.ledger != nil {
		cfg.Audit = b.auditFiles
	}
	if cfg.TLS, b.endpoints.Files.CA, err = b.security(c.Cert, c.Key, c.Insecure, c.HTTP); err != nil {
		return part{}, fmt.Errorf("files: %w", err)
	}
	b.filesTLS = cfg.TLS != nil
	if strings.HasPrefix(c.CoAP, "coaps:") || strings.HasPrefix(c.TCP, "coaps+tcp:") {
		if cfg.DTLS, err = b.letIn(c); err != nil {
			return part{}, fmt.Errorf("files: %w", err)
		}
	}
	s, err := files.New(cfg)
	if err != nil {
		return part{}, err
	}
	b.credentials.Publisher, b.files = token, s
	b.endpoints.Files.HTTP, b.endpoints.Files.CoAP, b.endpoints.Files.TCP = s.HTTPAddr(), s.CoAPAddr(), s.TCPAddr()
	return part{"files", s.Serve}, nil
}

// startBridge comes after startHub, since it may need that hub's addresses.
func (b *backend) startBridge(context.Context) (part, error) {
	c := b.config.Bridge
	if c.Hub == "" {
		c.Hub = b.credentials.Device
		c.Registry = cmp.Or(c.Registry, b.credentials.Registry)
	}
	if c.Hub == "" {
		return part{}, errors.New(`the bridge needs a hub: set bridge.hub to the connection string of a policy that may connect devices`)
	}
	cs, err := iothub.ParseConnectionString(c.Hub)
	if err != nil {
		return part{}, err
	}
	cfg := bridge.Config{Hub: cs, Listen: c.LwM2M, TCP: c.TCP, NoSec: c.Insecure, MaxDevices: c.MaxDevices, MaxLifetime: time.Duration(c.MaxLifetime), Log: b.log}
	if err := secure(&cfg, c); err != nil {
		return part{}, fmt.Errorf("bridge: %w", err)
	}
	if c.Objects != "" {
		if cfg.Objects, err = registry.Read(os.DirFS(c.Objects)); err != nil || len(cfg.Objects) == 0 {
			return part{}, fmt.Errorf("cannot read definitions of objects in bridge.objects, the folder %s: %w", c.Objects, cmp.Or(err, fs.ErrNotExist))
		}
	}
	if b.hub != nil && c.Hub == b.credentials.Device {
		cfg.HubTLS, cfg.Hub.GatewayHostName = b.beHub(), here(b.hub.MQTTAddr())
	}
	b.askHere(cfg.Registry, c.Registry)
	b.findPackages(&cfg, c)
	br, err := bridge.New(cfg)
	if err != nil {
		return part{}, err
	}
	b.endpoints.Bridge.LwM2M, b.endpoints.Bridge.TCP = br.Addr(), br.TCPAddr()
	return part{"bridge", br.Serve}, nil
}

// findPackages tells a bridge where packages are, and where devices find them.
func (b *backend) findPackages(cfg *bridge.Config, c bridgeConfig) {
	cfg.Dir, cfg.Files = filepath.Join(b.config.Data, "bridge"), c.Files
	switch {
	case c.Packages != "":
		cfg.Packages = bridge.RemotePackages(c.Packages)
	case b.files != nil:
		cfg.Packages = b.files.Open
	}
	if b.files == nil || len(c.Files) > 0 {
		return
	}
	scheme := "http"
	if b.filesTLS {
		scheme = "https"
	}
	for _, place := range [][2]string{{scheme, b.endpoints.Files.HTTP}, {"coap", b.endpoints.Files.CoAP}} {
		scheme, at := place[0], place[1]
		if host, secure := strings.CutPrefix(at, "coaps://"); secure {
			scheme, at = "coaps", host
		}
		address, err := netip.ParseAddrPort(at)
		if err == nil && !address.Addr().IsUnspecified() {
			cfg.Files = append(cfg.Files, scheme+"://"+at)
		}
	}
}

// letIn is how the file server knows devices over DTLS: as the bridge does.
func (b *backend) letIn(c filesConfig) ([]coap.Option, error) {
	var known bridge.Config
	registry := cmp.Or(c.Registry, b.credentials.Registry)
	err := secure(&known, bridgeConfig{Registry: registry})
	b.askHere(known.Registry, registry)
	if err == nil && c.Roots != "" {
		err = secure(&known, bridgeConfig{Cert: c.Cert, Key: c.Key, Roots: c.Roots})
	}
	options := []coap.Option{coap.WithLogger(b.log)}
	if known.Registry != nil {
		options = append(options, coap.PSKs(bridge.Keys(known.Registry, b.log)))
	}
	if known.Certificate != nil {
		options = append(options, coap.Certificate(*known.Certificate, known.Roots))
	}
	return options, err
}

// secure gives a bridge what it needs for DTLS: where the keys of devices are, a
// certificate, or both.
func secure(cfg *bridge.Config, c bridgeConfig) error {
	if c.Registry != "" {
		cs, err := iothub.ParseConnectionString(c.Registry)
		if err != nil {
			return err
		}
		cfg.Registry = iothub.NewClient(cs)
	}
	if c.Cert == "" {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(c.Cert, c.Key)
	if err != nil {
		return fmt.Errorf("cannot read certificate: %w", err)
	}
	pem, err := os.ReadFile(c.Roots)
	if err != nil {
		return fmt.Errorf("cannot read the issuers of devices' certificates: %w", err)
	}
	cfg.Certificate, cfg.Roots = &cert, x509.NewCertPool()
	if !cfg.Roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s has no certificate", c.Roots)
	}
	return nil
}

// tellWhere writes the two files that others find the backend by.
func (b *backend) tellWhere() error {
	if err := writeJSON(filepath.Join(b.config.Data, "credentials.json"), b.credentials); err != nil {
		return err
	}
	return writeJSON(filepath.Join(b.config.Data, "endpoints.json"), b.endpoints)
}

// writeJSON replaces a file that only we can read.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return os.Rename(path+".new", path)
}

// readSecret reads a file that its owner alone may read.
func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("others can read %s: chmod 600 it", path)
	}
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

// secret reads a token from a file, or makes one at the first start.
func secret(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err == nil && len(data) > 0 {
		return strings.TrimSpace(string(data)), nil
	}
	random := make([]byte, 32)
	rand.Read(random)
	token := base64.RawURLEncoding.EncodeToString(random)
	if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
		return "", fmt.Errorf("cannot write token: %w", err)
	}
	return token, nil
}
