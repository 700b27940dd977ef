package files

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/content/oci"
	"oras.land/oras-go/v2/errdef"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// A catalog knows every package in an OCI image layout. The layout's index.json
// is the truth, with "type/name:version" as reference name; the maps are made
// from it. A package is in the index only when all of it is on disk for good.
type catalog struct {
	dir   string
	blobs *oci.Storage
	log   *slog.Logger
	trust *vouching
	keep  int // packages of a component; 0: all
	quota *quota
	busy  sync.Map // ids of uploads that a request has in hand

	deltas   *deltas
	upstream *upstream // nil: there is none

	writes  sync.Mutex      // of whoever changes the index, or removes blobs: the packages do not change while it is held
	index   ocispec.Index   // has packages in the order in which they were pushed
	damaged map[string]bool // digests of manifests in the index that are not served

	mu       sync.RWMutex                // of the maps, to read which writes will do as well
	versions map[string][]*pack.Package  // by component, newest first
	files    map[string]*pack.Package    // by file name
	beside   map[string][]*pack.Referrer // by component
}

func openCatalog(cfg Config) (*catalog, error) {
	c := &catalog{
		dir: cfg.Dir, log: cfg.Log, keep: cfg.Keep, quota: &quota{limit: cfg.Quota}, deltas: openDeltas(cfg.Deltas),
		damaged:  map[string]bool{},
		versions: map[string][]*pack.Package{},
		files:    map[string]*pack.Package{},
		beside:   map[string][]*pack.Referrer{},
	}
	var err error
	if c.upstream, err = openUpstream(cfg.Store, cfg.StoreUser, cfg.StorePassword); err != nil {
		return nil, err
	}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	if c.blobs, err = oci.NewStorage(c.dir); err != nil {
		return nil, err
	}
	if err := c.readIndex(); err != nil {
		return nil, err
	}
	for _, d := range c.index.Manifests {
		if err := c.load(d); err != nil { // one damaged package must not take the others down
			c.damaged[d.Digest.String()] = true
			c.log.Error("package in the store is damaged and not served: push it again, or delete it", "reference", d.Annotations[ocispec.AnnotationRefName], "digest", d.Digest, "err", err)
		}
	}
	if err := c.readHints(); err != nil {
		return nil, err
	}
	return c, c.quota.measure(c.blobDir(), c.uploads())
}

// prepare makes the layout's directories.
func (c *catalog) prepare() error {
	for _, dir := range []string{c.uploads(), c.blobDir()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	mark := filepath.Join(c.dir, ocispec.ImageLayoutFile)
	if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.writeJSON(mark, ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion})
}

func (c *catalog) indexPath() string { return filepath.Join(c.dir, ocispec.ImageIndexFile) }

func (c *catalog) readIndex() error {
	c.index = ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	b, err := os.ReadFile(c.indexPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, &c.index); err != nil {
		return fmt.Errorf("malformed %s: %w", c.indexPath(), err)
	}
	return nil
}

// load lists a package, or what refers to one, that the index names, if it is all
// there.
func (c *catalog) load(d ocispec.Descriptor) error {
	manifest, err := content.FetchAll(context.Background(), c.blobs, d)
	if err != nil {
		return err
	}
	component := d.Annotations[annotationComponent]
	if component == "" {
		p, err := c.parse(manifest)
		if err == nil {
			c.list(p)
		}
		return err
	}
	r, err := pack.ParseReferrer(manifest)
	if err == nil {
		err = c.have(r.Blobs())
	}
	if err == nil {
		c.beside[component] = append(c.beside[component], r)
	}
	return err
}

// parse reads a manifest whose other blobs are in the store already.
func (c *catalog) parse(manifest []byte) (*pack.Package, error) {
	d, err := pack.ConfigOf(manifest)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "MANIFEST_INVALID", "%w", err)
	}
	config, err := content.FetchAll(context.Background(), c.blobs, descriptor(d))
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, missing(d)
	}
	if err != nil {
		return nil, err
	}
	p, err := pack.Parse(manifest, config)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "MANIFEST_INVALID", "%w", err)
	}
	return p, c.have(p.Blobs())
}

func missing(d pack.Descriptor) error {
	return refuse(http.StatusNotFound, "MANIFEST_BLOB_UNKNOWN", "blob %s is not in the store: push it before the manifest", d.Digest)
}

// add publishes a package whose blobs are in the store, also in the registry behind.
func (c *catalog) add(component, reference string, manifest []byte) (*pack.Package, error) {
	p, old, err := c.admit(component, reference, manifest)
	if err != nil || old != nil {
		return old, err
	}
	if err := c.hand(component, p.Manifest.Version, p.Blobs(), manifest); err != nil {
		return nil, err
	}
	return c.publish(component, reference, manifest)
}

