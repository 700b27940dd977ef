package files

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// annotationComponent, in the store's index, says whose referrer a manifest is:
// those have no name of their own.
const annotationComponent = "io.tranquil.component"

// maxReferrers is how many manifests may refer to one.
const maxReferrers = 256

// attach stores a manifest that refers to another, which need not be here yet
// (OCI distribution spec 1.1, "Pushing Manifests with Subject").
func (c *catalog) attach(component, reference string, manifest []byte) (*pack.Referrer, error) {
	r, err := pack.ParseReferrer(manifest)
	if err == nil && reference == r.Digest {
		if err := c.hand(component, reference, r.Blobs(), manifest); err != nil {
			return nil, err
		}
	}
	return c.attachHere(component, reference, manifest)
}

// attachHere is attach without the registry behind.
func (c *catalog) attachHere(component, reference string, manifest []byte) (*pack.Referrer, error) {
	r, err := pack.ParseReferrer(manifest)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "MANIFEST_INVALID", "%w", err)
	}
	if reference != r.Digest {
		return nil, refuse(http.StatusBadRequest, "MANIFEST_INVALID", "what refers to a package has no version: push it by its digest, %s", r.Digest)
	}
	c.writes.Lock()
	defer c.writes.Unlock()
	if c.referrer(component, r.Digest) != nil {
		return r, nil
	}
	if err := c.have(r.Blobs()); err != nil {
		return nil, err
	}
	if len(c.about(component, r.Subject.Digest)) >= maxReferrers {
		return nil, refuse(http.StatusConflict, "DENIED", "%d manifests refer to %s already", maxReferrers, r.Subject.Digest)
	}
	entry := ocispec.Descriptor{
		MediaType: pack.MediaTypeManifest, ArtifactType: r.ArtifactType, Digest: digest.Digest(r.Digest), Size: r.Size,
		Annotations: map[string]string{annotationComponent: component},
	}
	if err := c.store(entry, manifest); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.beside[component] = append(c.beside[component], r)
	return r, nil
}

// have refuses a manifest whose blobs are not all here, unless they can come from the
// registry behind.
func (c *catalog) have(blobs []pack.Descriptor) error {
	for _, d := range blobs {
		info, err := os.Stat(c.blobPath(d.Digest))
		if err != nil && c.upstream != nil {
			continue
		}
		if err != nil {
			return missing(d)
		}
		if info.Size() != d.Size {
			return refuse(http.StatusBadRequest, "SIZE_INVALID", "blob %s has %d bytes, the manifest says %d", d.Digest, info.Size(), d.Size)
		}
	}
	return nil
}

// about lists what refers to a manifest. mu or writes are held.
func (c *catalog) about(component, subject string) (all []*pack.Referrer) {
	for _, r := range c.beside[component] {
		if r.Subject.Digest == subject {
			all = append(all, r)
		}
	}
	return all
}

// referrer returns the one with that digest, or nil. mu or writes are held.
func (c *catalog) referrer(component, digest string) *pack.Referrer {
	at := slices.IndexFunc(c.beside[component], func(r *pack.Referrer) bool { return r.Digest == digest })
	if at < 0 {
		return nil
	}
	return c.beside[component][at]
}

// referrers answers what refers to a manifest, none if nothing does.
func (c *catalog) referrers(component, subject string, query url.Values) (*resource, error) {
	if err := errors.Join(pack.CheckComponent(component), pack.CheckDigest(subject)); err != nil {
		return nil, refuse(http.StatusBadRequest, "DIGEST_INVALID", "%w", err)
	}
	index := ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{},
	}
	kind := strings.ReplaceAll(query.Get("artifactType"), " ", "+") // of +json, by people who do not escape it
	c.mu.RLock()
	all := c.about(component, subject)
	c.mu.RUnlock()
	for _, r := range all {
		if kind == "" || r.ArtifactType == kind {
			index.Manifests = append(index.Manifests, ocispec.Descriptor{
				MediaType: pack.MediaTypeManifest, ArtifactType: r.ArtifactType, Digest: digest.Digest(r.Digest), Size: r.Size, Annotations: r.Annotations,
			})
		}
	}
	res, err := jsonResource(index)
	if err != nil {
		return nil, err
	}
	res.media = ocispec.MediaTypeImageIndex
	if kind != "" {
		res.headers = map[string]string{"OCI-Filters-Applied": "artifactType"}
	}
	return res, nil
}
