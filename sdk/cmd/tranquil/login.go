package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

type loginCmd struct {
	URL   string `arg:"" help:"Where the operator's pages are, as in https://tranquil.example.org:9443."`
	User  string `default:"admin" help:"Your name there."`
	CA    string `name:"ca" placeholder:"FILE" type:"existingfile" help:"Certificate of whom to trust: ca/ca.pem of the backend, unless it has a certificate that all trust."`
	Hours int    `default:"12" help:"How long to stay logged in."`
}

// Help is the long text of tranquil login --help.
func (*loginCmd) Help() string {
	return `From then on device, twin, update, events and the like are done with your rights
and in your name, which the backend's audit log has; a connection string in
--hub or $TRANQUIL_HUB goes before. The password is read from the terminal, or
from standard input. What is kept, readable by you alone, is a token that
expires; tranquil logout ends it.`
}

// A login is what is kept of one: how to get in until it expires.
type login struct {
	URL     string    `json:"url"`
	User    string    `json:"user"`
	ID      string    `json:"id"` // of the token
	Token   string    `json:"token"`
	Expires time.Time `json:"expires"`
	CA      string    `json:"ca,omitempty"` // PEM; "": those that this machine trusts
}

func keptFile(name string) (string, error) {
	dir, err := os.UserConfigDir()
	return filepath.Join(dir, "tranquil", name), err
}

// readLogin answers fs.ErrNotExist if nobody is logged in.
func readLogin() (*login, error) {
	path, err := keptFile("login.json")
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var l login
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("%s is damaged: log in again: %w", path, err)
	}
	return &l, nil
}

// hub is the hub as somebody who is logged in has it.
func (l *login) hub() (*iothub.Client, error) {
	if time.Now().After(l.Expires) {
		return nil, fmt.Errorf("your login has expired: tranquil login %s", l.URL)
	}
	client, err := l.client()
	return &iothub.Client{URL: l.URL + "/api/v1/hub", Token: l.Token, HTTP: client}, err
}

func (l *login) client() (*http.Client, error) {
	if l.CA == "" {
		return http.DefaultClient, nil
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(l.CA)) {
		return nil, errors.New("the file of --ca has no certificate")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: transport}, nil
}

// Run exchanges the password for a token, and keeps that.
func (c *loginCmd) Run(s *session) error {
	l := &login{URL: strings.TrimRight(c.URL, "/"), User: c.User}
	if !strings.HasPrefix(l.URL, "https://") {
		return fmt.Errorf("%s does not begin with https://: others could read the password", c.URL)
	}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return err
		}
		l.CA = string(pem)
	}
	password, err := s.password(c.User)
	if err != nil {
		return err
	}
	host, _ := os.Hostname() // only to tell tokens apart
	var answer struct {
		ID, Token, Known string
		Expires          time.Time
	}
	ask := map[string]any{"user": c.User, "password": password, "name": "tranquil on " + host, "hours": c.Hours}
	known, err := readKnown()
	if err != nil {
		return err
	}
	if at := known[l.URL][l.User]; at != "" {
		ask["known"] = at
	}
	if err := l.call(s, http.MethodPost, "/login", ask, &answer); err != nil {
		return fmt.Errorf("cannot log in: %w", err)
	}
	l.ID, l.Token, l.Expires = answer.ID, answer.Token, answer.Expires
	if err := keep("login.json", l); err != nil {
		return err
	}
	if answer.Known != "" {
		if known[l.URL] == nil {
			known[l.URL] = map[string]string{}
		}
		known[l.URL][l.User] = answer.Known
		if err := keep("known.json", known); err != nil {
			return err
		}
	}
	return s.tell(map[string]any{"user": l.User, "url": l.URL, "expires": l.Expires}, "logged in as %s until %s\n", l.User, moment(l.Expires))
}

// known is what backends have given to this machine, by address and user: who has logged in from here is not kept out by
// others who guess.
type known map[string]map[string]string

func readKnown() (known, error) {
	path, err := keptFile("known.json")
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return known{}, nil
	}
	if err != nil {
		return nil, err
	}
	k := known{}
	if err := json.Unmarshal(b, &k); err != nil {
		return nil, fmt.Errorf("%s is damaged, remove it: %w", path, err)
	}
	return k, nil
}

// keep writes a file that only its owner can read.
func keep(name string, v any) error {
	path, err := keptFile(name)
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return durable.WriteFile(path, b, 0o600)
}

// password asks at the terminal, or reads a line of what comes in.
func (s *session) password(user string) (string, error) {
	if s.terminal() != nil {
		b, err := s.secret("Password of " + user + ": ")
		return string(b), err
	}
	line, err := bufio.NewReader(s.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// call asks the operator's API.
func (l *login) call(s *session, method, path string, in, out any) error {
	client, err := l.client()
	if err != nil {
		return err
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(s.ctx, method, l.URL+"/api/v1"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if l.Token != "" {
		req.Header.Set("Authorization", "Bearer "+l.Token)
	}
	res, err := client.Do(req)
	if _, unknown := errors.AsType[*tls.CertificateVerificationError](err); unknown {
		return fmt.Errorf("%w: give --ca, the ca/ca.pem of the backend's data directory", err)
	}
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		var problem struct{ Detail string }
		if json.Unmarshal(b, &problem) != nil || problem.Detail == "" {
			problem.Detail = res.Status
		}
		return errors.New(problem.Detail)
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, out)
}

type logoutCmd struct{}

// Run ends the token, and forgets it whatever the backend says.
func (logoutCmd) Run(s *session) error {
	l, err := readLogin()
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("nobody is logged in")
	}
	if err != nil {
		return err
	}
	ending := l.call(s, http.MethodDelete, "/tokens/"+l.ID, nil, nil)
	path, err := keptFile("login.json")
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return err
	}
	if ending != nil {
		return fmt.Errorf("the token is forgotten here, but the backend has not ended it: %w", ending)
	}
	fmt.Fprintln(s.out, "logged out")
	return nil
}
