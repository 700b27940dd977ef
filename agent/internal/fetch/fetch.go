// Package fetch downloads packages from a file server, by digest, over a
// network that may fail at any moment.
//
// A Fetcher speaks to one server after the other, over http(s):// with ranges or over coap://
// with blocks, of UDP, DTLS, TCP or TLS; both transports know how to go on from a byte offset, so that a
// download survives loss, a restart of the server and the death of this
// process. Nothing here waits without an end: silence, or a trickle, beyond
// Patience ends in ErrUnreachable, and the next call goes on from there.
package fetch

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// maxObject is the most bytes that a manifest or the answer to a check may have.
const maxObject = 4 << 20

var (
	// ErrNotFound says that the server has no such component, version, file or
	// blob. To try again is of no use until something is published.
	ErrNotFound = errors.New("not found on the file server")
	// ErrUnreachable says that the network or the server failed for longer than
	// Patience. What came so far is kept; try again later.
	ErrUnreachable = errors.New("file server not reachable")
	// ErrSize says that the server has more or fewer bytes than promised.
	ErrSize = errors.New("file server sends another size than promised")
	// ErrChanged says that the server replaced the content during a download.
	ErrChanged = errors.New("file server changed the content during the download")
	// ErrRefused says that the server does not serve this request, or answers
	// it with something that is not the protocol.
	ErrRefused = errors.New("file server refused the request")
)

// A Store keeps the blobs; content.Store is one.
type Store interface {
	Has(digest string) bool
	// Receive calls fill with the number of bytes that are there; fill appends
	// the others to w.
	Receive(digest string, size int64, fill func(have int64, w io.Writer) error) error
}

// Config of a Fetcher.
type Config struct {
	URL   string        // of the file server: "coap://host:5683", "coaps+tcp://host", "https://host", "http://host:8081"
	Also  []string      // other servers of the same packages: asked in this order when those before fail
	Store Store         // for blobs
	User  *url.Userinfo // for HTTP's basic authentication; nil: none
	Log   *slog.Logger

	// Insecure follows redirects to plaintext beyond this machine too.
	Insecure bool

	// Dial makes connections; nil is that of net.Dialer. See Metered.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Slow is how many bytes a second a blob must bring, or else that is logged once a
	// minute, and another server asked, if there is one; 0 is 1 KiB.
	Slow float64

	// Deltas make a blob of one that is here already, if the server has a delta of the
	// two; nil: all blobs are fetched whole.
	Deltas Deltas
	// Notice hears, with the context of the call, what people should know of how a blob
	// came; nil: nobody does.
	Notice func(ctx context.Context, text string)
	// Whole refuses, with ErrBudget, that so many bytes of a blob are fetched from a
	// host because no delta can be used; nil allows it.
	Whole func(ctx context.Context, host string, bytes int64) error

	// Secure makes a session of DTLS, or of TLS with CoAP's frames, over a connection, for
	// coaps:// and coaps+tcp://; nil: there is none.
	Secure func(ctx context.Context, conn net.Conn, host string) (net.Conn, error)

	// Patience is for how long a call goes on trying without any progress; 0
	// is two minutes.
	Patience time.Duration
	// Stall is the time in which an exchange must bring 4 KiB or its end, or
	// else it is given up and tried again; 0 is 30 s.
	Stall time.Duration
}

// A Fetcher downloads from one file server, or the others if that fails. Its methods may be called at the
// same time.
type Fetcher struct {
	cfg     Config
	origins []*origin
	useless sync.Map // digests of deltas that have made something else
}

// A Platform is what an artifact runs on, in Go's words (GOOS, GOARCH).
type Platform struct {
	OS, Arch string
	Variant  string // "v7" for linux/arm; "" if there is none
}

// Found names a package on the server. The zero Found means there is none.
type Found struct {
	Version string `json:"version"`
	Digest  string `json:"digest"` // of the package's OCI manifest
	Size    int64  `json:"size"`   // bytes of that manifest
}

