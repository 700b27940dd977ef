// Package files is the file server: it keeps packages in an OCI image layout
// and serves their manifests and blobs over HTTP and CoAP under the same paths
// (those of the OCI distribution specification 1.1).
//
//	GET /v2/{type}/{name}/manifests/{version or digest}   the package's OCI manifest
//	GET /v2/{type}/{name}/blobs/{digest}                  a blob; HTTP Range, CoAP Block2
//	GET /v2/{type}/{name}/tags/list                       its versions
//	GET /v2/_catalog                                      the components
//	GET /v2/{type}/{name}/referrers/{digest}              what is said about a package
//	GET /check/{type}/{name}?current=&os=&arch=&variant=  the newest package above current
//	GET /packages/{file name}                             the package pushed under that name
//	GET /deltas/{type}/{name}/{digest}?format=2&base=…    what a blob can be made of
//	GET /trust/{file}                                     trust metadata (TUF), online.pub, status
//	GET /metrics                                          numbers for Prometheus; HTTP only
//	GET /healthz
//
// Publishers push over HTTP as to any OCI registry (chunked, whole or mounted),
// delete packages, and PUT trust metadata. What they push is there to be fetched;
// whether a device installs it is for the authors' signatures (sdk/trust). The CoAP side keeps no
// state between two datagrams: a block is read from the file when asked for.
package files

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/places"
)

// Config of a Server.
type Config struct {
	Dir  string // the OCI image layout; made if it is not there
	HTTP string // listen address "127.0.0.1:0"; "" for no HTTP
	CoAP string // listen address; "" for no CoAP; "coaps://0.0.0.0:5684" is DTLS
	TCP  string // listen address of CoAP over TCP, "coap+tcp://127.0.0.1:5685", or over TLS, "coaps+tcp://0.0.0.0:5684"; "" for none

	// DTLS is what CoAP proves itself with over DTLS and TLS, and which devices it knows.
	DTLS []coap.Option

	// Store is an OCI registry that has the packages, "https://registry.example.org/prefix";
	// Dir is then a cache. "" has them in Dir. StoreUser and StorePassword are for it;
	// without a password nobody has to be.
	Store, StoreUser, StorePassword string

	// Trust is the directory of trust metadata and of the key that signs snapshot
	// and timestamp; made if it is not there. Until somebody has published a root
	// there is nothing in it to serve.
	Trust string
	// OnlineKey names a key that another program keeps, as pkcs11: or exec: (see
	// [trust.ReadKey]), to sign snapshot and timestamp; "" has it in a file of Trust.
	OnlineKey string
	// Token lets its bearer push packages. Without one nobody can push.
	Token string
	// Keep is how many packages of a component stay: those that were pushed last,
	// and the newest; 0 is all.
	Keep int
	// Deltas is of how many versions before a package deltas to it are made when it is
	// pushed; 0 is none.
	Deltas int
	// Quota is how many bytes all blobs and uploads may have; 0 is no bound.
	Quota int64
	// TLS makes HTTP into HTTPS; nil serves plaintext.
	TLS *tls.Config
	// PlaintextBeyondLoopback lets plain HTTP and CoAP listen where others on
	// the network can read and alter what is sent. Devices verify digests, but
	// the publisher's token is readable.
	PlaintextBeyondLoopback bool
	// Rate is how many CoAP requests a second one source address may send, and
	// Burst how many at once; 0 is 2000 and 256. Loopback is not limited. What a
	// forged address can have sent to somebody is much less: see reach.
	Rate, Burst float64
	// HTTPRate and HTTPBurst are the same of HTTP requests; 0 is 200 and 400.
	// Whoever is behind a proxy shares its address.
	HTTPRate, HTTPBurst float64

	// Audit has what the bearer of the token changes written down, does it, and
	// writes down if it fails; nil: nobody does.
	Audit func(r *http.Request, action, object string, change func() error) error

	Log *slog.Logger
}

// maxClients bounds the connections of HTTP, maxClientsEach those of one network (see
// package places), but for loopback's.
const (
	maxClients     = 4096
	maxClientsEach = 256
)

// A Server serves one OCI image layout.
type Server struct {
	cfg     Config
	catalog *catalog
	trust   *vouching
	http    net.Listener
	coap    *net.UDPConn
	secure  *coap.Datagrams // in place of coap
	stream  *coap.Datagrams // of CoAP over TCP or TLS
}

// New opens the store, reads its index and starts to listen; Serve answers.
func New(cfg Config) (*Server, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Audit == nil {
		cfg.Audit = func(_ *http.Request, _, _ string, change func() error) error { return change() }
	}
	c, err := openCatalog(cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot open package store: %w", err)
	}
	if c.trust, err = openTrust(cfg.Trust, cfg.OnlineKey, cfg.Log); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, catalog: c, trust: c.trust}
	if err := s.listen(); err != nil {
		s.Close()
		return nil, fmt.Errorf("cannot serve packages: %w", err)
	}
	return s, nil
}

