package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

var (
	// ErrURI says that a URI names nothing that could be fetched.
	ErrURI = errors.New("malformed URI, want scheme://host/path")
	// ErrScheme says that nobody here speaks the protocol of a URI.
	ErrScheme = errors.New("protocol not supported, want coap, coaps, coap+tcp, coaps+tcp, http or https")
)

var schemes = []string{"coap", "coaps", "coap+tcp", "coaps+tcp", "http", "https"}

// maxFile is the most bytes that a package in a single file may have.
const maxFile = 1 << 40

// A Remote is a package that a URI names: the OCI manifest of a registry such as
// our file server, as in coap://host/v2/application/a/manifests/1.0.0, or else a
// single file on any server.
type Remote struct {
	*Fetcher
	component, reference string // "" a single file
	file                 resource
}

// NewRemote reads a URI. cfg.URL does not count. The errors are ErrURI and
// ErrScheme; the network is not touched.
func NewRemote(uri string, cfg Config) (*Remote, error) {
	u, err := url.Parse(uri)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Fragment != "" {
		return nil, ErrURI
	}
	r := &Remote{file: resource{path: u.EscapedPath(), query: u.Query()}}
	if strings.HasPrefix(u.Scheme, "coap") { // its options hold what is meant
		r.file.path = u.Path
	}
	base := url.URL{Scheme: u.Scheme, Host: u.Host}
	if before, name, found := strings.Cut(u.Path, "/v2/"); found && u.RawQuery == "" {
		if component, reference, found := strings.Cut(name, "/manifests/"); found && pack.CheckComponent(component) == nil {
			base.Path, r.component, r.reference = before, component, reference
		}
	}
	switch {
	case !slices.Contains(schemes, u.Scheme) || strings.HasPrefix(u.Scheme, "coaps") && cfg.Secure == nil:
		return nil, fmt.Errorf("%w: %q", ErrScheme, u.Scheme)
	case strings.Trim(u.Path, "/") == "":
		return nil, ErrURI
	}
	cfg.URL = base.String()
	if u.User != nil {
		cfg.User = u.User
	}
	if r.Fetcher, err = New(cfg); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrURI, err)
	}
	return r, nil
}

// Single reports whether the package is a single file.
func (r *Remote) Single() bool { return r.reference == "" }

// Manifest returns the package's OCI manifest, which is what the URI says if
// that names a digest.
func (r *Remote) Manifest(ctx context.Context) ([]byte, error) {
	b, err := r.Fetcher.Manifest(ctx, r.component, r.reference)
	if err == nil && pack.CheckDigest(r.reference) == nil && pack.DigestOf(b) != r.reference {
		err = pack.ErrDigest
	}
	return b, err
}

// Blob brings a blob into the store.
func (r *Remote) Blob(ctx context.Context, digest string, size int64) error {
	return r.Fetcher.Blob(ctx, r.component, digest, size, nil)
}

// File is the single file. Only what is read is fetched.
func (r *Remote) File(ctx context.Context) io.ReadSeekCloser {
	return &file{ctx: ctx, remote: r, pin: &pin{}}
}

// A file is read by a transfer that runs as long as it is read on from there.
type file struct {
	ctx    context.Context
	remote *Remote
	pin    *pin
	at     int64         // what is read next
	open   io.ReadCloser // nil: no transfer runs
	pos    int64         // what that brings next
}

// readThrough is how many bytes to pass over rather than begin another transfer.
const readThrough = 64 << 10

func (f *file) Read(b []byte) (int, error) {
	if skip := f.at - f.pos; f.open != nil && skip > 0 && skip <= readThrough {
		n, err := io.CopyN(io.Discard, f.open, skip)
		if f.pos += n; err != nil {
			return 0, err
		}
	}
	if f.at != f.pos {
		f.Close()
	}
	if f.open == nil {
		f.open, f.pos = f.transfer(f.at), f.at
	}
	n, err := f.open.Read(b)
	f.pos += int64(n)
	f.at = f.pos
	return n, err
}

// transfer fetches from an offset on until it is closed.
func (f *file) transfer(from int64) io.ReadCloser {
	ctx, cancel := context.WithCancel(f.ctx)
	r, w := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s := &sink{w: w, have: from, size: -1, limit: maxFile}
		err := f.remote.persistAs(ctx, f.remote.file, s, f.pin)
		w.CloseWithError(err) // nil is the end
	}()
	return closer{r, func() error {
		cancel()
		err := r.Close()
		<-ended
		return err
	}}
}

type closer struct {
	io.Reader
	close func() error
}

func (c closer) Close() error { return c.close() }

// Seek implements io.Seeker, but not from the end.
func (f *file) Seek(offset int64, whence int) (int64, error) {
	if whence == io.SeekCurrent {
		offset += f.at
	}
	if whence == io.SeekEnd || offset < 0 {
		return f.at, errors.New("cannot seek there")
	}
	f.at = offset
	return f.at, nil
}

// Close ends the transfer.
func (f *file) Close() error {
	open := f.open
	f.open = nil
	if open == nil {
		return nil
	}
	return open.Close()
}
