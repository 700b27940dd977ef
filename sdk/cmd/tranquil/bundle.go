package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

type bundleCmd struct {
	Package string `arg:"" help:"Package file or layout directory."`
	Output  string `short:"o" required:"" placeholder:"DIR" help:"Directory to write to, such as that of a USB stick: the package, and beside it trust/ with all that a device needs to judge it."`
	Root    string `env:"TRANQUIL_ROOT" default:"root.json" help:"Root metadata to begin with."`
}

// Run judges the package as a device would, and keeps what that took.
func (c *bundleCmd) Run(s *session) error {
	packages, err := describePackages([]string{c.Package})
	if err != nil {
		return err
	}
	f, err := s.reader()
	if err != nil {
		return err
	}
	kept := map[string][]byte{}
	fetch := func(ctx context.Context, name string, limit int64) ([]byte, error) {
		b, err := f.fetch(ctx, name, limit)
		if err == nil {
			kept[name] = b
		}
		return b, err
	}
	temp, err := os.MkdirTemp("", "tranquil-trust-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	j, err := newJudge(c.Root, temp, f, fetch)
	if err != nil {
		return err
	}
	v, err := j.Verify(s.ctx, packages[0])
	if err != nil {
		return fmt.Errorf("no device would take it: %w", j.explain(s.ctx, v.Author, err))
	}
	if err := c.olderRoots(s.ctx, fetch); err != nil {
		return err
	}
	path, err := c.write(kept)
	if err != nil {
		return fmt.Errorf("cannot write bundle: %w", err)
	}
	fmt.Fprintf(s.out, "%s\n%s %s, signed for by %s\n", path, packages[0].Component, packages[0].Version, v.Author)
	if until, err := expiry(kept[trust.File(trust.Timestamp, 0)]); err == nil {
		fmt.Fprintf(s.out, "Devices that know what time it is take it until %s, others also later. There: tranquil-agent sideload DIR\n", until.Local().Format(time.DateTime))
	}
	return nil
}

// olderRoots are for devices that were given an older root than is known here.
func (c *bundleCmd) olderRoots(ctx context.Context, fetch trust.Fetch) error {
	root, err := readRoot(c.Root)
	if err != nil {
		return err
	}
	version, err := trust.RootVersion(root)
	if err != nil {
		return err
	}
	for ; version > 0; version-- {
		if _, err := fetch(ctx, trust.File(trust.Root, version), trust.MaxSize); err != nil && !errors.Is(err, trust.ErrNotFound) {
			return err
		}
	}
	return nil
}

// write puts the package in place last: without it nothing there is of use.
func (c *bundleCmd) write(kept map[string][]byte) (string, error) {
	dir := filepath.Join(c.Output, "trust")
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", err
	}
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		if err := durable.WriteFile(filepath.Join(dir, name), kept[name], 0o644); err != nil {
			return "", err
		}
	}
	l, err := pack.Open(c.Package)
	if err != nil {
		return "", err
	}
	defer l.Close()
	var referrers [][]byte
	for _, r := range l.Referrers {
		b, err := l.ReadBlob(r.Descriptor(), pack.MaxManifestSize)
		if err != nil {
			return "", err
		}
		referrers = append(referrers, b)
	}
	_, path, err := pack.SaveFile(c.Output+string(filepath.Separator), l.Manifest(), referrers, l.Blob)
	return path, err
}

// expiry is when metadata of whatever role expires.
func expiry(b []byte) (time.Time, error) {
	var m struct {
		Signed struct {
			Expires time.Time `json:"expires"`
		} `json:"signed"`
	}
	err := json.Unmarshal(b, &m)
	return m.Signed.Expires, err
}
