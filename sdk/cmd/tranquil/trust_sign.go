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
	Again    bool     `help:"Sign for a version that you have withdrawn."`
	Accept   bool     `help:"Sign also for what the file server lists and you have not signed from here, as at another machine."`
	List     bool     `help:"Show also what stays as it was."`
	Yes      bool     `help:"Add a signature to metadata without being asked."`
	State    string   `placeholder:"DIR" help:"Where to keep what you have signed; default: in your configuration directory, by the root."`
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
		if slices.Contains(c.Withdraw, p.Version) {
			return fmt.Errorf("is %s to be signed for or to be withdrawn?", pathOf(p))
		}
	}
	switch {
	case c.Of == "" && len(c.Withdraw) > 0:
		return errors.New("--withdraw of which component? Give --component, as in application/greeter")
	case c.Of == "":
		return errors.New("nothing to sign: name packages, or --component to renew what was signed")
	}
	return c.endorse(s, packages)
}

// A desk is where an author signs.
type desk struct {
	trust.Author
	files  *shelf
	ledger *ledger
}

// sit looks up who signs for the component, and what was signed.
func (c *signCmd) sit(s *session) (*desk, error) {
	if err := pack.CheckComponent(c.Of); err != nil {
		return nil, err
	}
	f, err := s.publisher(c.Insecure)
	if err != nil {
		return nil, err
	}
	root, err := readRoot(c.Root)
	if err != nil {
		return nil, err
	}
	dir, err := stateOf(c.State, root)
	if err != nil {
		return nil, err
	}
	j, err := newJudge(c.Root, dir, f, f.fetch)
	if err != nil {
		return nil, err
	}
	a, err := j.Author(s.ctx, c.Of)
	if err != nil {
		return nil, j.explain(s.ctx, a.Name, err)
	}
	if a.Lost != nil {
		a.Lost = j.explain(s.ctx, a.Name, a.Lost)
	}
	l, err := openLedger(dir, a.Name)
	return &desk{a, f, l}, err
}

// endorse lists packages in the author's metadata, and publishes that.
func (c *signCmd) endorse(s *session, packages []trust.Package) error {
	d, err := c.sit(s)
	if err != nil {
		return err
	}
	path := trust.File(d.Name, d.Version+1)
	if err := vacant(path); err != nil {
		return err
	}
	switch {
	case errors.Is(d.Lost, trust.ErrUnsigned):
		fmt.Fprintf(s.err, "warning: what %s has signed before does not count: %v. Sign for all packages that are still good\n", d.Name, d.Lost)
	case d.Lost != nil:
		fmt.Fprintf(s.err, "warning: the file server does not have what %s has signed: %v. It is taken from %s\n", d.Name, d.Lost, d.ledger.path)
		d.Packages = d.ledger.listed()
	}
	for _, p := range packages {
		if err := d.ledger.permits(p, c.Again); err != nil {
			return err
		}
	}
	listed := slices.Clone(d.Packages)
	withdrawn, err := c.withdraw(&d.Author)
	if err != nil {
		return err
	}
	if err := c.recognise(s, d, packages); err != nil {
		return err
	}
	draft, err := trust.Endorse(d.Author, packages, nil, time.Now())
	if err != nil {
		return err
	}
	next, err := trust.Listed(draft.Data)
	if err != nil {
		return err
	}
	keys, err := c.signers(s, c.Key, "", nil)
	if err == nil {
		err = eligible(keys, draft.May, nil, d.Name)
	}
	if err != nil {
		return err
	}
	signed, err := trust.Endorse(d.Author, packages, plainKeys(keys), time.Now())
	if err != nil {
		return err
	}
	d.ledger.differ(s.out, listed, next, c.List)
	if d.Lost != nil && len(listed) == 0 && !errors.Is(d.Lost, trust.ErrUnsigned) {
		if err := s.agreed(c.Accept, "Nobody knows what was signed before, and only this is listed from now on?", "name all packages that are still good, and --accept that"); err != nil {
			return err
		}
	}
	if err := d.ledger.note(next, withdrawn); err != nil {
		return err
	}
	return c.finish(s, d.files, path, signed)
}

// withdraw takes versions out of what the author lists.
func (c *signCmd) withdraw(a *trust.Author) (gone []trust.Package, err error) {
	for _, version := range c.Withdraw {
		at := slices.IndexFunc(a.Packages, func(p trust.Package) bool { return p.Component == c.Of && p.Version == version })
		if at < 0 {
			return nil, fmt.Errorf("%s does not list %s", a.Name, trust.TargetPath(c.Of, version))
		}
		gone = append(gone, a.Packages[at])
		a.Packages = slices.Delete(a.Packages, at, at+1)
	}
	return gone, nil
}

