// Package enrolment makes this device one of a backend's: it exchanges an invitation
// for all that the device needs, and writes that down where the agent reads it. What
// the agent knows and has stays: components, states, the journal.
package enrolment

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
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
	"github.com/tranquil-iot/tranquil/sdk/enrol"
)

// A Folder is where the configuration is, and in it what enrolment has written:
//
//	config.d/50-enrolment.toml  who the device is, and where its servers are
//	enrolment/psk-…             its key; whoever enrols again writes another file
//	enrolment/root-….json       what packages are trusted by
//	enrolment/claim             by which the backend knows a device that asks again
type Folder string

func (f Folder) secrets() string { return filepath.Join(string(f), "enrolment") }

// Config is the file with what the agent is configured to by an enrolment.
func (f Folder) Config() string { return filepath.Join(string(f), "config.d", "50-enrolment.toml") }

// Claim is a secret of this device, made when it is first asked for.
func (f Folder) Claim() (string, error) {
	path := filepath.Join(f.secrets(), "claim")
	if text, err := os.ReadFile(path); err == nil && len(text) > 0 {
		return string(text), nil
	}
	claim := rand.Text()
	if err := os.MkdirAll(f.secrets(), 0o700); err != nil {
		return "", fmt.Errorf("cannot make directory for keys: %w", err)
	}
	return claim, durable.WriteFile(path, []byte(claim), 0o600)
}

// Write puts what a backend has granted into the configuration. Until check has found
// it to be good, by the file that it is given in place of Config, nothing counts; and
// a power cut leaves the enrolment before or this one.
func (f Folder) Write(g enrol.Grant, check func(candidate string) error) (err error) {
	if err := errors.Join(os.MkdirAll(f.secrets(), 0o700), os.MkdirAll(filepath.Dir(f.Config()), 0o755)); err != nil {
		return fmt.Errorf("cannot make directories of the configuration: %w", err)
	}
	var key, root string
	if len(g.Key) > 0 {
		if key, err = f.keep("psk-", "", []byte(base64.StdEncoding.EncodeToString(g.Key)+"\n")); err != nil {
			return err
		}
	}
	if len(g.Root) > 0 {
		if root, err = f.keep("root-", ".json", g.Root); err != nil {
			return err
		}
	}
	defer func() { err = errors.Join(err, f.tidy()) }()
	text := []byte(settings(g, key, root))
	candidate := f.Config() + ".new"
	defer os.Remove(candidate)
	if err := durable.WriteFile(candidate, text, 0o644); err != nil {
		return fmt.Errorf("cannot write the configuration: %w", err)
	}
	if err := check(candidate); err != nil {
		return err
	}
	if err := durable.WriteFile(f.Config(), text, 0o644); err != nil {
		return fmt.Errorf("cannot write the configuration: %w", err)
	}
	return nil
}

// keep writes a file whose name is new if its content is.
func (f Folder) keep(prefix, suffix string, content []byte) (string, error) {
	sum := sha256.Sum256(content)
	path := filepath.Join(f.secrets(), fmt.Sprintf("%s%x%s", prefix, sum[:4], suffix))
	if err := durable.WriteFile(path, content, 0o600); err != nil {
		return "", fmt.Errorf("cannot keep what the backend has granted: %w", err)
	}
	return path, nil
}

// tidy removes the keys and roots that the configuration does not name.
func (f Folder) tidy() error {
	config, err := os.ReadFile(f.Config())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	files, err := os.ReadDir(f.secrets())
	for _, file := range files {
		path := filepath.Join(f.secrets(), file.Name())
		if kept := strings.HasPrefix(file.Name(), "psk-") || strings.HasPrefix(file.Name(), "root-"); kept && !bytes.Contains(config, []byte(path)) {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}

// settings are the file of the configuration. It takes back what another way to be
// configured may have said.
func settings(g enrol.Grant, key, root string) string {
	text := fmt.Sprintf("# Written by tranquil-agent enrol, at %s.\nendpoint = %q\n\n[lwm2m]\nserver = %q\nbootstrap = \"\"\npsk = %q\nidentity = \"\"\ncert = \"\"\nkey = \"\"\nroots = \"\"\n\n[files]\nurl = %q\n",
		time.Now().UTC().Format(time.RFC3339), g.Device, g.Server, key, g.Files)
	if root != "" {
		text += fmt.Sprintf("\n[trust]\nroot = %q\nunsigned = false\n", root)
	}
	return text
}

// maxAnswer bounds what a backend may say, in bytes; roots have a few thousand.
const maxAnswer = 1 << 20

// Ask exchanges an invitation. It asks again, for as long as ctx allows, when the
// network fails: the backend grants the same to the same claim.
func Ask(ctx context.Context, i enrol.Invitation, claim, version string) (enrol.Grant, error) {
	body, err := json.Marshal(enrol.Request{Token: i.Token, Claim: claim, Version: version})
	if err != nil {
		return enrol.Grant{}, err
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: security(i, time.Now), Proxy: http.ProxyFromEnvironment}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	defer client.CloseIdleConnections()
	for pause := time.Second; ; pause = min(2*pause, 30*time.Second) {
		g, again, err := ask(ctx, client, i.Host, body)
		if !again {
			return g, err
		}
		select {
		case <-ctx.Done():
			return enrol.Grant{}, err
		case <-time.After(pause):
		}
	}
}

func ask(ctx context.Context, client *http.Client, host string, body []byte) (g enrol.Grant, again bool, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+host+enrol.Path, bytes.NewReader(body))
	if err != nil {
		return g, false, err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := client.Do(request)
	if err != nil {
		return g, !errors.Is(err, errAuthority), fmt.Errorf("cannot reach the backend: %w", err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return g, true, fmt.Errorf("cannot read the backend's answer: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return g, answer.StatusCode >= 500, fmt.Errorf("the backend refuses: %s", reason(answer.Status, text))
	}
	if err := json.Unmarshal(text, &g); err != nil {
		return g, false, fmt.Errorf("cannot read the backend's answer: %w", err)
	}
	return g, false, g.Check()
}

// reason is that of problem details (RFC 9457), or the status.
func reason(status string, text []byte) string {
	var problem struct{ Title, Detail string }
	if json.Unmarshal(text, &problem) != nil || problem.Title+problem.Detail == "" {
		return status
	}
	if problem.Detail != "" {
		return problem.Detail
	}
	return problem.Title
}

// errAuthority refuses a server that is not the one of the invitation.
var errAuthority = errors.New("the server is not the one that the invitation is of: its certificate is by another authority")

// security trusts the authority of the invitation alone, or, if it names none, those
// that the device trusts. A clock that was not set must not keep a device away: what
// is not valid yet counts as just valid.
func security(i enrol.Invitation, clock func() time.Time) *tls.Config {
	if len(i.Authority) == 0 {
		return &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, // in favour of:
		VerifyConnection: func(c tls.ConnectionState) error {
			roots, between := x509.NewCertPool(), x509.NewCertPool()
			known := false
			now := clock()
			for _, cert := range c.PeerCertificates {
				between.AddCert(cert)
				if now.Before(cert.NotBefore) {
					now = cert.NotBefore
				}
				if sum := sha256.Sum256(cert.Raw); bytes.Equal(sum[:], i.Authority) {
					roots.AddCert(cert)
					known = true
				}
			}
			if !known {
				return errAuthority
			}
			_, err := c.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: c.ServerName, Roots: roots, Intermediates: between, CurrentTime: now})
			return err
		},
	}
}
