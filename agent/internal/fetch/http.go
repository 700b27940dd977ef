package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// An httpSource asks for byte ranges (RFC 9110 section 14).
type httpSource struct {
	base   *url.URL
	client *http.Client
	stall  time.Duration

	strange atomic.Bool // the last answer was a page: somebody may answer in the server's name
}

func newHTTPSource(base *url.URL, cfg Config) *httpSource {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           cfg.Dial,
		TLSHandshakeTimeout:   10 * time.Second,
		ResponseHeaderTimeout: cfg.Stall,
		IdleConnTimeout:       30 * time.Second,
		DisableCompression:    true, // ranges count the bytes of the blob itself
		ForceAttemptHTTP2:     true,
	}
	return &httpSource{base: base, stall: cfg.Stall, client: &http.Client{Transport: transport, CheckRedirect: redirect(cfg.Insecure)}}
}

// redirect follows a few redirects, but none from https to plaintext, nor, unless
// that is allowed, to plaintext beyond this machine. Where they come from may
// hold a secret, and is not told.
func redirect(insecure bool) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		req.Header.Del("Referer")
		switch {
		case len(via) >= 5:
			return errors.New("too many redirects")
		case via[0].URL.Scheme == "https" && req.URL.Scheme != "https":
			return fmt.Errorf("redirect from https to %s", req.URL.Scheme)
		case !insecure && Exposed(req.URL):
			return fmt.Errorf("redirect to %s://%s, which is plaintext beyond this machine: have it redirect to https, or set files.insecure = true", req.URL.Scheme, req.URL.Host)
		}
		return nil
	}
}

// Exposed reports whether others can alter what comes from there: it is plaintext
// beyond this machine.
func Exposed(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	secure := u.Scheme == "https" || strings.HasPrefix(u.Scheme, "coaps")
	return !secure && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback())
}

func (h *httpSource) close() { h.client.CloseIdleConnections() }

func (h *httpSource) stream(ctx context.Context, r resource, s *sink, p *pin) error {
	ctx, m, stop := metered(ctx, h.stall)
	defer stop()
	resp, err := h.ask(ctx, r, s.have, p)
	if err != nil {
		return passing("%w", because(ctx, err))
	}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/html") {
		h.strange.Store(true)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNoContent {
		return s.is(0)
	}
	if err := accept(resp, s, p); err != nil {
		return err
	}
	if err := take(&meteredReader{ctx, resp.Body, m}, resp, s); err != nil {
		var p *passingError
		if errors.As(err, &p) {
			return passing("%w", because(ctx, err))
		}
		return err
	}
	return s.is(s.have)
}

func (h *httpSource) ask(ctx context.Context, r resource, from int64, p *pin) (*http.Response, error) {
	if h.strange.Swap(false) {
		h.close() // a connection that is kept would lead to him, also when the name is right again
	}
	u := h.base.JoinPath(r.path)
	u.RawQuery = r.query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, withoutURL(err)
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/json, */*")
	if from > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
		if strings.HasPrefix(p.etag, `"`) { // weak tags do not go with ranges
			req.Header.Set("If-Range", p.etag)
		}
	}
	resp, err := h.client.Do(req)
	return resp, withoutURL(err)
}

// withoutURL leaves out which URL has failed: its user and query may be secrets,
// and errors are logged and shown to servers.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// accept judges the head of a response.
func accept(resp *http.Response, s *sink, p *pin) error {
	switch resp.StatusCode {
	case http.StatusOK:
		if resp.ContentLength >= 0 {
			if err := s.is(resp.ContentLength); err != nil {
				return err
			}
		}
	case http.StatusPartialContent:
		if err := acceptRange(resp.Header.Get("Content-Range"), s); err != nil {
			return err
		}
	case http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("nothing from byte %d on: %w", s.have, ErrSize)
	default:
		return statusError(resp)
	}
	return p.hold(resp.Header.Get("ETag"))
}

func acceptRange(header string, s *sink) error {
	cr, err := parseContentRange(header)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if cr.first != s.have {
		return fmt.Errorf("range from byte %d instead of %d: %w", cr.first, s.have, ErrRefused)
	}
	if cr.size < 0 {
		return s.fits(cr.last + 1)
	}
	return s.is(cr.size)
}

// statusError tells what a status other than 200, 204 and 206 means.
func statusError(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	switch code := resp.StatusCode; {
	case code == http.StatusNotFound || code == http.StatusGone:
		return fmt.Errorf("%s: %w", resp.Request.URL.Path, ErrNotFound)
	case code == http.StatusRequestTimeout || code == http.StatusTooManyRequests || code >= 500:
		seconds, _ := strconv.Atoi(resp.Header.Get("Retry-After"))
		wait := time.Duration(min(max(seconds, 0), 3600)) * time.Second
		return &passingError{err: fmt.Errorf("server answers %s: %.200q", resp.Status, text), after: wait}
	}
	return fmt.Errorf("server answers %s: %.200q: %w", resp.Status, text, ErrRefused)
}

// take copies the body to s. A server that knows no ranges sends all again;
// what is here already is passed over then.
func take(body io.Reader, resp *http.Response, s *sink) error {
	if resp.StatusCode == http.StatusOK {
		if _, err := io.CopyN(io.Discard, body, s.have); err != nil {
			return passing("connection broke: %w", err)
		}
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		if _, err := s.Write(buf[:n]); err != nil {
			return err
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return passing("connection broke: %w", err)
		}
	}
}

// because prefers the reason a context ended over the error that made.
func because(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// A meteredReader feeds a meter and stops with the context, which the body of
// a response does only when it has to wait.
type meteredReader struct {
	ctx context.Context
	r   io.Reader
	m   *meter
}

func (m *meteredReader) Read(b []byte) (int, error) {
	if m.ctx.Err() != nil {
		return 0, context.Cause(m.ctx)
	}
	n, err := m.r.Read(b)
	m.m.add(n)
	return n, err
}

// A contentRange is the value of the Content-Range header (RFC 9110 section
// 14.4).
type contentRange struct {
	first, last int64
	size        int64 // of the whole; -1 if the server does not say
}

// parseContentRange reads "bytes 0-99/1234" and "bytes 0-99/*".
func parseContentRange(s string) (contentRange, error) {
	bad := fmt.Errorf("malformed Content-Range %.80q", s)
	unit, rest, ok := strings.Cut(s, " ")
	span, size, ok2 := strings.Cut(rest, "/")
	first, last, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 || !strings.EqualFold(unit, "bytes") {
		return contentRange{}, bad
	}
	cr := contentRange{size: -1}
	var err error
	parse := func(digits string, n *int64) {
		v, e := strconv.ParseUint(digits, 10, 62)
		*n, err = int64(v), errors.Join(err, e)
	}
	parse(first, &cr.first)
	parse(last, &cr.last)
	if size != "*" {
		parse(size, &cr.size)
	}
	if err != nil || cr.last < cr.first || (cr.size >= 0 && cr.last >= cr.size) {
		return contentRange{}, bad
	}
	return cr, nil
}
