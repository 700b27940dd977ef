// Package sideload is what somebody brings to a device without a network, on a USB
// stick: a package, and beside it, in the folder trust, the metadata by which it is
// judged. tranquil package bundle writes such a stick.
//
// From the command at the device to the agent that works there it goes as two tars,
// one after the other: the metadata, then the package in its single-file form.
package sideload

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// folder is where the metadata is, beside the package.
const folder = "trust"

// What an agent takes of metadata, which is in its memory: some hundred roots.
const (
	maxFiles = 512
	maxBytes = 8 << 20
)

// A Stick is what was found.
type Stick struct {
	Package string // path of a package file or layout directory
	Trust   string // path of a directory of metadata; "" there is none
}

// Find looks for what a path means: a package, or a directory that has one.
func Find(path string) (Stick, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Stick{}, err
	}
	s := Stick{Package: path}
	if _, err := os.Stat(filepath.Join(path, "index.json")); info.IsDir() && err != nil {
		if s.Package, err = only(path); err != nil {
			return Stick{}, err
		}
	}
	beside := filepath.Join(filepath.Dir(filepath.Clean(s.Package)), folder)
	if info, err := os.Stat(beside); err == nil && info.IsDir() {
		s.Trust = beside
	}
	return s, nil
}

// only returns the one package in a directory.
func only(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	var found []string
	for _, e := range entries {
		if _, err := pack.ParseFileName(e.Name()); err == nil && e.Type().IsRegular() {
			found = append(found, e.Name())
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("there is no package in %s, whose name would be type.component.package.ext: name its file", dir)
	case 1:
		return filepath.Join(dir, found[0]), nil
	}
	return "", fmt.Errorf("there are several packages in %s, name one: %s", dir, strings.Join(found, ", "))
}

// Write sends all that is on the stick.
func (s Stick) Write(w io.Writer) error {
	tw := tar.NewWriter(w)
	names, err := s.metadata()
	if err != nil {
		return err
	}
	read := trust.Folder(s.Trust)
	for _, name := range names {
		b, err := read(context.Background(), name, trust.MaxSize)
		if err == nil {
			err = tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(b)), Mode: 0o644})
		}
		if err == nil {
			_, err = tw.Write(b)
		}
		if err != nil {
			return err
		}
	}
	if err := tw.Close(); err != nil {
		return err
	}
	return pack.WriteTar(w, s.Package)
}

// metadata lists the files of trust metadata; others may lie there too.
func (s Stick) metadata() (names []string, err error) {
	if s.Trust == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(s.Trust)
	for _, e := range entries {
		if _, _, err := trust.ParseFile(e.Name()); err == nil && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, err
}

// A Load is what an agent has received. Nothing of it was judged yet.
type Load struct {
	Metadata map[string][]byte // files of trust metadata by name
	Package  io.Reader         // the single-file form of a package
}

// Read takes the metadata from r; the package is what follows in it.
func Read(r io.Reader) (Load, error) {
	l := Load{map[string][]byte{}, r}
	tr := tar.NewReader(r)
	total := 0
	for {
		header, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return l, nil
		}
		if err != nil {
			return Load{}, fmt.Errorf("cannot read what was brought: %w", err)
		}
		_, _, err = trust.ParseFile(header.Name)
		if err == nil && (header.Typeflag != tar.TypeReg || header.Size > trust.MaxSize || l.Metadata[header.Name] != nil) {
			err = fmt.Errorf("%s is too large, no file, or there twice", header.Name)
		}
		if total += int(min(header.Size, trust.MaxSize)); err == nil && (total > maxBytes || len(l.Metadata) == maxFiles) {
			err = errors.New("there is more than a device can take")
		}
		if err != nil {
			return Load{}, fmt.Errorf("cannot use the trust metadata that was brought: %w", err)
		}
		b, err := io.ReadAll(tr)
		if err != nil {
			return Load{}, fmt.Errorf("cannot read what was brought: %w", err)
		}
		l.Metadata[header.Name] = append([]byte{}, b...)
	}
}

// Fetch gives the metadata to a trust.Client.
func (l Load) Fetch(name string) ([]byte, error) {
	b, found := l.Metadata[name]
	if !found {
		return nil, fmt.Errorf("%s: %w", name, trust.ErrNotFound)
	}
	return b, nil
}
