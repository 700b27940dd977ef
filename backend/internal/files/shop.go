package files

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// Packages lists the packages that are served, of each component the newest first.
func (s *Server) Packages() []*pack.Package {
	s.catalog.mu.RLock()
	defer s.catalog.mu.RUnlock()
	var all []*pack.Package
	for _, versions := range s.catalog.versions {
		all = append(all, slices.Clone(versions)...)
	}
	return all
}

// Publish takes a package, and what refers to it, as from a publisher over HTTP.
func (s *Server) Publish(_ context.Context, l *pack.Layout) error {
	m := l.Package.Manifest
	if err := s.fill(l, l.Package.Blobs()); err != nil {
		return err
	}
	if _, err := s.catalog.add(m.Component(), m.Version, l.Manifest()); err != nil {
		return err
	}
	for _, r := range l.Referrers {
		if err := s.fill(l, r.Blobs()); err != nil {
			return err
		}
		manifest, err := l.ReadBlob(r.Descriptor(), pack.MaxManifestSize)
		if err != nil {
			return err
		}
		if _, err := s.catalog.attach(m.Component(), r.Digest, manifest); err != nil {
			return err
		}
	}
	return nil
}

// fill takes the blobs that are not here.
func (s *Server) fill(l *pack.Layout, blobs []pack.Descriptor) error {
	for _, d := range blobs {
		if s.catalog.mount(d.Digest) {
			continue
		}
		if err := s.catalog.upload(l, d); err != nil {
			return fmt.Errorf("blob %s: %w", d.Digest, err)
		}
	}
	return nil
}

func (c *catalog) upload(l *pack.Layout, d pack.Descriptor) error {
	blob, err := l.Blob(d)
	if err != nil {
		return refuse(http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "%w", err)
	}
	defer blob.Close()
	id, err := c.beginUpload()
	if err != nil {
		return err
	}
	if _, err := c.extend(id, anywhere, blob); err != nil {
		return errors.Join(err, c.drop(id))
	}
	return c.finish(id, d.Digest)
}

// Withdraw takes a package back, as a publisher may over HTTP.
func (s *Server) Withdraw(_ context.Context, component, version string) error {
	return s.catalog.delete(component, version)
}
