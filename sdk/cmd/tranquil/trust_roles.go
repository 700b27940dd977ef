package main

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/trust"
)

type trustInitCmd struct {
	Dir       string `arg:"" help:"Directory to make: of the keys, the metadata, and root.json, which devices get."`
	Online    string `placeholder:"FILE" help:"Public key of the file server; default: it is asked."`
	Keys      int    `default:"3" help:"How many root keys to make."`
	Threshold int    `default:"2" help:"How many of them have to sign a new root."`
	Insecure  bool   `help:"Send the token unencrypted to a host that is not this one."`
	vault
}

func (c *trustInitCmd) Run(s *session) error {
	f, err := s.shelf(c.Insecure)
	if err != nil {
		return err
	}
	online, err := onlineOf(s, c.Online, f)
	if err != nil {
		return err
	}
	if c.Threshold < 1 || c.Threshold > c.Keys {
		return fmt.Errorf("--threshold %d is not between 1 and --keys %d", c.Threshold, c.Keys)
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(c.Dir)), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(c.Dir, 0o700); err != nil {
		return fmt.Errorf("a root is made once, in a directory of its own: %w", err)
	}
	if err := c.found(s, online); err != nil {
		return err
	}
	id, err := trust.KeyID(online)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, `made %[1]s
%[1]s/root.json     give this to devices, over a way that you trust: [trust] root in agent.toml
%[1]s/keys          keep the root keys apart from each other and off the network, and a copy of each
file server key     %[2]s: compare it with its log ("snapshot and timestamp are signed by this server")
`, filepath.Clean(c.Dir), trust.Short(id))
	return publish(s, f, c.Dir)
}

// found makes the keys and what they sign first.
func (c *trustInitCmd) found(s *session, online crypto.PublicKey) error {
	keys := filepath.Join(c.Dir, "keys")
	if err := os.Mkdir(keys, 0o700); err != nil {
		return err
	}
	made := trust.Founding{Threshold: c.Threshold, Online: online}
	var all []trust.Key
	for i := range c.Keys {
		key, err := c.make(s, filepath.Join(keys, fmt.Sprintf("root-%d.key", i+1)))
		if err != nil {
			return err
		}
		all, made.Root = append(all, key), append(made.Root, key.Public())
	}
	targets, err := c.make(s, filepath.Join(keys, "targets.key"))
	if err != nil {
		return err
	}
	made.Targets = targets.Public()
	files, err := trust.Found(made, append(all, targets), time.Now())
	if err != nil {
		return err
	}
	r, err := trust.OpenRepository(filepath.Join(c.Dir, "metadata"), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := settle(c.Dir, r, f); err != nil {
			return err
		}
	}
	return nil
}

// onlineOf is the file server's key, from a file or from itself.
func onlineOf(s *session, file string, f *shelf) (crypto.PublicKey, error) {
	if file != "" {
		return readPublic(file)
	}
	if f == nil {
		return nil, errors.New("the root has to name the file server's key: start the file server and give --files, or --online FILE with its trust/online.pub")
	}
	b, err := f.do(s.ctx, http.MethodGet, "online.pub", nil)
	if err != nil {
		return nil, fmt.Errorf("cannot ask the file server for its key: %w", err)
	}
	return trust.DecodePublicKey(b)
}

// settle adds what is signed to an operator's directory.
func settle(dir string, r *trust.Repository, f trust.Signed) error {
	if err := r.Add(f.Name, f.Data); err != nil {
		return err
	}
	if role, _, _ := trust.ParseFile(f.Name); role == trust.Root {
		return trust.WriteFile(filepath.Join(dir, "root.json"), f.Data, 0o644)
	}
	return nil
}

type trustPublishCmd struct {
	Dir      string `arg:"" help:"Directory of tranquil trust init."`
	Insecure bool   `help:"Send the token unencrypted to a host that is not this one."`
}

func (c *trustPublishCmd) Run(s *session) error {
	f, err := s.shelf(c.Insecure)
	if err != nil {
		return err
	}
	if f == nil || s.Token == "" {
		return errors.New("no file server, or no token for it: --files and $TRANQUIL_TOKEN")
	}
	return publish(s, f, c.Dir)
}

// publish sends what the file server does not have yet, if there is one.
func publish(s *session, f *shelf, dir string) error {
	if f == nil || s.Token == "" {
		_, err := fmt.Fprintf(s.out, "It is not published: tranquil trust publish %s, with --files and $TRANQUIL_TOKEN.\n", dir)
		return err
	}
	r, err := openDir(dir)
	if err != nil {
		return err
	}
	there, err := f.standings(s.ctx)
	if err != nil {
		return err
	}
	for _, role := range []string{trust.Root, trust.Targets} {
		for version := versionOf(there, role) + 1; ; version++ {
			name := trust.File(role, version)
			b, err := r.Read(name)
			if errors.Is(err, trust.ErrNotFound) {
				break
			}
			if err != nil {
				return err
			}
			if _, err := f.do(s.ctx, http.MethodPut, name, b); err != nil {
				return err
			}
			fmt.Fprintf(s.out, "published %s\n", name)
		}
	}
	return nil
}

