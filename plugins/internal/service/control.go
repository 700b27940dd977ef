package service

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxSocketPath is what fits into a unix socket's address (unix(7)).
const maxSocketPath = 107

// socketPath is the component's control socket in dir. A name that is too long
// for a socket is replaced by a digest.
func socketPath(dir, name string) string {
	path := filepath.Join(dir, name+".sock")
	if len(path) > maxSocketPath {
		sum := sha256.Sum256([]byte(name))
		path = filepath.Join(dir, hex.EncodeToString(sum[:8])+".sock")
	}
	return path
}

// The two ways in which a component may not know of the control protocol.
var (
	errNotListening = errors.New("the component does not listen on its control socket")
	errNotServed    = errors.New("the component does not serve this request")
)

// ask sends one request of the control protocol to the component that serves
// socket. dir is the request's argument, "" if it has none.
func ask(ctx context.Context, socket, path, dir string) error {
	var body io.Reader
	if dir != "" {
		data, err := json.Marshal(map[string]string{"dir": dir})
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	return call(ctx, socket, http.MethodPost, "http://component"+path, body)
}

// Get asks for a path on a component's socket; 2xx is well. An URL is asked
// for where it leads to, with socket "".
func Get(ctx context.Context, socket, url string) error {
	if socket != "" {
		url = "http://component" + url
	}
	return call(ctx, socket, http.MethodGet, url, nil)
}

// call makes one HTTP request, over socket unless that is "", and returns the
// reason as an error if the answer is not 2xx.
func call(ctx context.Context, socket, method, url string, body io.Reader) error {
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return err
	}
	transport := &http.Transport{DisableKeepAlives: true}
	if socket != "" {
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, socket) }
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return notListening(ctx, err)
	}
	defer response.Body.Close()
	reason, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10)) // a cut reason is better than none
	switch code := response.StatusCode; {
	case code == http.StatusNotFound || code == http.StatusMethodNotAllowed || code == http.StatusNotImplemented:
		return fmt.Errorf("%w (%s)", errNotServed, response.Status)
	case code < 200 || code > 299:
		return fmt.Errorf("answer %s: %s", response.Status, strings.TrimSpace(string(reason)))
	}
	return nil
}

// notListening tells a component that does not listen from one that fails.
func notListening(ctx context.Context, err error) error {
	var dial *net.OpError
	if ctx.Err() == nil && errors.As(err, &dial) && dial.Op == "dial" {
		return fmt.Errorf("%w (%w)", errNotListening, err)
	}
	return err
}

// ready waits until the component listens on its control socket, as long as
// alive finds no reason why it never will.
func ready(ctx context.Context, socket string, alive func(context.Context) error) error {
	for {
		connection, err := dial(ctx, socket)
		if err == nil {
			return connection.Close()
		}
		if err := alive(ctx); err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return fmt.Errorf("%w: %w", errNotListening, err)
		}
	}
}

// pause waits a moment before the next look.
func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(10 * time.Millisecond):
		return nil
	}
}

// dial connects to a component's socket, and to nothing else: what the component
// has put in its place may be a link to a socket that it cannot reach itself.
func dial(ctx context.Context, socket string) (net.Conn, error) {
	fd, err := unix.Open(socket, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: "unix", Err: fmt.Errorf("%s: %w", socket, err)}
	}
	defer unix.Close(fd)
	return new(net.Dialer).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d", fd))
}
