package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/tranquil-iot/tranquil/sdk/trust"
)

type trustCmd struct {
	Init      trustInitCmd    `cmd:"" help:"Begin: make the root, and the keys that sign it."`
	Key       trustKeyCmd     `cmd:"" help:"Make a key, as for an author."`
	AddAuthor addAuthorCmd    `cmd:"" name:"add-author" help:"Let an author sign for components."`
	Rotate    rotateCmd       `cmd:"" help:"Replace keys of a role, or renew what is about to expire."`
	Sign      signCmd         `cmd:"" help:"Sign for packages as their author, or add a signature to metadata."`
	Publish   trustPublishCmd `cmd:"" help:"Send metadata to the file server, from root on."`
	Status    trustStatusCmd  `cmd:"" help:"Show roles, keys and what has to be done: exit code 1 if there is something."`
	Check     trustCheckCmd   `cmd:"" help:"Judge a package as a device would, by the file server or a folder of metadata."`
}

// A vault is how a command gets at private keys.
type vault struct {
	PassphraseFile string `placeholder:"FILE" help:"File with the passphrase of the keys; default: $TRANQUIL_PASSPHRASE, or it is asked for."`
	NoPassphrase   bool   `help:"Write new keys without encryption."`

	known []byte
}

// passphrase asks once for all keys of a command.
func (v *vault) passphrase(s *session, what string) ([]byte, error) {
	if v.known != nil {
		return v.known, nil
	}
	p, err := v.ask(s, what)
	if err == nil && len(p) == 0 {
		err = errors.New("the passphrase is empty")
	}
	v.known = p
	return p, err
}

func (v *vault) ask(s *session, what string) ([]byte, error) {
	if v.PassphraseFile != "" {
		b, err := os.ReadFile(v.PassphraseFile)
		return bytes.TrimRight(b, "\r\n"), err
	}
	if p := os.Getenv("TRANQUIL_PASSPHRASE"); p != "" {
		return []byte(p), nil
	}
	in, ok := s.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return nil, fmt.Errorf("no passphrase for %s: set TRANQUIL_PASSPHRASE, or give --passphrase-file", what)
	}
	fmt.Fprintf(s.err, "Passphrase for %s: ", what)
	p, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(s.err)
	return p, err
}

// make writes a new key and, beside it, its public half.
func (v *vault) make(s *session, path string) (trust.Key, error) {
	var secret []byte
	if !v.NoPassphrase {
		var err error
		if secret, err = v.passphrase(s, "new keys"); err != nil {
			return nil, err
		}
	}
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("%s is there already: a key is never replaced", path)
	}
	key, err := trust.NewKey()
	if err != nil {
		return nil, err
	}
	private, err := trust.EncodeKey(key, secret)
	if err != nil {
		return nil, err
	}
	public, err := trust.EncodePublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return key, errors.Join(trust.WriteFile(path, private, 0o600), trust.WriteFile(publicPath(path), public, 0o644))
}

func publicPath(key string) string { return strings.TrimSuffix(key, ".key") + ".pub" }

func (v *vault) read(s *session, path string) (trust.Key, error) {
	key, err := trust.ReadKey(path, func() ([]byte, error) { return v.passphrase(s, path) })
	if errors.Is(err, trust.ErrPassphrase) {
		v.known = nil // the next key may have another one, which is asked for
	}
	return key, err
}

// signers are the keys that were named or else, of those in dir, the ones with
// these ids.
func (v *vault) signers(s *session, named []string, dir string, ids []string) ([]trust.Key, error) {
	if len(named) == 0 {
		var err error
		if named, err = ownKeys(dir, ids); err != nil {
			return nil, err
		}
	}
	var keys []trust.Key
	for _, path := range named {
		key, err := v.read(s, path)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func ownKeys(dir string, ids []string) ([]string, error) {
	all, err := filepath.Glob(filepath.Join(dir, "*.key"))
	if err != nil {
		return nil, err
	}
	var own []string
	for _, path := range all {
		public, err := readPublic(publicPath(path))
		if err != nil {
			continue // without it nobody can tell whose key it is: it can be named
		}
		if id, err := trust.KeyID(public); err == nil && slices.Contains(ids, id) {
			own = append(own, path)
		}
	}
	return own, nil
}

func readPublic(path string) (crypto.PublicKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read public key: %w", err)
	}
	key, err := trust.DecodePublicKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// A shelf is the trust part of a file server.
type shelf struct {
	base  *url.URL
	token string
}

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
	case resp.StatusCode/100 != 2:
		return nil, fmt.Errorf("the file server refuses %s: %s %s", name, resp.Status, bytes.TrimSpace(b))
	}
	return b, nil
}

