package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

type signCmd struct {
	Files    []string `arg:"" optional:"" name:"file" help:"Packages of one component to sign for, beside those that were signed for before; none: what was is renewed. Or one file of metadata, as in 2.root.json, which needs another signature."`
	Key      []string `required:"" placeholder:"FILE" help:"Private key, as in alice.key."`
	Of       string   `name:"component" placeholder:"COMPONENT" help:"Component whose author signs; default: that of the packages."`
	Withdraw []string `placeholder:"VERSION" help:"Version of the component that is no longer to be installed; devices that have it keep it."`
	Root     string   `env:"TRANQUIL_ROOT" default:"root.json" help:"Root metadata to begin with."`
	Dir      string   `help:"Directory of tranquil trust init, for the signature of a root or targets."`
	Insecure bool     `help:"Send the token unencrypted to a host that is not this one."`
	vault
}

func (c *signCmd) Run(s *session) error {
	if len(c.Files) == 1 && strings.HasSuffix(c.Files[0], ".json") {
		return c.cosign(s, c.Files[0])
	}
	packages, err := describePackages(c.Files)
	if err != nil {
		return err
	}
	for _, p := range packages {
		if c.Of == "" {
			c.Of = p.Component
		}
		if p.Component != c.Of {
			return fmt.Errorf("the packages are for %s and %s: sign for one component after the other", c.Of, p.Component)
		}
	}
	if c.Of == "" {
		return errors.New("nothing to sign: name packages, or --component to renew what was signed")
	}
	return c.endorse(s, packages)
}

// endorse lists packages in the author's metadata, and publishes that.
func (c *signCmd) endorse(s *session, packages []trust.Package) error {
	f, a, err := c.author(s)
	if err != nil {
		return err
	}
	if a.Lost != nil {
		fmt.Fprintf(s.err, "warning: what %s has signed before does not count (%v): sign for all packages that are still good\n", a.Name, a.Lost)
	}
	if err := c.withdraw(&a); err != nil {
		return err
	}
	keys, err := c.signers(s, c.Key, "", nil)
	if err != nil {
		return err
	}
	signed, err := trust.Endorse(a, packages, keys, time.Now())
	if err != nil {
		return err
	}
	if signed.Missing == a.Threshold {
		return fmt.Errorf("none of these keys is one of %s, who signs for %s", a.Name, c.Of)
	}
	for _, p := range packages {
		fmt.Fprintf(s.out, "%s %s %s\n", p.Component, p.Version, p.Digest)
	}
	return c.finish(s, f, signed.Name, signed)
}

// withdraw takes versions out of what the author lists.
func (c *signCmd) withdraw(a *trust.Author) error {
	for _, version := range c.Withdraw {
		at := slices.IndexFunc(a.Packages, func(p trust.Package) bool { return p.Component == c.Of && p.Version == version })
		if at < 0 {
			return fmt.Errorf("%s does not list %s", a.Name, trust.TargetPath(c.Of, version))
		}
		a.Packages = slices.Delete(a.Packages, at, at+1)
	}
	return nil
}

// author looks up who signs for the component.
func (c *signCmd) author(s *session) (*shelf, trust.Author, error) {
	f, err := s.shelf(c.Insecure)
	if err != nil {
		return nil, trust.Author{}, err
	}
	if f == nil || s.Token == "" {
		return nil, trust.Author{}, errors.New("no file server, or no token for it: --files and $TRANQUIL_TOKEN")
	}
	client, done, err := s.client(c.Root, f.fetch)
	if err != nil {
		return nil, trust.Author{}, err
	}
	defer done()
	a, err := client.Author(s.ctx, c.Of)
	return f, a, err
}

// finish publishes what has all signatures.
func (c *signCmd) finish(s *session, f *shelf, path string, signed trust.Signed) error {
	if signed.Missing > 0 {
		return pending(s, path, signed, "--root "+c.Root)
	}
	if _, err := f.do(s.ctx, http.MethodPut, signed.Name, signed.Data); err != nil {
		return err
	}
	_, err := fmt.Fprintf(s.out, "published %s\n", signed.Name)
	return err
}

// cosign adds a signature to what others have signed.
func (c *signCmd) cosign(s *session, path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	role, _, err := trust.ParseFile(filepath.Base(path))
	if err != nil {
		return err
	}
	keys, err := c.signers(s, c.Key, "", nil)
	if err != nil {
		return err
	}
	if role == trust.Root || role == trust.Targets {
		return c.cosignRole(s, path, b, keys)
	}
	packages, err := trust.Listed(b)
	if err != nil {
		return err
	}
	for _, p := range packages {
		c.Of = p.Component
		fmt.Fprintf(s.out, "%s %s %s\n", p.Component, p.Version, p.Digest)
	}
	f, a, err := c.author(s)
	if err != nil {
		return err
	}
	signed, err := a.Cosign(b, keys)
	if err != nil {
		return err
	}
	return c.finish(s, f, path, signed)
}

// cosignRole adds a signature to a root or targets, which is published when it
// has all.
func (c *signCmd) cosignRole(s *session, path string, b []byte, keys []trust.Key) error {
	if c.Dir == "" {
		return errors.New("a root or targets is signed by the metadata of tranquil trust init: --dir DIR")
	}
	f, err := s.shelf(c.Insecure)
	if err != nil {
		return err
	}
	r, err := openDir(c.Dir)
	if err != nil {
		return err
	}
	signed, err := r.Cosign(filepath.Base(path), b, keys)
	if err != nil {
		return err
	}
	if signed.Missing > 0 {
		return pending(s, path, signed, "--dir "+c.Dir)
	}
	if err := settle(c.Dir, r, signed); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "signed %s\n", signed.Name)
	return errors.Join(publish(s, f, c.Dir), os.Remove(path))
}

// describePackages reads what is to be signed or checked: all of it, since a
// signature vouches for every byte.
func describePackages(paths []string) (all []trust.Package, err error) {
	for _, path := range paths {
		l, err := pack.Open(path)
		if err != nil {
			return nil, err
		}
		err = l.Verify()
		all = append(all, trust.Of(l.Package))
		l.Close()
		if err != nil {
			return nil, fmt.Errorf("%s is damaged:\n%w", path, err)
		}
	}
	return all, nil
}