func versionOf(all []trust.Standing, role string) int64 {
	for _, st := range all {
		if st.Role == role {
			return st.Version
		}
	}
	return 0
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

// An amendment is what changes of a role have in common.
type amendment struct {
	Key       []string `name:"key" placeholder:"FILE" help:"Key to sign the change with; default: those in DIR/keys that may."`
	Threshold int      `help:"How many of the role's keys have to sign from now on; default: as before."`
	Insecure  bool     `help:"Send the token unencrypted to a host that is not this one."`
	vault
}

// amend makes a change, signs it, and publishes it when it has all signatures.
func (a *amendment) amend(s *session, dir, role string, c trust.Change) error {
	f, err := s.shelf(a.Insecure)
	if err != nil {
		return err
	}
	r, err := openDir(dir)
	if err != nil {
		return err
	}
	keys, err := a.signers(s, a.Key, filepath.Join(dir, "keys"), r.Signers(role))
	if err != nil {
		return err
	}
	c.Threshold = a.Threshold
	signed, err := r.Amend(role, c, keys, time.Now())
	if err != nil {
		return err
	}
	if signed.Missing > 0 {
		return pending(s, filepath.Join(dir, signed.Name), signed, "--dir "+dir)
	}
	if err := settle(dir, r, signed); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "signed %s\n", signed.Name)
	return publish(s, f, dir)
}

// pending puts aside what others have to sign as well.
func pending(s *session, path string, f trust.Signed, how string) error {
	if err := trust.WriteFile(path, f.Data, 0o644); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "%[1]s needs %[2]d more: take it to whoever has another key, for tranquil trust sign %[1]s --key FILE %[3]s\n", path, f.Missing, how)
	return err
}

type addAuthorCmd struct {
	Dir       string   `arg:"" help:"Directory of tranquil trust init."`
	Name      string   `arg:"" help:"Author, as in alice."`
	Public    []string `arg:"" optional:"" help:"Public keys of the author, as in alice.pub."`
	Component []string `required:"" help:"Component that the author may sign for, as in application/greeter."`
	amendment
}

func (c *addAuthorCmd) Run(s *session) error {
	add, err := readPublics(c.Public)
	if err != nil {
		return err
	}
	return c.amend(s, c.Dir, c.Name, trust.Change{Add: add, Component: c.Component})
}

func readPublics(paths []string) (all []crypto.PublicKey, err error) {
	for _, path := range paths {
		key, err := readPublic(path)
		if err != nil {
			return nil, err
		}
		all = append(all, key)
	}
	return all, nil
}

// everyKey is the beginning of each id.
var everyKey = []string{""}

type rotateCmd struct {
	Dir     string   `arg:"" help:"Directory of tranquil trust init."`
	Role    string   `arg:"" help:"root, targets, online or an author. With neither --add nor --remove root and targets are renewed, and online gets the file server's key."`
	Add     []string `placeholder:"FILE" help:"Public key that is added."`
	Remove  []string `placeholder:"ID" help:"Key that is removed, by the beginning of its id, as tranquil trust status shows it."`
	Replace bool     `help:"Remove all keys but those that are added."`
	amendment
}

func (c *rotateCmd) Run(s *session) error {
	add, err := readPublics(c.Add)
	if err != nil {
		return err
	}
	change := trust.Change{Add: add, Remove: c.Remove}
	if c.Replace {
		change.Remove = everyKey
	}
	if c.Role == trust.Online && len(c.Add) == 0 {
		if change, err = c.online(s); err != nil {
			return err
		}
	}
	r, err := openDir(c.Dir)
	if err != nil {
		return err
	}
	known := slices.ContainsFunc(r.Standings(time.Now()), func(st trust.Standing) bool { return st.Role == c.Role })
	if !known && c.Role != trust.Online {
		return fmt.Errorf("there is no role %s here: tranquil trust status %s lists them", c.Role, c.Dir)
	}
	return c.amend(s, c.Dir, c.Role, change)
}

// online gives snapshot and timestamp to the file server's present key alone.
func (c *rotateCmd) online(s *session) (trust.Change, error) {
	f, err := s.shelf(c.Insecure)
	if err != nil {
		return trust.Change{}, err
	}
	key, err := onlineOf(s, "", f)
	if err != nil {
		return trust.Change{}, err
	}
	id, err := trust.KeyID(key)
	if err != nil {
		return trust.Change{}, err
	}
	fmt.Fprintf(s.out, "file server key %s\n", trust.Short(id))
	return trust.Change{Add: []crypto.PublicKey{key}, Remove: everyKey}, nil
}