// admit reads a package that is to be published, or returns it as old if it is. A
// version that is published can be pushed again with the same bytes, never with
// others: what a device was told to install stays what it was.
func (c *catalog) admit(component, reference string, manifest []byte) (p, old *pack.Package, err error) {
	c.writes.Lock()
	defer c.writes.Unlock()
	return c.judge(component, reference, manifest)
}

// judge is admit when writes are held.
func (c *catalog) judge(component, reference string, manifest []byte) (p, old *pack.Package, err error) {
	if p, err = c.parse(manifest); err != nil {
		return nil, nil, err
	}
	if p.Manifest.Component() != component || (reference != p.Manifest.Version && reference != p.Digest) {
		return nil, nil, refuse(http.StatusBadRequest, "MANIFEST_INVALID", "package is %s %s and cannot be pushed as %s:%s",
			p.Manifest.Component(), p.Manifest.Version, component, reference)
	}
	old, err = c.clash(p)
	return p, old, err
}

// publish lists a package.
func (c *catalog) publish(component, reference string, manifest []byte) (*pack.Package, error) {
	c.writes.Lock()
	defer c.writes.Unlock()
	p, old, err := c.judge(component, reference, manifest)
	if old != nil || err != nil {
		return old, err
	}
	if err := c.store(ocispec.Descriptor{
		MediaType: pack.MediaTypeManifest, ArtifactType: pack.ArtifactType, Digest: digest.Digest(p.Digest), Size: p.Size,
		Annotations: map[string]string{ocispec.AnnotationRefName: referenceOf(p)},
	}, manifest); err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.list(p)
	c.mu.Unlock()
	c.log.Info("package published", "component", component, "version", p.Manifest.Version, "digest", p.Digest)
	c.deltas.want(p)
	if err := c.retire(component); err != nil { // this one is published all the same
		c.log.Error("cannot remove old packages", "component", component, "err", err)
	}
	return p, nil
}

// clash returns p if it is published already, or why it may not be.
func (c *catalog) clash(p *pack.Package) (*pack.Package, error) {
	old := c.find(p.Manifest.Component(), p.Manifest.Version)
	if old == nil {
		old = c.files[p.File]
	}
	switch {
	case old == nil:
		return nil, c.clashDamaged(p)
	case old.Digest == p.Digest:
		return old, nil
	}
	return nil, refuse(http.StatusConflict, "DENIED", "%s %s (%s) is published with other content: raise the version or the file name",
		old.Manifest.Component(), old.Manifest.Version, old.File)
}

// clashDamaged refuses another package in place of one that is not served, which
// devices may have.
func (c *catalog) clashDamaged(p *pack.Package) error {
	name := referenceOf(p)
	for _, d := range c.index.Manifests {
		if digest := d.Digest.String(); d.Annotations[ocispec.AnnotationRefName] == name && digest != p.Digest {
			return refuse(http.StatusConflict, "DENIED", "%s was published with other content, %s, which is damaged: push that again, or raise the version", name, digest)
		}
	}
	return nil
}

// referenceOf is the name of a package in the index.
func referenceOf(p *pack.Package) string { return p.Manifest.Component() + ":" + p.Manifest.Version }

// store writes a manifest, then the index that names it. writes are held.
func (c *catalog) store(entry ocispec.Descriptor, manifest []byte) error {
	if err := c.writeBlob(entry.Digest.String(), manifest); err != nil {
		return fmt.Errorf("cannot store manifest: %w", err)
	}
	next := c.index
	next.Manifests = slices.DeleteFunc(slices.Clone(next.Manifests), func(d ocispec.Descriptor) bool { // it was damaged
		return d.Digest == entry.Digest && maps.Equal(d.Annotations, entry.Annotations)
	})
	next.Manifests = append(next.Manifests, entry)
	if err := c.writeJSON(c.indexPath(), next); err != nil {
		return fmt.Errorf("cannot store manifest: %w", err)
	}
	c.index = next
	delete(c.damaged, entry.Digest.String())
	return nil
}

func (c *catalog) list(p *pack.Package) {
	component := p.Manifest.Component()
	all := append(slices.Clone(c.versions[component]), p)
	slices.SortFunc(all, func(a, b *pack.Package) int {
		return pack.CompareVersions(b.Manifest.Version, a.Manifest.Version)
	})
	c.versions[component] = all
	c.files[p.File] = p
}

// find returns the package of that version or digest, or nil.
func (c *catalog) find(component, reference string) *pack.Package {
	for _, p := range c.versions[component] {
		if p.Manifest.Version == reference || p.Digest == reference {
			return p
		}
	}
	return nil
}

func descriptor(d pack.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: digest.Digest(d.Digest), Size: d.Size}
}
