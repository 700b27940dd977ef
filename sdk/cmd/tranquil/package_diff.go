package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

type diffCmd struct {
	Old string `arg:"" help:"Package file or layout directory."`
	New string `arg:"" help:"Package file or layout directory."`
}

// A difference is one thing that two packages do not have in common.
type difference struct {
	What string `json:"what"`           // "version", "transform", "artifact", "file", …
	Name string `json:"name,omitempty"` // which one
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
}

// A cost is what a device of a platform that has the old package fetches for the
// new one.
type cost struct {
	Platform string `json:"platform"`
	Bytes    int64  `json:"bytes"`
	Of       int64  `json:"of"` // bytes without the old one
}

func (c *diffCmd) Run(s *session) error {
	old, err := pack.Open(c.Old)
	if err != nil {
		return err
	}
	defer old.Close()
	now, err := pack.Open(c.New)
	if err != nil {
		return err
	}
	defer now.Close()
	all := append(diffManifests(old.Package, now.Package), diffTransforms(old.Package, now.Package)...)
	artifacts, err := diffArtifacts(old, now)
	if err != nil {
		return err
	}
	all = append(all, artifacts...)
	costs := costsOf(old.Package, now.Package)
	if s.JSON {
		return s.printJSON(struct {
			Same        bool         `json:"same"`
			Differences []difference `json:"differences"`
			Fetch       []cost       `json:"fetch"`
		}{old.Package.Digest == now.Package.Digest, append([]difference{}, all...), costs})
	}
	if old.Package.Digest == now.Package.Digest {
		_, err := fmt.Fprintf(s.out, "the same package\n%s\n", now.Package.Digest)
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	for _, d := range all {
		fmt.Fprintf(w, "%s %s\t%s\t%s\n", d.sign(), d.What, d.Name, d.text())
	}
	for _, f := range costs {
		fmt.Fprintf(w, "  fetch\t%s\t%s of %s\n", f.Platform, amount(f.Bytes), amount(f.Of))
	}
	return w.Flush()
}

func (d difference) sign() string {
	switch {
	case d.Old == "":
		return "+"
	case d.New == "":
		return "-"
	}
	return "~"
}

func (d difference) text() string {
	if d.Old == "" || d.New == "" {
		return d.Old + d.New
	}
	return d.Old + " → " + d.New
}

// differ lists what two maps do not have in common, by name.
func differ(what string, old, now map[string]string) (all []difference) {
	names := map[string]bool{}
	for name := range old {
		names[name] = true
	}
	for name := range now {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if old[name] != now[name] {
			all = append(all, difference{what, name, old[name], now[name]})
		}
	}
	return all
}

// fields are what a manifest says, in words; what is not said is missing.
func fields(m pack.Manifest) map[string]string {
	f := map[string]string{"component": m.Component(), "version": m.Version, "state": state(m), "epoch": strconv.Itoa(m.Epoch)}
	for name, d := range map[string]time.Duration{
		"downtime": time.Duration(m.Downtime), "maxDowntime": time.Duration(m.MaxDowntime),
		"probe.deadline": time.Duration(m.Probe.Deadline), "probe.probation": time.Duration(m.Probe.Probation),
	} {
		if d > 0 {
			f[name] = d.String()
		}
	}
	return f
}

func diffManifests(old, now *pack.Package) []difference {
	var all []difference
	for _, d := range differ("", fields(old.Manifest), fields(now.Manifest)) {
		d.What, d.Name = d.Name, ""
		all = append(all, d)
	}
	all = append(all, differ("requires", old.Manifest.Requires, now.Manifest.Requires)...)
	dependants := func(m pack.Manifest) map[string]string {
		of := map[string]string{}
		for _, d := range m.Dependants {
			of[d.Of] = d.Policy
			if d.MaxDelay > 0 {
				of[d.Of] += " for at most " + time.Duration(d.MaxDelay).String()
			}
		}
		return of
	}
	all = append(all, differ("dependant", dependants(old.Manifest), dependants(now.Manifest))...)
	return append(all, differ("settings", settingsOf(old.Manifest), settingsOf(now.Manifest))...)
}

// settingsOf are the members of the settings, as JSON.
func settingsOf(m pack.Manifest) map[string]string {
	members := map[string]json.RawMessage{}
	_ = json.Unmarshal(m.Settings, &members) // it is an object, or there are none
	text := map[string]string{}
	for name, value := range members {
		text[name] = string(value)
	}
	return text
}

func diffTransforms(old, now *pack.Package) []difference {
	edges := func(p *pack.Package) map[string]string {
		of := map[string]string{}
		for _, t := range p.Transforms {
			of[fmt.Sprintf("%d → %d", t.From, t.To)] = describe(t) + ", " + abridged(t.Digest)
		}
		return of
	}
	ways := func(p *pack.Package) map[string]string {
		of := map[string]string{}
		for _, w := range waysOf(p) {
			of[w.Forth] = "back " + cmp.Or(w.Back, "none")
		}
		return of
	}
	return append(differ("transform", edges(old), edges(now)), differ("way", ways(old), ways(now))...)
}

// abridged is as much of a digest as people need to tell two apart.
func abridged(digest string) string { return digest[:min(len(digest), len("sha256:")+12)] }

// diffArtifacts compares artifacts of the same platform file by file.
func diffArtifacts(old, now *pack.Layout) (all []difference, err error) {
	names := func(p *pack.Package) map[string]pack.Artifact {
		of := map[string]pack.Artifact{}
		for _, a := range p.Artifacts {
			name := a.Platform().String()
			if a.MediaType == pack.MediaTypeRaw {
				name += " raw"
			}
			of[name] = a
		}
		return of
	}
	before, after := names(old.Package), names(now.Package)
	text := func(of map[string]pack.Artifact) map[string]string {
		words := map[string]string{}
		for name, a := range of {
			words[name] = amount(a.Size) + ", " + abridged(a.Digest)
		}
		return words
	}
	for _, d := range differ("artifact", text(before), text(after)) {
		all = append(all, d)
		if d.sign() != "~" {
			continue
		}
		was, err := filesOf(old, before[d.Name])
		if err != nil {
			return nil, err
		}
		is, err := filesOf(now, after[d.Name])
		if err != nil {
			return nil, err
		}
		all = append(all, differ("file", was, is)...)
	}
	return all, nil
}

func filesOf(l *pack.Layout, a pack.Artifact) (map[string]string, error) {
	files, err := l.Files(a)
	if err != nil {
		return nil, fmt.Errorf("artifact %s: %w", a.Platform(), err)
	}
	of := map[string]string{}
	for _, f := range files {
		of[f.Name] = fmt.Sprintf("%s, %s", amount(f.Size), abridged(f.Digest))
		if f.Link != "" {
			of[f.Name] = "link to " + f.Link
		}
		if f.Mode&0o100 != 0 && f.Link == "" {
			of[f.Name] += ", executable"
		}
	}
	return of, nil
}

// costsOf is what devices fetch, of each platform that the new package is for.
func costsOf(old, now *pack.Package) (all []cost) {
	had := map[string]bool{}
	for _, t := range old.Transforms { // of what is installed, a device keeps these
		for _, d := range t.Blobs() {
			had[d.Digest] = true
		}
	}
	for _, a := range now.Artifacts {
		if a.MediaType == pack.MediaTypeRaw {
			continue // it goes where no agent is
		}
		c, counted := cost{Platform: a.Platform().String()}, map[string]bool{}
		count := func(d pack.Descriptor) {
			if counted[d.Digest] { // one module may serve several transforms
				return
			}
			counted[d.Digest] = true
			c.Of += d.Size
			if !had[d.Digest] {
				c.Bytes += d.Size
			}
		}
		count(now.Descriptor())
		count(now.Config)
		count(a.Descriptor)
		for _, t := range now.Transforms {
			for _, d := range t.Blobs() {
				count(d)
			}
		}
		all = append(all, c)
	}
	return all
}
