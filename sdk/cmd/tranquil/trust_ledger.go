package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// A ledger is what an author has signed for, kept by the author: what a file
// server shows is held against it, so that nobody has something signed again
// that was never signed here, or was withdrawn.
type ledger struct {
	path  string
	known map[string]entry // by path of the package, as in application/greeter/2.1.0
}

type entry struct {
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	Listed    bool   `json:"listed"`              // when it was signed last
	Withdrawn bool   `json:"withdrawn,omitempty"` // on purpose
}

// stateOf is where an author keeps what belongs to a root.
func stateOf(dir string, root []byte) (string, error) {
	if dir != "" {
		return dir, nil
	}
	config, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("where to keep what you have signed? Give --state DIR: %w", err)
	}
	sum := sha256.Sum256(root)
	return filepath.Join(config, "tranquil", "trust", trust.Short(hex.EncodeToString(sum[:]))), nil
}

func openLedger(dir, author string) (*ledger, error) {
	l := &ledger{filepath.Join(dir, "signed-"+author+".json"), map[string]entry{}}
	b, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &l.known)
	}
	if err != nil || l.known == nil {
		return nil, fmt.Errorf("cannot read what you have signed: %w; if it is lost, remove %s, and look closely at what is listed", err, l.path)
	}
	return l, nil
}

func pathOf(p trust.Package) string { return trust.TargetPath(p.Component, p.Version) }

func (l *ledger) lists(p trust.Package) bool {
	e := l.known[pathOf(p)]
	return e.Listed && e.Digest == p.Digest && e.Size == p.Size
}

// listed is what was signed for last.
func (l *ledger) listed() (all []trust.Package) {
	for _, name := range slices.Sorted(maps.Keys(l.known)) {
		if e := l.known[name]; e.Listed {
			component, version := path.Split(name)
			all = append(all, trust.Package{Component: strings.TrimSuffix(component, "/"), Version: version, Digest: e.Digest, Size: e.Size})
		}
	}
	return all
}

// permits refuses other bytes under a number that was signed for, and what was
// withdrawn unless again says that it is meant.
func (l *ledger) permits(p trust.Package, again bool) error {
	e, known := l.known[pathOf(p)]
	switch {
	case known && e.Digest != p.Digest:
		return fmt.Errorf("you have signed for another package as %s, %s: raise the version", pathOf(p), e.Digest)
	case e.Withdrawn && !again:
		return fmt.Errorf("you have withdrawn %s: if it is to be installed all the same, --again", pathOf(p))
	}
	return nil
}

// note records what is signed for now; withdrawn is no longer among it.
func (l *ledger) note(listed, withdrawn []trust.Package) error {
	for path, e := range l.known {
		e.Listed = false
		l.known[path] = e
	}
	for _, p := range withdrawn {
		l.known[pathOf(p)] = entry{p.Digest, p.Size, false, true}
	}
	for _, p := range listed {
		l.known[pathOf(p)] = entry{p.Digest, p.Size, true, false}
	}
	b, err := json.MarshalIndent(l.known, "", " ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(l.path), 0o700)
	}
	if err == nil {
		err = durable.WriteFile(l.path, append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot keep what you sign: %w", err)
	}
	return nil
}

// differ shows what is to be signed against what was listed by the file server
// and signed last; all also what stays.
func (l *ledger) differ(out io.Writer, listed, next []trust.Package, all bool) {
	before := map[string]string{} // digest by path
	for path, e := range l.known {
		if e.Listed {
			before[path] = e.Digest
		}
	}
	for _, p := range listed {
		before[pathOf(p)] = p.Digest
	}
	there, stay := digests(listed), 0
	for _, p := range next {
		switch {
		case !l.lists(p) || there[pathOf(p)] != p.Digest:
			fmt.Fprintf(out, "+ %s %s %s\n", p.Component, p.Version, p.Digest)
		case all:
			fmt.Fprintf(out, "= %s %s %s\n", p.Component, p.Version, p.Digest)
		default:
			stay++
		}
		delete(before, pathOf(p))
	}
	for _, path := range slices.Sorted(maps.Keys(before)) {
		fmt.Fprintf(out, "- %s %s\n", path, before[path])
	}
	if stay > 0 {
		fmt.Fprintf(out, "= %d others (--list)\n", stay)
	}
}

func digests(all []trust.Package) map[string]string {
	by := map[string]string{}
	for _, p := range all {
		by[pathOf(p)] = p.Digest
	}
	return by
}