// fetch is for a trust.Client.
func (f *shelf) fetch(ctx context.Context, name string, _ int64) ([]byte, error) {
	return f.do(ctx, http.MethodGet, name, nil)
}

// client judges by a root, and keeps nothing.
func (s *session) client(root string, fetch trust.Fetch) (*trust.Client, func(), error) {
	b, err := os.ReadFile(root)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read root metadata, which whoever ran tranquil trust init has: %w", err)
	}
	dir, err := os.MkdirTemp("", "tranquil-trust-")
	if err != nil {
		return nil, nil, err
	}
	// The clock of whoever signs and checks is one that people look at.
	c, err := trust.Open(trust.Config{Dir: dir, Root: b, Fetch: fetch, Clock: trust.Clock{Synchronised: func() bool { return true }}})
	return c, func() { os.RemoveAll(dir) }, err
}

type trustKeyCmd struct {
	File string `arg:"" help:"File to write, as in alice.key; its public half goes to alice.pub."`
	vault
}

func (c *trustKeyCmd) Run(s *session) error {
	key, err := c.make(s, c.File)
	if err != nil {
		return err
	}
	id, err := trust.KeyID(key.Public())
	fmt.Fprintf(s.out, "key %s\nKeep %s to yourself, and give %s to whoever runs tranquil trust add-author.\n", trust.Short(id), c.File, publicPath(c.File))
	return err
}

type trustStatusCmd struct {
	Dir  string `arg:"" optional:"" help:"Directory of tranquil trust init; default: what the file server has."`
	JSON bool   `help:"Print JSON."`
}

func (c *trustStatusCmd) Run(s *session) error {
	standings, err := c.standings(s)
	if err != nil {
		return err
	}
	if c.JSON {
		err = s.printJSON(standings)
	} else {
		err = showStandings(s.out, standings)
	}
	for _, st := range standings {
		if st.Problem != "" {
			return cmp.Or(err, fmt.Errorf("%s: %s", st.Role, st.Problem))
		}
	}
	return err
}

func (c *trustStatusCmd) standings(s *session) (all []trust.Standing, err error) {
	if c.Dir != "" {
		r, err := openDir(c.Dir)
		if err != nil {
			return nil, err
		}
		return r.Standings(time.Now()), nil
	}
	f, err := s.shelf(true) // no token is sent
	if err != nil {
		return nil, err
	}
	if f == nil {
		return nil, errors.New("no file server: give a directory, --files or $TRANQUIL_FILES")
	}
	return f.standings(s.ctx)
}

func showStandings(out io.Writer, standings []trust.Standing) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ROLE\tVERSION\tEXPIRES\tSIGNED BY\tFOR\t")
	for _, st := range standings {
		expires := "not published"
		if st.Version > 0 {
			expires = st.Expires.Local().Format(time.DateTime)
		}
		var keys []string
		for _, id := range st.Keys {
			keys = append(keys, trust.Short(id))
		}
		by := strings.Join(keys, " ")
		if len(keys) > 1 {
			by = fmt.Sprintf("%d of %s", st.Threshold, by)
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t\n", st.Role, st.Version, expires, by, strings.Join(st.Components, " "))
		for _, path := range st.Packages {
			fmt.Fprintf(w, "\t\t\t\t  %s\t\n", path)
		}
	}
	return w.Flush()
}

type trustCheckCmd struct {
	Package string `arg:"" help:"Package file or layout directory."`
	Folder  string `arg:"" optional:"" help:"Folder of metadata, as on a USB stick; default: the file server."`
	Root    string `env:"TRANQUIL_ROOT" default:"root.json" help:"Root metadata to begin with."`
}

func (c *trustCheckCmd) Run(s *session) error {
	packages, err := describePackages([]string{c.Package})
	if err != nil {
		return err
	}
	fetch := trust.Folder(c.Folder)
	if c.Folder == "" {
		f, err := s.shelf(true)
		if err != nil {
			return err
		}
		if f == nil {
			return errors.New("no file server: give a folder, --files or $TRANQUIL_FILES")
		}
		fetch = f.fetch
	}
	client, done, err := s.client(c.Root, fetch)
	if err != nil {
		return err
	}
	defer done()
	v, err := client.Verify(s.ctx, packages[0])
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s %s is signed for by %s\n%s\n", packages[0].Component, packages[0].Version, v.Author, packages[0].Digest)
	return nil
}

// openDir opens the metadata of an operator's directory.
func openDir(dir string) (*trust.Repository, error) {
	metadata := filepath.Join(dir, "metadata")
	if _, err := os.Stat(metadata); err != nil {
		return nil, fmt.Errorf("%s is not a directory of tranquil trust init: %w", dir, err)
	}
	return trust.OpenRepository(metadata, slog.New(slog.NewTextHandler(os.Stderr, nil)))
}
