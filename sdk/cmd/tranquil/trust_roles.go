package main

import (
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/durable"
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
	if _, err := os.Lstat(c.Dir); err == nil {
		return fmt.Errorf("a root is made once, in a directory of its own: %s is there already", c.Dir)
	}
	if f != nil {
		if there, err := f.standings(s.ctx); err != nil {
			return err
		} else if root := standingOf(there, trust.Root); root.Version > 0 {
			return fmt.Errorf("the file server %s has a root already (version %d, keys %s), and keeps it: tranquil trust fetch %s brings it; for another one it has to be set up anew", f.base.Host, root.Version, shortIDs(root.Keys), c.Dir)
		}
	}
	if err := c.whole(s, online); err != nil {
		return err
	}
	id, err := trust.KeyID(online)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, `made %[1]s
%[1]s/root.json     give this to devices, over a way that you trust: [trust] root in agent.toml
%[1]s/keys          keep the root keys apart from each other and off the network, and a copy of each
%[1]s/metadata      a copy of it belongs to the copies of the keys
file server key     %[2]s: compare it with its log ("snapshot and timestamp are signed by this server")
`, filepath.Clean(c.Dir), trust.Short(id))
	return publish(s, f, c.Dir)
}

// whole makes the directory with all that is in it, or nothing.
func (c *trustInitCmd) whole(s *session, online crypto.PublicKey) error {
	dir := filepath.Clean(c.Dir)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	half, err := os.MkdirTemp(filepath.Dir(dir), ".new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(half)
	if err := c.found(s, half, online); err != nil {
		return err
	}
	return os.Rename(half, dir)
}

// found makes the keys and what they sign first.
func (c *trustInitCmd) found(s *session, dir string, online crypto.PublicKey) error {
	keys := filepath.Join(dir, "keys")
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
	r, err := trust.OpenRepository(metadataOf(dir), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := settle(dir, r, f); err != nil {
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
		return durable.WriteFile(filepath.Join(dir, "root.json"), f.Data, 0o644)
	}
	return nil
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
	file, may, err := r.Next(role, c)
	if err != nil {
		return err
	}
	if err := vacant(filepath.Join(dir, file)); err != nil {
		return err
	}
	if f != nil {
		if err := f.agrees(s.ctx, r, dir); err != nil {
			return err
		}
	}
	if _, err := r.Amend(role, c, nil, time.Now()); err != nil { // before passphrases are asked for
		return err
	}
	keys, err := a.signers(s, a.Key, filepath.Join(dir, "keys"), may)
	if err != nil {
		return err
	}
	signed, err := r.Amend(role, c, plainKeys(keys), time.Now())
	if err != nil {
		return err
	}
	in, _, err := trust.ParseFile(file)
	if err == nil {
		err = eligible(keys, signed.May, nil, in)
	}
	if err == nil {
		err = showChanges(s, r, signed.Name, signed.Data)
	}
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

func showChanges(s *session, r *trust.Repository, name string, b []byte) error {
	lines, err := r.Changes(name, b)
	for _, line := range lines {
		fmt.Fprintln(s.out, line)
	}
	return err
}

// vacant refuses to make a file in place of one that waits for signatures.
func vacant(path string) error {
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("%s waits for signatures: have it signed, or remove it to begin anew", path)
	}
	return nil
}

// pending puts aside what others have to sign as well.
func pending(s *session, path string, f trust.Signed, how string) error {
	if err := durable.WriteFile(path, f.Data, 0o644); err != nil {
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
	return c.amend(s, c.Dir, c.Name, trust.Change{Add: add, Component: c.Component, Threshold: c.Threshold})
}

type removeAuthorCmd struct {
	Dir       string   `arg:"" help:"Directory of tranquil trust init."`
	Name      string   `arg:"" help:"Author, as in alice."`
	Component []string `help:"Component that the author no longer signs for; default: all, and the author is removed."`
	amendment
}

func (c *removeAuthorCmd) Run(s *session) error {
	return c.amend(s, c.Dir, c.Name, trust.Change{Drop: c.Component, Gone: len(c.Component) == 0, Threshold: c.Threshold})
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

// identify replaces the names of files of public keys by the ids of the keys.
func identify(keys []string) (ids []string, err error) {
	for _, key := range keys {
		if strings.HasSuffix(key, ".pub") {
			public, err := readPublic(key)
			if err != nil {
				return nil, err
			}
			if key, err = trust.KeyID(public); err != nil {
				return nil, err
			}
		}
		ids = append(ids, key)
	}
	return ids, nil
}

type rotateCmd struct {
	Dir     string   `arg:"" help:"Directory of tranquil trust init."`
	Role    string   `arg:"" help:"root, targets, online or an author. Without any change of keys root and targets are renewed, each by its own keys, and online gets the file server's key."`
	Add     []string `placeholder:"FILE" help:"Public key that is added."`
	Remove  []string `sep:"none" placeholder:"ID" help:"Key that is removed: the beginning of its id, as tranquil trust status shows it, or the file with its public half."`
	Replace bool     `help:"Remove all keys but those that are added."`
	amendment
}

func (c *rotateCmd) Run(s *session) error {
	add, err := readPublics(c.Add)
	if err != nil {
		return err
	}
	remove, err := identify(c.Remove)
	if err != nil {
		return err
	}
	change := trust.Change{Add: add, Remove: remove, Replace: c.Replace, Threshold: c.Threshold}
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
	if err := c.amend(s, c.Dir, c.Role, change); err != nil {
		return err
	}
	if c.Role == trust.Targets && len(add)+len(c.Remove) > 0 {
		fmt.Fprintf(s.out, "When that is published targets counts only if its new keys sign it: tranquil trust rotate %s targets --key FILE\n", c.Dir)
	}
	return nil
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
	return trust.Change{Add: []crypto.PublicKey{key}, Replace: true}, nil
}
