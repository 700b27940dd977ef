package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/errcode"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

const (
	upstreamEvery  = 10 * time.Minute // is looked what others have pushed there
	upstreamWithin = 30 * time.Minute // a package is pushed there
	bringWait      = time.Second      // for a blob, before the client shall come again
)

// An upstream is an OCI registry that has the packages. The layout here is then a
// cache: what was asked for, and the description of all.
type upstream struct {
	base     string // "registry.example.org/prefix"
	plain    bool
	client   *auth.Client
	bringing sync.Map // digests that are on their way → chan struct{}, closed at the end
}

// openUpstream reads where the registry is: "https://registry.example.org/prefix"; ""
// is none.
func openUpstream(from, user, password string) (*upstream, error) {
	if from == "" {
		return nil, nil
	}
	u, err := url.Parse(from)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("cannot use registry %q: want https://host/prefix", from)
	}
	up := &upstream{base: u.Host + strings.TrimSuffix(u.Path, "/"), plain: u.Scheme == "http", client: &auth.Client{Cache: auth.NewCache()}}
	if password != "" {
		up.client.Credential = auth.StaticCredential(u.Host, auth.Credential{Username: user, Password: password})
	}
	return up, nil
}

// repository is where a component's packages are.
func (u *upstream) repository(component string) (*remote.Repository, error) {
	r, err := remote.NewRepository(u.base + "/" + component)
	if err != nil {
		return nil, err
	}
	r.PlainHTTP, r.Client = u.plain, u.client
	return r, nil
}

// components lists those that have packages there.
func (u *upstream) components(ctx context.Context) (all []string, err error) {
	host, prefix, _ := strings.Cut(u.base, "/")
	r, err := remote.NewRegistry(host)
	if err != nil {
		return nil, err
	}
	r.PlainHTTP, r.Client = u.plain, u.client
	err = r.Repositories(ctx, "", func(names []string) error {
		for _, name := range names {
			component, ours := strings.CutPrefix(name, strings.TrimPrefix(prefix+"/", "/"))
			if ours && pack.CheckComponent(component) == nil {
				all = append(all, component)
			}
		}
		return nil
	})
	return all, err
}

// away says that the registry does not do what was asked.
func away(err error) error {
	return refuse(http.StatusBadGateway, "UNAVAILABLE", "the registry behind this server: %w", err)
}

// hand gives the registry a manifest and the blobs that it names, before it is
// published here.
func (c *catalog) hand(component, reference string, blobs []pack.Descriptor, manifest []byte) error {
	if c.upstream == nil {
		return nil
	}
	ctx, done := context.WithTimeout(context.Background(), upstreamWithin)
	defer done()
	r, err := c.upstream.repository(component)
	if err != nil {
		return away(err)
	}
	for _, d := range blobs {
		if err := c.handBlob(ctx, r, d); err != nil {
			return err
		}
	}
	d := content.NewDescriptorFromBytes(pack.MediaTypeManifest, manifest)
	if err := r.PushReference(ctx, d, bytes.NewReader(manifest), reference); err != nil {
		return away(err)
	}
	return nil
}

func (c *catalog) handBlob(ctx context.Context, r *remote.Repository, d pack.Descriptor) error {
	there, err := r.Blobs().Exists(ctx, descriptor(d))
	if err != nil {
		return away(err)
	}
	if there {
		return nil
	}
	f, err := os.Open(c.blobPath(d.Digest))
	if err != nil {
		return missing(d)
	}
	defer f.Close()
	if err := r.Blobs().Push(ctx, descriptor(d), f); err != nil {
		return away(err)
	}
	return nil
}

// withdrawn deletes a manifest in the registry, if there is one behind.
func (c *catalog) withdrawn(component string, d pack.Descriptor) error {
	if c.upstream == nil {
		return nil
	}
	ctx, done := context.WithTimeout(context.Background(), time.Minute)
	defer done()
	r, err := c.upstream.repository(component)
	if err == nil {
		err = r.Manifests().Delete(ctx, descriptor(d))
	}
	if err != nil && !gone(err) {
		return away(err)
	}
	return nil
}

// listed finds a blob that a manifest of the component names. mu or writes are held.
func (c *catalog) listed(component, digest string) (pack.Descriptor, bool) {
	var all []pack.Descriptor
	for _, p := range c.versions[component] {
		all = append(all, p.Blobs()...)
	}
	for _, r := range c.beside[component] {
		all = append(all, r.Blobs()...)
	}
	at := slices.IndexFunc(all, func(d pack.Descriptor) bool { return d.Digest == digest })
	if at < 0 {
		return pack.Descriptor{}, false
	}
	return all[at], true
}

// bring has a blob come from the registry, and reports whether it is here. If that
// takes long the client shall come again.
func (c *catalog) bring(component, digest string) (bool, error) {
	if c.upstream == nil {
		return false, nil
	}
	c.mu.RLock()
	d, known := c.listed(component, digest)
	c.mu.RUnlock()
	if !known {
		return false, nil
	}
	mine := make(chan struct{})
	other, under := c.upstream.bringing.LoadOrStore(digest, mine)
	done := other.(chan struct{})
	if !under {
		go func() {
			defer close(mine)
			defer c.upstream.bringing.Delete(digest)
			if err := c.fetch(component, d); err != nil {
				c.log.Error("cannot bring blob from the registry", "component", component, "blob", digest, "err", err)
			}
		}()
	}
	select {
	case <-done:
		return c.has(digest), nil
	case <-time.After(bringWait):
		return false, refuse(http.StatusServiceUnavailable, "UNAVAILABLE", "the blob is on its way from the registry")
	}
}

