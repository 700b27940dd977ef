package main

import (
	"slices"

	"github.com/tranquil-iot/tranquil/agent/internal/content"
	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/fetch"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// fetching is how all packages are fetched, wherever from.
func (a *agent) fetching() fetch.Config {
	c := a.config
	f := fetch.Config{
		URL: c.Files.URL, Also: c.Files.Also, Store: a.content, Insecure: c.Files.Insecure,
		Dial: a.metered.Dial, Whole: a.metered.Whole, Secure: a.secured(), Notice: engine.Notice, Log: a.log,
	}
	if c.Files.Deltas {
		f.Deltas = bases{a.content, a.installedBlobs}
	}
	return f
}

// bases are the blobs of the package that is installed: what the next one has in
// their place is mostly the same.
type bases struct {
	*content.Store
	of func(component string) []pack.Descriptor
}

func (b bases) Bases(component string) []pack.Descriptor { return b.of(component) }

// installedBlobs lists the artifact of the installed package, then its transforms.
func (a *agent) installedBlobs(component string) []pack.Descriptor {
	i, err := a.store.Installed(component)
	if err != nil || i.Digest == "" {
		return nil
	}
	return slices.DeleteFunc(a.engine.Blobs(i.Digest), func(b pack.Descriptor) bool { return b.MediaType == pack.MediaTypeConfig })
}

// spare are artifacts that stay for deltas only: when the disk is full the next
// ones come whole.
func (a *agent) spare() (digests []string) {
	if a.engine == nil || a.config.State.KeepPackages {
		return nil
	}
	unfinished, err := a.store.Unfinished()
	if err != nil {
		return nil
	}
	var needed []pack.Descriptor
	for _, r := range unfinished {
		needed = append(needed, a.engine.Blobs(r.Update.To.Digest)...)
	}
	for _, component := range a.config.Components {
		for _, b := range a.installedBlobs(component) {
			if b.MediaType == pack.MediaTypeArtifact && !slices.Contains(needed, b) {
				digests = append(digests, b.Digest)
			}
		}
	}
	return digests
}