// HTTPAddr is where HTTP listens, as host:port; "" if it does not.
func (s *Server) HTTPAddr() string {
	if s.http == nil {
		return ""
	}
	return s.http.Addr().String()
}

// CoAPAddr is where CoAP listens, as host:port or coaps://host:port; "" if it does
// not.
func (s *Server) CoAPAddr() string {
	switch {
	case s.secure != nil:
		return secureScheme + s.secure.Addr().String()
	case s.coap == nil:
		return ""
	}
	return s.coap.LocalAddr().String()
}

// TCPAddr is where CoAP listens for TCP, as coap+tcp://host:port or
// coaps+tcp://host:port; "" if it does not.
func (s *Server) TCPAddr() string {
	if s.stream == nil {
		return ""
	}
	scheme, _, _ := strings.Cut(s.cfg.TCP, "://")
	return scheme + "://" + s.stream.Addr().String()
}

// Open reads what a GET of a path answers: it is for the other parts of the same
// process. The error is fs.ErrNotExist if there is no such thing.
func (s *Server) Open(_ context.Context, path string) (io.ReadCloser, error) {
	r, err := s.catalog.get(strings.Split(strings.Trim(path, "/"), "/"), nil)
	if refused, is := errors.AsType[*refusal](err); is && refused.status == http.StatusNotFound {
		return nil, fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{r, r}, nil
}

// Serve answers until ctx ends; then it closes the listeners, gives HTTP
// requests under way five seconds and returns nil. It can be called once.
func (s *Server) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan error, 9)
	running := 0
	start := func(serve func(context.Context) error) {
		running++
		go func() { results <- serve(ctx) }()
	}
	if s.http != nil {
		start(s.serveHTTP)
	}
	if s.coap != nil {
		start(s.serveCoAP)
	}
	if s.secure != nil {
		start(func(ctx context.Context) error { return s.serveSessions(ctx, s.secure, nil) })
	}
	if s.stream != nil {
		start(func(ctx context.Context) error { return s.serveSessions(ctx, s.stream, tooMany) })
	}
	start(s.trust.keepFresh)
	start(s.catalog.keepClean)
	start(s.catalog.keepTelling)
	start(s.catalog.keepDeltas)
	if s.catalog.upstream != nil {
		start(s.catalog.keepUpstream)
	}
	var err error
	for range running {
		err = errors.Join(err, <-results)
		cancel() // one listener gone: the other must not go on alone
	}
	return err
}

// Close closes the listeners of a server that does not Serve.
func (s *Server) Close() {
	if s.http != nil {
		s.http.Close()
	}
	if s.coap != nil {
		s.coap.Close()
	}
	if s.secure != nil {
		s.secure.Close()
	}
	if s.stream != nil {
		s.stream.Close()
	}
}

func (s *Server) listen() (err error) {
	if s.cfg.HTTP != "" {
		if s.http, err = net.Listen("tcp", s.cfg.HTTP); err != nil {
			return err
		}
		s.http = (&places.Crowd{Max: maxClients, Each: maxClientsEach}).Listen(s.http)
		if s.cfg.TLS != nil {
			s.http = tls.NewListener(s.http, s.cfg.TLS)
		} else if err := s.allowPlaintext(s.http.Addr()); err != nil {
			return err
		}
	}
	if s.cfg.TCP != "" {
		if s.stream, err = s.listenTCP(); err != nil {
			return err
		}
	}
	if s.cfg.CoAP == "" {
		return nil
	}
	if strings.HasPrefix(s.cfg.CoAP, secureScheme) {
		s.secure, err = coap.ListenDatagrams(s.cfg.CoAP, s.cfg.DTLS...)
		return err
	}
	addr, err := net.ResolveUDPAddr("udp", s.cfg.CoAP)
	if err != nil {
		return err
	}
	if s.coap, err = net.ListenUDP("udp", addr); err != nil {
		return err
	}
	return s.allowPlaintext(s.coap.LocalAddr())
}

// listenTCP takes what devices are known by only for TLS.
func (s *Server) listenTCP() (*coap.Datagrams, error) {
	if strings.HasPrefix(s.cfg.TCP, "coaps+tcp:") {
		return coap.ListenDatagrams(s.cfg.TCP, s.cfg.DTLS...)
	}
	if s.cfg.PlaintextBeyondLoopback {
		return coap.ListenDatagrams(s.cfg.TCP, coap.NoSec())
	}
	return coap.ListenDatagrams(s.cfg.TCP)
}

func (s *Server) allowPlaintext(addr net.Addr) error {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); (ip != nil && ip.IsLoopback()) || s.cfg.PlaintextBeyondLoopback {
		return nil
	}
	return fmt.Errorf("%s is not a loopback address and would be plaintext: set TLS or PlaintextBeyondLoopback", addr)
}