// New checks cfg; it does not touch the network.
func New(cfg Config) (*Fetcher, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Notice == nil {
		cfg.Notice = func(context.Context, string) {}
	}
	if cfg.Dial == nil {
		cfg.Dial = dialer().DialContext
	}
	cfg.Patience = cmp.Or(cfg.Patience, 2*time.Minute)
	cfg.Stall = cmp.Or(cfg.Stall, 30*time.Second)
	cfg.Slow = cmp.Or(cfg.Slow, 1<<10)
	f := &Fetcher{cfg: cfg}
	for _, url := range append([]string{cfg.URL}, cfg.Also...) {
		source, err := newSource(url, cfg)
		if err != nil {
			return nil, err
		}
		f.origins = append(f.origins, &origin{source: source, url: url})
	}
	return f, nil
}

func newSource(from string, cfg Config) (source, error) {
	u, err := url.Parse(from)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("cannot use file server URL %q: want coap://host, http://host or https://host", from)
	}
	switch u.Scheme {
	case "coap", "coaps", "coap+tcp", "coaps+tcp":
		if strings.HasPrefix(u.Scheme, "coaps") && cfg.Secure == nil {
			return nil, fmt.Errorf("cannot use file server URL %q: this device has no key for coaps", from)
		}
		return newCoAPSource(u, cfg), nil
	case "http", "https":
		u.User = cfg.User
		return newHTTPSource(u, cfg), nil
	}
	return nil, fmt.Errorf("cannot use file server URL %q: unknown scheme %q, want coap, coaps, coap+tcp, coaps+tcp, http or https", from, u.Scheme)
}

// Close drops idle connections.
func (f *Fetcher) Close() {
	for _, o := range f.origins {
		o.close()
	}
}

// Blob brings the blob of that digest and size in bytes into the store, by a delta if
// there is one, going on where an earlier call stopped. progress, if not nil, hears how many bytes
// are here of how many. Errors: those of this package, those of the store, and
// the context's.
func (f *Fetcher) Blob(ctx context.Context, component, digest string, size int64, progress func(done, total int64)) error {
	if f.cfg.Store.Has(digest) {
		return nil
	}
	r, err := f.resource(component, "blobs", digest)
	if err != nil {
		return err
	}
	err = f.byDelta(ctx, component, pack.Descriptor{Digest: digest, Size: size}, progress)
	if !errors.Is(err, errNoDelta) {
		if err != nil {
			err = fmt.Errorf("cannot make blob %s of %s by a delta: %w", digest, component, err)
		}
		return err
	}
	var asked *tries
	came := false
	err = f.cfg.Store.Receive(digest, size, func(have int64, w io.Writer) error {
		if asked != nil {
			f.cfg.Log.Warn("what was here of a download is damaged, it begins anew", "component", component, "blob", digest)
		}
		asked = f.newTries()
		err := f.persistBy(ctx, r, &sink{w: w, have: have, size: size, progress: progress, whole: true}, asked)
		came = err == nil
		return err
	})
	if err != nil {
		if came { // something else than what the digest says, perhaps: others are asked first from now on
			asked.origin().failed()
		}
		return fmt.Errorf("cannot download blob %s of %s: %w", digest, component, err)
	}
	return nil
}

// Manifest returns the OCI manifest of a package, by version or by digest.
// The caller checks its digest.
func (f *Fetcher) Manifest(ctx context.Context, component, reference string) ([]byte, error) {
	r, err := f.resource(component, "manifests", reference)
	if err != nil {
		return nil, err
	}
	b, err := f.object(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("cannot download manifest %s of %s: %w", reference, component, err)
	}
	return b, nil
}

// trustWithin is how long a file of trust metadata may take. It is small, and
// without it there is what the device knows already.
const trustWithin = 30 * time.Second

