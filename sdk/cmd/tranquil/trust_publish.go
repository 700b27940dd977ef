package main

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/trust"
)

type trustPublishCmd struct {
	Dir      string `arg:"" help:"Directory of tranquil trust init."`
	Insecure bool   `help:"Send the token unencrypted to a host that is not this one."`
}

func (c *trustPublishCmd) Run(s *session) error {
	f, err := s.publisher(c.Insecure)
	if err != nil {
		return err
	}
	return publish(s, f, c.Dir)
}

// publish sends what the file server does not have yet, if there is one, and
// tells what waits for signatures.
func publish(s *session, f *shelf, dir string) error {
	r, err := openDir(dir)
	if err != nil {
		return err
	}
	if f == nil || s.Token == "" {
		fmt.Fprintf(s.out, "It is not published: tranquil trust publish %s, with --files and $TRANQUIL_TOKEN.\n", dir)
	} else if err := f.send(s, r, dir); err != nil {
		return err
	}
	waiting, err := waitingIn(dir, r)
	for _, line := range waiting {
		fmt.Fprintln(s.out, line)
	}
	return err
}

// send also brings again what the file server has lost.
func (f *shelf) send(s *session, r *trust.Repository, dir string) error {
	if err := f.agrees(s.ctx, r, dir); err != nil {
		return err
	}
	there, err := f.standings(s.ctx)
	if err != nil {
		return err
	}
	names, err := trust.Order(r.Read)
	if err != nil {
		return err
	}
	for _, name := range names {
		role, version, err := trust.ParseFile(name)
		if err != nil {
			return err
		}
		if version <= standingOf(there, role).Version {
			same, err := f.same(s.ctx, r, name)
			if err != nil {
				return err
			}
			if same {
				continue
			}
		}
		b, err := r.Read(name)
		if err != nil {
			return err
		}
		if _, err := f.do(s.ctx, http.MethodPut, name, b); err != nil {
			return fmt.Errorf("%w\n%s stays in %s: when that is mended, tranquil trust publish %s", err, name, metadataOf(dir), dir)
		}
		fmt.Fprintf(s.out, "published %s\n", name)
	}
	return nil
}

// waitingIn tells what in an operator's directory needs more signatures.
func waitingIn(dir string, r *trust.Repository) (lines []string, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	here := r.Standings(time.Now())
	for _, path := range paths {
		role, version, err := trust.ParseFile(filepath.Base(path))
		if err != nil || role != trust.Root && role != trust.Targets {
			continue
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		f, err := r.Cosign(filepath.Base(path), b, nil)
		switch {
		case err != nil:
			lines = append(lines, fmt.Sprintf("%s cannot be signed (%v): remove it", path, err))
		case version <= standingOf(here, role).Version:
			lines = append(lines, fmt.Sprintf("%s is outdated: there is another of that version already. Remove it", path))
		default:
			lines = append(lines, fmt.Sprintf("%[1]s waits for %[2]d more signatures: tranquil trust sign %[1]s --dir %[3]s --key FILE", path, f.Missing, dir))
		}
	}
	return lines, nil
}

type trustFetchCmd struct {
	Dir  string `arg:"" help:"Directory of tranquil trust init, or one to make."`
	Root string `env:"TRANQUIL_ROOT" help:"Root metadata to go by, as devices have it; default: that of DIR."`
}

func (c *trustFetchCmd) Run(s *session) error {
	f, err := s.reader()
	if err != nil {
		return err
	}
	got := map[string][]byte{}
	names, err := trust.Order(func(name string) (b []byte, err error) {
		if b = got[name]; b == nil {
			b, err = f.fetch(s.ctx, name, 0)
			got[name] = b
		}
		return b, err
	})
	if err != nil {
		return err
	}
	r, err := openDir(c.Dir)
	if err != nil || !r.Founded() {
		if err := c.pin(f, got); err != nil {
			return err
		}
		if err := os.MkdirAll(c.Dir, 0o700); err != nil {
			return err
		}
		if r, err = openMetadata(c.Dir); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := c.take(s, r, trust.Signed{Name: name, Data: got[name]}); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(s.out, "%s has what the file server has\n", c.Dir)
	return err
}

// pin believes what came only if the root is among it that devices have.
func (c *trustFetchCmd) pin(f *shelf, got map[string][]byte) error {
	path := c.Root
	if path == "" {
		path = filepath.Join(c.Dir, "root.json")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("by which root? Give --root FILE, the root.json that devices have: %w", err)
	}
	version, err := trust.RootVersion(b)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if !bytes.Equal(b, got[trust.File(trust.Root, version)]) {
		return fmt.Errorf("the root of the file server %s does not follow from %s: it belongs to others, or %[2]s does", f.base.Host, path)
	}
	return nil
}

func (c *trustFetchCmd) take(s *session, r *trust.Repository, file trust.Signed) error {
	before, err := r.Read(file.Name)
	if err == nil && bytes.Equal(before, file.Data) {
		return nil
	}
	if err := settle(c.Dir, r, file); err != nil {
		if errors.Is(err, trust.ErrConflict) {
			return another(file.Name, c.Dir)
		}
		return err
	}
	_, err = fmt.Fprintf(s.out, "fetched %s\n", file.Name)
	return err
}
