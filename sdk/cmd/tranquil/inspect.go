package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

type inspectCmd struct {
	Package string `arg:"" help:"Package file or layout directory."`
}

func (c *inspectCmd) Run(s *session) error {
	l, err := pack.Open(c.Package)
	if err != nil {
		return err
	}
	defer l.Close()
	ways, said := waysOf(l.Package), statementsOf(l)
	if s.JSON {
		return s.printJSON(struct {
			*pack.Package
			Ways      []way       `json:"ways,omitempty"`
			Referrers []statement `json:"referrers,omitempty"`
		}{l.Package, ways, said})
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	showManifest(w, l.Package)
	showLayers(w, l.Package)
	for _, way := range ways {
		fmt.Fprintf(w, "way\t%s\tback %s\n", way.Forth, cmp.Or(way.Back, "none"))
	}
	for _, st := range said {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", st.kind(), st.ArtifactType, st.Digest, st)
	}
	return w.Flush()
}

func showManifest(w io.Writer, p *pack.Package) {
	m := p.Manifest
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, value)
		}
	}
	row("component", m.Component())
	row("version", m.Version)
	row("file", p.File)
	row("digest", p.Digest)
	row("size", amount(size(p)))
	for _, component := range slices.Sorted(maps.Keys(m.Requires)) {
		row("requires", component+" "+m.Requires[component])
	}
	row("downtime", downtime(m))
	row("probe", fmt.Sprintf("healthy within %v, and stays so for %v",
		cmp.Or(time.Duration(m.Probe.Deadline), 30*time.Second), cmp.Or(time.Duration(m.Probe.Probation), time.Second)))
	row("state", state(m))
	row("settings", string(m.Settings))
}

func showLayers(w io.Writer, p *pack.Package) {
	for _, a := range p.Artifacts {
		form := "unpacked " + amount(a.Unpacked)
		if a.MediaType == pack.MediaTypeRaw {
			form = "raw"
		}
		fmt.Fprintf(w, "artifact\t%s\t%s\t%s, %s\n", a.Platform(), a.Digest, amount(a.Size), form)
	}
	for _, t := range p.Transforms {
		fmt.Fprintf(w, "transform\t%d → %d\t%s\t%s\n", t.From, t.To, t.Digest, describe(t)) // what is long comes last: the rest is padded
	}
}

// describe tells what an edge does, in a few words.
func describe(t pack.Transform) string {
	words := []string{amount(t.Size), t.Mode, "to " + t.Format}
	if t.Split != "" {
		words = append(words, "split at "+t.Split)
	}
	if t.Lossy {
		words = append(words, "lossy")
	}
	switch {
	case len(t.Schema) > 0:
		words = append(words, "schema of "+amount(int64(len(t.Schema))))
	case t.SchemaBlob.Size > 0:
		words = append(words, "schema of "+amount(t.SchemaBlob.Size))
	}
	if l := t.Limits; l != (pack.TransformLimits{}) {
		words = append(words, "limits "+limits(l))
	}
	words = append(words, t.Files...)
	for _, name := range slices.Sorted(maps.Keys(t.Params)) {
		words = append(words, name+"="+strconv.Quote(t.Params[name]))
	}
	return strings.Join(words, ", ")
}

func limits(l pack.TransformLimits) string {
	var words []string
	for _, limit := range []struct {
		of, text string
		set      bool
	}{
		{"memory", amount(l.Memory), l.Memory > 0},
		{"CPU time", time.Duration(l.CPU).String(), l.CPU > 0},
		{"time", time.Duration(l.Wall).String(), l.Wall > 0},
		{"output", amount(l.Output), l.Output > 0},
	} {
		if limit.set {
			words = append(words, limit.text+" of "+limit.of)
		}
	}
	return strings.Join(words, " and ")
}

func downtime(m pack.Manifest) string {
	var words []string
	if m.Downtime > 0 {
		words = append(words, "expected "+time.Duration(m.Downtime).String())
	}
	if m.MaxDowntime > 0 {
		words = append(words, "at most "+time.Duration(m.MaxDowntime).String())
	}
	return strings.Join(words, ", ")
}

func state(m pack.Manifest) string {
	if m.State == nil {
		return "none"
	}
	return "schema " + strconv.Itoa(m.State.Schema)
}

// A way is a chain of transforms from another schema to the package's own, and
// the chain back.
type way struct {
	Forth string `json:"forth"` // "1 → 2 → 3"
	Back  string `json:"back"`  // "" if there is none
}

func waysOf(p *pack.Package) []way {
	schemas := map[int]bool{}
	for _, t := range p.Transforms {
		schemas[t.From], schemas[t.To] = true, true
	}
	delete(schemas, p.Manifest.Schema())
	var ways []way
	for _, schema := range slices.Sorted(maps.Keys(schemas)) {
		ways = append(ways, way{
			Forth: chain(p.Transforms, schema, p.Manifest.Schema()),
			Back:  chain(p.Transforms, p.Manifest.Schema(), schema),
		})
	}
	return ways
}

func chain(transforms []pack.Transform, from, to int) string {
	edges, err := pack.Chain(transforms, from, to)
	if err != nil {
		return ""
	}
	line := strconv.Itoa(from)
	for _, t := range edges {
		line += " → " + strconv.Itoa(t.To)
		if t.Lossy {
			line += " (lossy)"
		}
	}
	return line
}

// size is what a device would fetch for all platforms.
func size(p *pack.Package) int64 {
	total := p.Size
	for _, d := range p.Blobs() {
		total += d.Size
	}
	return total
}

// amount writes n for people.
func amount(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	default:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
}
