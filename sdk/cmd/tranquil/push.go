package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"

	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

type pushCmd struct {
	Package  string `arg:"" help:"Package file or layout directory."`
	URL      string `arg:"" optional:"" help:"File server or OCI registry, as in https://packages.example.org; default: --files."`
	Insecure bool   `help:"Send the token unencrypted to a host that is not this one."`
}

// A transfer is what push and pull tell.
type transfer struct {
	Reference string `json:"reference"` // "host/type/name:version"
	Version   string `json:"version"`
	Digest    string `json:"digest"`
	Path      string `json:"path,omitempty"` // where a pull has put it
	Bytes     int64  `json:"bytes"`          // that went over the network, manifests of packages aside
	Referrers int    `json:"referrers"`      // SBOM, provenance and the like
	There     bool   `json:"there,omitempty"`
}

func (c *pushCmd) Run(s *session) error {
	l, err := pack.Open(c.Package)
	if err != nil {
		return err
	}
	defer l.Close()
	m := l.Package.Manifest
	to, err := s.shop(m.Component(), cmp.Or(c.URL, s.Files), c.Insecure)
	if err != nil {
		return err
	}
	t := transfer{Reference: to.named(m.Version), Version: m.Version, Digest: l.Package.Digest, Referrers: len(l.Referrers)}
	// Whatever goes wrong here the push will tell.
	known, err := to.Resolve(s.ctx, m.Version)
	t.There = err == nil && known.Digest.String() == t.Digest
	t.Bytes, err = c.push(s, to, l, t.There)
	switch {
	case errors.Is(err, auth.ErrBasicCredentialNotFound):
		return fmt.Errorf("%s wants to know who pushes: set $TRANQUIL_TOKEN, or log in with oras login or docker login", to.Reference.Registry)
	case err != nil:
		return fmt.Errorf("cannot push package: %w", err)
	}
	t.There = t.There && t.Bytes == 0
	switch {
	case s.JSON:
		return s.printJSON(t)
	case t.There:
		fmt.Fprintf(s.out, "%s is there already\n%s\n", t.Reference, t.Digest)
	default:
		fmt.Fprintf(s.out, "pushed %s\n%s\n", t.Reference, t.Digest)
	}
	return nil
}

// push uploads the blobs that the server does not have, and then the manifest, so
// that a package that can be seen is whole; and then what is said about it.
func (c *pushCmd) push(s *session, to shop, l *pack.Layout, there bool) (sent int64, err error) {
	bar := s.bar("pushing")
	defer bar.clear()
	var done int64
	progress := func(n int64) { done += n; bar.show(done, volume(l)) }
	if !there {
		for _, d := range l.Package.Blobs() {
			n, err := to.put(s.ctx, l, d, progress)
			if err != nil {
				return sent, fmt.Errorf("blob %s: %w", d.Digest, err)
			}
			sent += n
		}
		if err := to.PushReference(s.ctx, describeOCI(l.Package.Descriptor()), bytes.NewReader(l.Manifest()), l.Package.Manifest.Version); err != nil {
			return sent, err
		}
	}
	for _, r := range l.Referrers {
		n, err := to.refer(s.ctx, l, r, progress)
		if err != nil {
			return sent, fmt.Errorf("%s: %w", r.ArtifactType, err)
		}
		sent += n
	}
	return sent, nil
}

// volume is the size of all blobs.
func volume(l *pack.Layout) (total int64) {
	total = size(l.Package) - l.Package.Size
	for _, r := range l.Referrers {
		for _, d := range r.Blobs() {
			total += d.Size
		}
	}
	return total
}