// Trust returns a file of trust metadata; it is a trust.Fetch.
func (f *Fetcher) Trust(ctx context.Context, name string, limit int64) ([]byte, error) {
	limited, done := context.WithTimeout(ctx, trustWithin)
	defer done()
	var buf bytes.Buffer
	err := f.whole(limited, resource{path: "/trust/" + name}, &buf, limit)
	switch {
	case err == nil:
		return buf.Bytes(), nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, ErrUnreachable) || limited.Err() != nil:
		return nil, fmt.Errorf("%w: %w", trust.ErrUnreachable, err)
	case errors.Is(err, ErrNotFound):
		return nil, fmt.Errorf("%w: %w", trust.ErrNotFound, err)
	case errors.Is(err, ErrSize):
		return nil, fmt.Errorf("%w: %w", trust.ErrEndless, err)
	}
	return nil, fmt.Errorf("cannot download trust metadata %s: %w", name, err)
}

// checkWithin is how long an answer to a check may take, however it comes: it is small.
const checkWithin = 2 * time.Minute

// Check asks for the newest version of component above current (a semantic
// version, or "" if none is installed) for platform p. The zero Found means
// that current is the newest.
func (f *Fetcher) Check(ctx context.Context, component, current string, p Platform) (Found, error) {
	ctx, done := context.WithTimeoutCause(ctx, checkWithin, fmt.Errorf("%w: no answer within %s", ErrUnreachable, checkWithin))
	defer done()
	if err := pack.CheckComponent(component); err != nil {
		return Found{}, err
	}
	q := url.Values{}
	for k, v := range map[string]string{"current": current, "os": p.OS, "arch": p.Arch, "variant": p.Variant} {
		if v != "" {
			q.Set(k, v)
		}
	}
	found, err := f.found(ctx, resource{path: "/check/" + component, query: q})
	if err != nil {
		return Found{}, fmt.Errorf("cannot check for updates of %s: %w", component, err)
	}
	return found, nil
}

// Named asks for the package published under a file name of the form
// type.component.package.ext.
func (f *Fetcher) Named(ctx context.Context, fileName string) (Found, error) {
	if _, err := pack.ParseFileName(fileName); err != nil {
		return Found{}, err
	}
	found, err := f.found(ctx, resource{path: "/packages/" + fileName})
	if err == nil && found == (Found{}) {
		err = fmt.Errorf("empty answer: %w", ErrRefused)
	}
	if err != nil {
		return Found{}, fmt.Errorf("cannot look up package %s: %w", fileName, err)
	}
	return found, nil
}

func (f *Fetcher) resource(component, kind, reference string) (resource, error) {
	if err := pack.CheckComponent(component); err != nil {
		return resource{}, err
	}
	if err := pack.CheckDigest(reference); err != nil && pack.CheckVersion(reference) != nil {
		return resource{}, fmt.Errorf("%.80q is neither a version nor a digest", reference)
	}
	return resource{path: "/v2/" + component + "/" + kind + "/" + reference}, nil
}

func (f *Fetcher) found(ctx context.Context, r resource) (Found, error) {
	b, err := f.object(ctx, r)
	if err != nil || len(b) == 0 {
		return Found{}, err
	}
	if bytes.HasPrefix(bytes.TrimSpace(b), []byte("<")) {
		return Found{}, fmt.Errorf("malformed answer: %w: it is a page for people; if this network wants a login give it one, and check that this is the file server", ErrRefused)
	}
	var found Found
	if err := json.Unmarshal(b, &found); err != nil {
		return Found{}, fmt.Errorf("malformed answer: %w (%w)", ErrRefused, err)
	}
	if err := errors.Join(pack.CheckVersion(found.Version), pack.CheckDigest(found.Digest)); err != nil {
		return Found{}, fmt.Errorf("malformed answer: %w (%w)", ErrRefused, err)
	}
	return found, nil
}
