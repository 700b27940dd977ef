package files

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// What nothing refers to stays for leftover: a publisher may be about to push the
// manifest that does, or to go on with an upload.
const (
	sweepEvery = time.Hour
	leftover   = 24 * time.Hour
)

// keepClean removes what is left over, until ctx ends.
func (c *catalog) keepClean(ctx context.Context) error {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		if freed, err := c.sweep(time.Now()); err != nil {
			c.log.Error("cannot remove what is left over in the package store", "err", err)
		} else if freed > 0 {
			c.log.Info("removed what was left over in the package store", "bytes", freed)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// sweep removes referrers of nothing, blobs that no manifest names and uploads that
// nobody has gone on with, if they are old enough, and returns their bytes. As long as
// a package is damaged nobody knows which blobs are left of it: then all stay.
func (c *catalog) sweep(now time.Time) (freed int64, err error) {
	c.writes.Lock()
	defer c.writes.Unlock()
	if err := c.forget(func(component string, r *pack.Referrer) bool {
		info, err := os.Stat(c.blobPath(r.Digest))
		return err == nil && now.Sub(info.ModTime()) > leftover && !c.names(component, r.Subject.Digest)
	}); err != nil {
		return 0, err
	}
	if err := c.dropDeltas(); err != nil {
		return 0, err
	}
	used, dirs := c.inUse(), []string{c.uploads(), c.blobDir()}
	if len(c.damaged) > 0 {
		dirs = dirs[:1]
	}
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return freed, err
		}
		for _, e := range entries {
			info, err := e.Info()
			if err != nil || now.Sub(info.ModTime()) < leftover || dir == c.blobDir() && used["sha256:"+e.Name()] {
				continue // or it is gone since
			}
			if err := c.discard(filepath.Join(dir, e.Name())); err != nil {
				return freed, err
			}
			freed += info.Size()
		}
	}
	return freed, nil
}

// names reports whether a digest is that of a package or of a referrer. writes are
// held.
func (c *catalog) names(component, digest string) bool {
	return c.find(component, digest) != nil || c.referrer(component, digest) != nil || c.damaged[digest]
}

// inUse are the digests of all that manifests name, and of these. writes are held.
func (c *catalog) inUse() map[string]bool {
	used := map[string]bool{}
	for _, d := range c.index.Manifests {
		used[d.Digest.String()] = true
	}
	for _, packages := range c.versions {
		for _, p := range packages {
			for _, d := range p.Blobs() {
				used[d.Digest] = true
			}
		}
	}
	for _, referrers := range c.beside {
		for _, r := range referrers {
			for _, d := range r.Blobs() {
				used[d.Digest] = true
			}
		}
	}
	c.deltas.use(used)
	return used
}

// delete takes back a package, with what refers to it, or a referrer. Devices that
// have the package keep it.
func (c *catalog) delete(component, reference string) error {
	c.writes.Lock()
	defer c.writes.Unlock()
	p, r := c.find(component, reference), c.referrer(component, reference)
	switch {
	case p != nil:
		if err := c.withdrawn(component, p.Descriptor()); err != nil {
			return err
		}
		return c.remove(component, p)
	case r != nil:
		if err := c.withdrawn(component, r.Descriptor()); err != nil {
			return err
		}
		return c.forget(func(of string, other *pack.Referrer) bool { return of == component && other == r })
	}
	return c.deleteDamaged(component, reference)
}

// deleteDamaged gives up a package, or a referrer, that is not served; its blobs are
// swept away. writes are held.
func (c *catalog) deleteDamaged(component, reference string) error {
	meant := func(d ocispec.Descriptor) bool {
		name, digest := d.Annotations[ocispec.AnnotationRefName], d.Digest.String()
		own := strings.HasPrefix(name, component+":") || d.Annotations[annotationComponent] == component
		return c.damaged[digest] && (name == component+":"+reference || own && digest == reference)
	}
	at := slices.IndexFunc(c.index.Manifests, meant)
	if at < 0 {
		return refuse(http.StatusNotFound, "MANIFEST_UNKNOWN", "no package %.80s:%.80s", component, reference)
	}
	digest := c.index.Manifests[at].Digest.String()
	if err := c.unlist(meant); err != nil {
		return err
	}
	delete(c.damaged, digest)
	return nil
}

// remove takes a package out of the store. writes are held.
func (c *catalog) remove(component string, p *pack.Package) error {
	if err := c.forget(func(of string, r *pack.Referrer) bool { return of == component && r.Subject.Digest == p.Digest }); err != nil {
		return err
	}
	if err := c.unlist(func(d ocispec.Descriptor) bool { return d.Digest.String() == p.Digest }); err != nil {
		return err
	}
	c.mu.Lock()
	c.versions[component] = slices.DeleteFunc(slices.Clone(c.versions[component]), func(o *pack.Package) bool { return o == p })
	if len(c.versions[component]) == 0 {
		delete(c.versions, component)
	}
	delete(c.files, p.File)
	c.mu.Unlock()
	c.log.Info("package removed", "component", component, "version", p.Manifest.Version, "digest", p.Digest)
	return c.free(append(p.Blobs(), p.Descriptor()))
}

// forget takes out the referrers that are meant. writes are held.
func (c *catalog) forget(meant func(component string, r *pack.Referrer) bool) error {
	gone := map[string]bool{}
	var blobs []pack.Descriptor
	for component, all := range c.beside {
		for _, r := range all {
			if meant(component, r) {
				gone[component+"@"+r.Digest] = true
				blobs = append(append(blobs, r.Descriptor()), r.Blobs()...)
			}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	if err := c.unlist(func(d ocispec.Descriptor) bool {
		return gone[d.Annotations[annotationComponent]+"@"+d.Digest.String()]
	}); err != nil {
		return err
	}
	c.mu.Lock()
	for component, all := range c.beside {
		c.beside[component] = slices.DeleteFunc(slices.Clone(all), func(r *pack.Referrer) bool { return gone[component+"@"+r.Digest] })
	}
	c.mu.Unlock()
	return c.free(blobs)
}

// unlist takes manifests out of the index, after which they are served no more at
// the next start. writes are held.
func (c *catalog) unlist(meant func(ocispec.Descriptor) bool) error {
	next := c.index
	next.Manifests = slices.DeleteFunc(slices.Clone(next.Manifests), meant)
	if err := c.writeJSON(c.indexPath(), next); err != nil {
		return fmt.Errorf("cannot remove from package store: %w", err)
	}
	c.index = next
	return nil
}

// free removes blobs that nothing else names. writes are held.
func (c *catalog) free(blobs []pack.Descriptor) error {
	used := c.inUse()
	var failed error
	for _, d := range blobs {
		if !used[d.Digest] {
			failed = cmp.Or(failed, c.discard(c.blobPath(d.Digest)))
		}
	}
	return failed
}

// retire removes packages of a component but those that were pushed last, and the
// newest. writes are held.
func (c *catalog) retire(component string) error {
	all := c.versions[component]
	if c.keep == 0 || len(all) <= c.keep {
		return nil
	}
	pushed := map[string]int{}
	for i, d := range c.index.Manifests {
		pushed[d.Digest.String()] = i
	}
	oldest := slices.Clone(all[1:])
	slices.SortFunc(oldest, func(a, b *pack.Package) int { return cmp.Compare(pushed[a.Digest], pushed[b.Digest]) })
	for _, p := range oldest[:len(all)-c.keep] {
		if err := c.withdrawn(component, p.Descriptor()); err != nil {
			return err
		}
		if err := c.remove(component, p); err != nil {
			return err
		}
	}
	return nil
}
