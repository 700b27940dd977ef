package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// A shelf is the trust part of a file server.
type shelf struct {
	base  *url.URL
	token string
}

// publisher is a shelf to which something will be sent.
func (s *session) publisher(insecure bool) (*shelf, error) {
	f, err := s.shelf(insecure)
	switch {
	case err != nil:
		return nil, err
	case f == nil:
		return nil, errNoServer
	case s.Token == "":
		return nil, errors.New("no token for the file server: $TRANQUIL_TOKEN")
	}
	return f, nil
}

// reader is a shelf that is only read.
func (s *session) reader() (*shelf, error) {
	f, err := s.shelf(true) // no token is sent
	if err == nil && f == nil {
		err = errNoServer
	}
	return f, err
}

var errNoServer = errors.New("no file server: --files or $TRANQUIL_FILES")

// shelf checks where it is; "" is no error before it is used.
func (s *session) shelf(insecure bool) (*shelf, error) {
	if s.Files == "" {
		return nil, nil
	}
	u, err := url.Parse(s.Files)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("%q is not the URL of a file server: want http(s)://host:port", s.Files)
	}
	if u.Scheme == "http" && s.Token != "" && !isLoopback(u.Hostname()) && !insecure {
		return nil, fmt.Errorf("would send the token unencrypted to %s: use https, or --insecure to do it all the same", u.Host)
	}
	return &shelf{u.JoinPath("trust"), s.Token}, nil
}

func (f *shelf) do(ctx context.Context, method, name string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, f.base.JoinPath(name).String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	token := f.token
	if method == http.MethodGet { // everybody may read
		token = ""
	}
	resp, err := bearer{token}.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", trust.ErrUnreachable, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, trust.MaxSize+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", trust.ErrUnreachable, err)
	case resp.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s: %w", name, trust.ErrNotFound)
	case resp.StatusCode == http.StatusUnauthorized:
		return nil, fmt.Errorf("the file server does not take %s: the token in $TRANQUIL_TOKEN is not its own", name)
	case resp.StatusCode/100 != 2:
		reason := refusal(resp.Status, b)
		if strings.HasPrefix(reason, name) {
			return nil, fmt.Errorf("the file server says: %s", reason)
		}
		return nil, fmt.Errorf("the file server does not take %s: %s", name, reason)
	}
	return b, nil
}

// refusal is the file server's reason, which it gives as registries do (OCI
// distribution specification, "Error codes").
func refusal(status string, b []byte) string {
	var said struct {
		Errors []struct {
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err := json.Unmarshal(b, &said); err != nil || len(said.Errors) == 0 {
		return strings.TrimSpace(status + " " + string(b))
	}
	var all []string
	for _, e := range said.Errors {
		all = append(all, e.Message)
	}
	return strings.Join(all, "; ")
}

// fetch is for a trust.Client.
func (f *shelf) fetch(ctx context.Context, name string, _ int64) ([]byte, error) {
	return f.do(ctx, http.MethodGet, name, nil)
}

func (f *shelf) standings(ctx context.Context) (all []trust.Standing, err error) {
	b, err := f.do(ctx, http.MethodGet, "status", nil)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("this is no file server of Tranquil: %w", err)
	}
	return all, nil
}

// standingOf is zero if there is none.
func standingOf(all []trust.Standing, role string) trust.Standing {
	for _, st := range all {
		if st.Role == role {
			return st
		}
	}
	return trust.Standing{}
}

// agrees refuses an operator's directory that does not go on from what the file
// server has: another root, an older copy, or one to which somebody else has
// added.
func (f *shelf) agrees(ctx context.Context, r *trust.Repository, dir string) error {
	there, err := f.standings(ctx)
	if err != nil {
		return err
	}
	here := r.Standings(time.Now())
	for _, role := range []string{trust.Root, trust.Targets} {
		mine, theirs := standingOf(here, role), standingOf(there, role)
		common := min(mine.Version, theirs.Version)
		same := true
		if common > 0 {
			name := trust.File(role, common)
			if same, err = f.same(ctx, r, name); err != nil {
				return err
			}
			same = same || strings.Contains(theirs.Problem, name) // it is lost there, or damaged: it is published again
		}
		switch {
		case !same && role == trust.Root:
			return f.foreign(ctx, r, theirs, dir)
		case !same:
			return another(trust.File(role, common), dir)
		case mine.Version < theirs.Version:
			return fmt.Errorf("your copy of %[1]s is older than what the file server has, %[2]s after %[3]d: tranquil trust fetch %[1]s", dir, trust.File(role, theirs.Version), mine.Version)
		}
	}
	return nil
}

// foreign tells another root from another successor of the same one.
func (f *shelf) foreign(ctx context.Context, r *trust.Repository, root trust.Standing, dir string) error {
	same, err := f.same(ctx, r, trust.File(trust.Root, 1))
	if err != nil {
		return err
	}
	if same {
		return another(trust.File(trust.Root, root.Version), dir)
	}
	return fmt.Errorf("the file server %s has another root than %s (its version %d, keys %s), which devices would not follow: is it the right server, and the right directory?", f.base.Host, dir, root.Version, shortIDs(root.Keys))
}

func another(name, dir string) error {
	return fmt.Errorf("the file server has another %[1]s than %[2]s: yours was not published, and somebody else's was. Take %[2]s/metadata/%[1]s away, bring theirs with tranquil trust fetch %[2]s, and make your change again", name, dir)
}

func (f *shelf) same(ctx context.Context, r *trust.Repository, name string) (bool, error) {
	mine, err := r.Read(name)
	if err != nil {
		return false, err
	}
	theirs, err := f.fetch(ctx, name, 0)
	if errors.Is(err, trust.ErrNotFound) {
		return false, nil
	}
	return bytes.Equal(mine, theirs), err
}

func shortIDs(ids []string) string {
	var all []string
	for _, id := range ids {
		all = append(all, trust.Short(id))
	}
	return strings.Join(all, " ")
}