// fetch brings a blob from the registry.
func (c *catalog) fetch(component string, d pack.Descriptor) error {
	ctx, done := context.WithTimeout(context.Background(), upstreamWithin)
	defer done()
	r, err := c.upstream.repository(component)
	if err != nil {
		return err
	}
	from, err := r.Blobs().Fetch(ctx, descriptor(d))
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.CreateTemp(c.uploads(), "file-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := io.Copy(&metered{f, c.quota}, pack.NewVerifyReader(from, d)); err != nil {
		if info, e := f.Stat(); e == nil {
			c.quota.give(info.Size())
		}
		return err
	}
	c.writes.Lock()
	defer c.writes.Unlock()
	before, err := c.replace(d.Digest, func(path string) error { return settle(f, path) })
	if err != nil {
		before = d.Size
	}
	c.quota.give(before)
	return err
}

// keepUpstream looks what others have pushed to the registry, or deleted there, until
// ctx ends.
func (c *catalog) keepUpstream(ctx context.Context) error {
	ticker := time.NewTicker(upstreamEvery)
	defer ticker.Stop()
	for {
		if err := c.compare(ctx); err != nil && ctx.Err() == nil {
			c.log.Error("cannot look into the registry: packages are served as they were", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// compare takes over what the registry has.
func (c *catalog) compare(ctx context.Context) error {
	components, err := c.upstream.components(ctx)
	if err != nil {
		return err
	}
	var failed error
	for _, component := range components {
		if err := c.compareComponent(ctx, component); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", component, err))
		}
	}
	return failed
}

func (c *catalog) compareComponent(ctx context.Context, component string) error {
	r, err := c.upstream.repository(component)
	if err != nil {
		return err
	}
	c.mu.RLock()
	before := slices.Clone(c.versions[component])
	c.mu.RUnlock()
	there := map[string]bool{}
	err = r.Tags(ctx, "", func(tags []string) error {
		for _, tag := range tags {
			there[tag] = true
		}
		return nil
	})
	if err != nil && !gone(err) {
		return err
	}
	for _, tag := range slices.SortedFunc(maps.Keys(there), pack.CompareVersions) { // deltas are from lower versions
		known := slices.ContainsFunc(before, func(p *pack.Package) bool { return p.Manifest.Version == tag })
		if pack.CheckVersion(tag) != nil || known {
			continue
		}
		if err := c.adopt(ctx, r, component, tag); err != nil {
			return fmt.Errorf("%s: %w", tag, err)
		}
	}
	c.writes.Lock()
	defer c.writes.Unlock()
	for _, p := range before {
		if !there[p.Manifest.Version] && c.find(component, p.Digest) == p {
			if err := c.remove(component, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// gone reports whether the registry has no such thing (any more).
func gone(err error) bool {
	r, is := errors.AsType[*errcode.ErrorResponse](err)
	return errors.Is(err, errdef.ErrNotFound) || is && r.StatusCode == http.StatusNotFound
}

// adopt lists a package that others have pushed, and what refers to it. Their blobs
// come when somebody asks for them.
func (c *catalog) adopt(ctx context.Context, r *remote.Repository, component, version string) error {
	manifest, err := readReference(ctx, r, version)
	if err != nil {
		return err
	}
	if !pack.IsPackage(manifest) {
		return nil // it is something else's tag
	}
	d, err := pack.ConfigOf(manifest)
	if err != nil {
		return err
	}
	config, err := content.FetchAll(ctx, r.Blobs(), descriptor(d))
	if err != nil {
		return err
	}
	if err := c.adoptBlob(d.Digest, config); err != nil {
		return err
	}
	p, err := c.publish(component, version, manifest)
	if err != nil {
		return err
	}
	var beside []ocispec.Descriptor
	err = r.Referrers(ctx, descriptor(p.Descriptor()), "", func(all []ocispec.Descriptor) error {
		beside = append(beside, all...)
		return nil
	})
	for _, d := range beside {
		b, e := readReference(ctx, r, d.Digest.String())
		if e == nil {
			_, e = c.attachHere(component, d.Digest.String(), b)
		}
		err = errors.Join(err, e)
	}
	if err != nil {
		c.log.Warn("what refers to a package is not taken over", "component", component, "version", version, "err", err)
	}
	return nil
}

func (c *catalog) adoptBlob(digest string, b []byte) error {
	c.writes.Lock()
	defer c.writes.Unlock()
	return c.writeBlob(digest, b)
}

func readReference(ctx context.Context, r *remote.Repository, reference string) ([]byte, error) {
	d, from, err := r.FetchReference(ctx, reference)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	if d.Size > pack.MaxManifestSize {
		return nil, fmt.Errorf("the manifest has more than %d bytes", pack.MaxManifestSize)
	}
	return content.ReadAll(from, d)
}