// recognise does not have packages signed again that the author does not know:
// whoever has the file server may show a list of long ago.
func (c *signCmd) recognise(s *session, d *desk, packages []trust.Package) error {
	var strange []string
	for _, p := range d.Packages {
		if d.ledger.lists(p) || slices.Contains(packages, p) {
			continue
		}
		line := fmt.Sprintf("? %s %s %s", p.Component, p.Version, p.Digest)
		e, known := d.ledger.known[pathOf(p)]
		if known && e.Digest != p.Digest {
			return fmt.Errorf("the file server lists another package as %[1]s, %[2]s, than you have signed for: --withdraw %[3]s, and find out who has signed that with your key", pathOf(p), p.Digest, p.Version)
		}
		if e.Withdrawn {
			line += ", which you have withdrawn"
		}
		strange = append(strange, line)
	}
	if len(strange) == 0 {
		return nil
	}
	fmt.Fprintf(s.out, "The file server lists what you have not signed from here, by %s:\n%s\n", d.ledger.path, strings.Join(strange, "\n"))
	return s.agreed(c.Accept, "Do you sign for that as well?", "--accept signs for it, --withdraw VERSION takes it out")
}

// finish publishes what has all signatures.
func (c *signCmd) finish(s *session, f *shelf, path string, signed trust.Signed) error {
	if signed.Missing > 0 {
		return pending(s, path, signed, "--root "+c.Root)
	}
	if _, err := f.do(s.ctx, http.MethodPut, signed.Name, signed.Data); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
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
	if role == trust.Root || role == trust.Targets {
		return c.cosignRole(s, path, b)
	}
	return c.cosignAuthor(s, path, role, b)
}

func (c *signCmd) cosignAuthor(s *session, path, role string, b []byte) error {
	next, err := trust.Listed(b)
	if err != nil {
		return err
	}
	if c.Of == "" && len(next) > 0 {
		c.Of = next[0].Component
	}
	d, err := c.sit(s)
	if err != nil {
		return err
	}
	draft, err := d.Cosign(b, nil)
	if err != nil {
		return err
	}
	if want := trust.File(d.Name, d.Version+1); role != d.Name || draft.Name != filepath.Base(path) || draft.Name != want {
		return fmt.Errorf("%s is not what %s signs next, %s: begin anew", path, d.Name, want)
	}
	for _, p := range next {
		if err := d.ledger.permits(p, c.Again); err != nil {
			return err
		}
	}
	d.ledger.differ(s.out, d.Packages, next, c.List)
	keys, err := c.consider(s, draft, d.Name)
	if err != nil {
		return err
	}
	signed, err := d.Cosign(b, plainKeys(keys))
	if err != nil {
		return err
	}
	gone := slices.DeleteFunc(slices.Clone(d.Packages), func(p trust.Package) bool { return slices.Contains(next, p) })
	if err := d.ledger.note(next, gone); err != nil {
		return err
	}
	return c.finish(s, d.files, path, signed)
}

// consider asks whether what was shown is to be signed, and reads the keys.
func (c *signCmd) consider(s *session, draft trust.Signed, role string) ([]fileKey, error) {
	if err := s.agreed(c.Yes, "Do you sign this?", "--yes signs it"); err != nil {
		return nil, err
	}
	keys, err := c.signers(s, c.Key, "", nil)
	if err == nil {
		err = eligible(keys, draft.May, draft.By, role)
	}
	return keys, err
}

// cosignRole adds a signature to a root or targets, which is published when it
// has all.
func (c *signCmd) cosignRole(s *session, path string, b []byte) error {
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
	if f != nil {
		if err := f.agrees(s.ctx, r, c.Dir); err != nil {
			return err
		}
	}
	name := filepath.Base(path)
	if err := showChanges(s, r, name, b); err != nil {
		return err
	}
	draft, err := r.Cosign(name, b, nil)
	if err != nil {
		return err
	}
	role, _, err := trust.ParseFile(name)
	if err != nil {
		return err
	}
	keys, err := c.consider(s, draft, role)
	if err != nil {
		return err
	}
	signed, err := r.Cosign(name, b, plainKeys(keys))
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
	return errors.Join(os.Remove(path), publish(s, f, c.Dir))
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
