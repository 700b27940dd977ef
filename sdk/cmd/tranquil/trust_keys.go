package main

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// A vault is how a command gets at private keys.
type vault struct {
	PassphraseFile string `xor:"passphrase" placeholder:"FILE" help:"File with the passphrase of the keys; default: $TRANQUIL_PASSPHRASE, or it is asked for."`
	NoPassphrase   bool   `xor:"passphrase" help:"Write new keys without encryption."`

	known []byte
}

// passphrase asks once for all keys of a command; of new keys twice.
func (v *vault) passphrase(s *session, what string, isNew bool) ([]byte, error) {
	if v.known != nil {
		return v.known, nil
	}
	p, err := v.find(s, what, isNew)
	if err == nil && len(p) == 0 {
		err = errors.New("the passphrase is empty")
	}
	v.known = p
	return p, err
}

func (v *vault) find(s *session, what string, isNew bool) ([]byte, error) {
	if v.PassphraseFile != "" {
		b, err := trust.ReadSecret(v.PassphraseFile)
		return bytes.TrimRight(b, "\r\n"), err
	}
	if p := os.Getenv("TRANQUIL_PASSPHRASE"); p != "" {
		return []byte(p), nil
	}
	if s.terminal() == nil {
		return nil, fmt.Errorf("no passphrase for %s: set TRANQUIL_PASSPHRASE, or give --passphrase-file", what)
	}
	p, err := s.secret("Passphrase for " + what + ": ")
	if err != nil || !isNew {
		return p, err
	}
	again, err := s.secret("The same once more: ")
	if err == nil && !bytes.Equal(p, again) {
		err = errors.New("the two passphrases are not the same: nothing is written")
	}
	return p, err
}

// make writes a new key and, beside it, its public half.
func (v *vault) make(s *session, path string) (trust.Key, error) {
	var secret []byte
	for _, file := range []string{path, publicPath(path)} {
		if _, err := os.Lstat(file); err == nil {
			return nil, fmt.Errorf("%s is there already: a key is never replaced", file)
		}
	}
	if !v.NoPassphrase {
		var err error
		if secret, err = v.passphrase(s, "new keys", true); err != nil {
			return nil, err
		}
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
	return key, errors.Join(durable.WriteFile(path, private, 0o600), durable.WriteFile(publicPath(path), public, 0o644))
}

func publicPath(key string) string { return strings.TrimSuffix(key, ".key") + ".pub" }

// A fileKey is a key that knows where it is from.
type fileKey struct {
	trust.Key
	path, id string
}

// attempts is how often a passphrase may be mistyped.
const attempts = 3

// read asks at the terminal for the passphrase of a key that has another one
// than the key before.
func (v *vault) read(s *session, path string) (fileKey, error) {
	key, err := trust.ReadKey(path, func() ([]byte, error) { return v.passphrase(s, path, false) })
	for range attempts {
		if !errors.Is(err, trust.ErrPassphrase) || s.terminal() == nil {
			break
		}
		fmt.Fprintln(s.err, err)
		key, err = trust.ReadKey(path, func() (_ []byte, err error) {
			v.known, err = s.secret("Passphrase for " + path + ": ")
			return v.known, err
		})
	}
	if err != nil {
		return fileKey{}, err
	}
	id, err := trust.KeyID(key.Public())
	return fileKey{key, path, id}, err
}

// signers are the keys that were named or else, of those in dir, the ones with
// these ids.
func (v *vault) signers(s *session, named []string, dir string, ids []string) ([]fileKey, error) {
	if len(named) == 0 {
		var err error
		if named, err = ownKeys(dir, ids); err != nil {
			return nil, err
		}
	}
	if len(named) == 0 {
		return nil, fmt.Errorf("none of the keys in %s may sign this: --key FILE", dir)
	}
	var keys []fileKey
	for _, path := range named {
		key, err := v.read(s, path)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// eligible refuses keys whose signatures would not count, or are there already.
func eligible(keys []fileKey, may, by []string, role string) error {
	for _, k := range keys {
		if !slices.Contains(may, k.id) {
			return fmt.Errorf("%s is none of %s's keys: its signature does not count", k.path, role)
		}
		if slices.Contains(by, k.id) {
			return fmt.Errorf("%s has signed already: another of %s's keys has to", k.path, role)
		}
	}
	return nil
}

func plainKeys(keys []fileKey) (all []trust.Key) {
	for _, k := range keys {
		all = append(all, k.Key)
	}
	return all
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

type trustKeyCmd struct {
	File string `arg:"" help:"File to write, as in alice.key; its public half goes to alice.pub."`
	Of   string `placeholder:"KEY" help:"Make none: write the public half of a key that is elsewhere, exec:PROGRAM or pkcs11:URI, to FILE."`
	vault
}

func (c *trustKeyCmd) Run(s *session) error {
	if c.Of != "" {
		return c.copyPublic(s)
	}
	key, err := c.make(s, c.File)
	if err != nil {
		return err
	}
	id, err := trust.KeyID(key.Public())
	fmt.Fprintf(s.out, "key %s\nKeep %s to yourself, and give %s to whoever runs tranquil trust add-author.\n", trust.Short(id), c.File, publicPath(c.File))
	return err
}

// copyPublic writes the public half of a key that stays where it is.
func (c *trustKeyCmd) copyPublic(s *session) error {
	key, err := c.read(s, c.Of)
	if err != nil {
		return err
	}
	b, err := trust.EncodePublicKey(key.Public())
	if err == nil {
		err = durable.WriteFile(c.File, b, 0o644)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "key %s\nGive %s to whoever runs tranquil trust add-author, and sign with --key %q.\n", trust.Short(key.id), c.File, c.Of)
	return err
}
