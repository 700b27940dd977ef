package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A part is a component of the bill of materials (CycloneDX 1.5).
type part struct {
	Type    string `json:"type"`
	Ref     string `json:"bom-ref"`
	Name    string `json:"name"`
	Version string `json:"version"`
	PURL    string `json:"purl,omitempty"`
}

// A dependency says of a part which it needs.
type dependency struct {
	Ref string   `json:"ref"`
	On  []string `json:"dependsOn"`
}

// bill writes which modules are in which program, as the programs themselves say.
func (d *distribution) bill() error {
	binaries, err := filepath.Glob(filepath.Join(d.work, "*", "*"))
	if err != nil {
		return err
	}
	parts, on := map[string]part{}, map[string][]string{}
	for _, binary := range binaries {
		name := filepath.Base(binary)
		libraries, err := librariesOf(binary)
		if err != nil {
			return err
		}
		parts[name] = part{Type: "application", Ref: name, Name: name, Version: d.version}
		for _, l := range libraries {
			parts[l.Ref] = l
			on[name] = append(on[name], l.Ref)
		}
	}
	bill := struct {
		Format       string         `json:"bomFormat"`
		Spec         string         `json:"specVersion"`
		Version      int            `json:"version"`
		Metadata     map[string]any `json:"metadata"`
		Components   []part         `json:"components"`
		Dependencies []dependency   `json:"dependencies"`
	}{Format: "CycloneDX", Spec: "1.5", Version: 1, Metadata: map[string]any{
		"timestamp": d.time.Format(time.RFC3339),
		"component": part{Type: "application", Ref: "release", Name: "tranquil", Version: d.version},
	}}
	for _, ref := range slices.Sorted(maps.Keys(parts)) {
		bill.Components = append(bill.Components, parts[ref])
	}
	for _, name := range slices.Sorted(maps.Keys(on)) {
		slices.Sort(on[name])
		bill.Dependencies = append(bill.Dependencies, dependency{name, slices.Compact(on[name])})
	}
	data, err := json.MarshalIndent(bill, "", "  ")
	if err != nil {
		return err
	}
	return d.write(fmt.Sprintf("tranquil_%s.cdx.json", d.debianVersion()), append(data, '\n'))
}

// librariesOf lists the modules in a program, and the standard library.
func librariesOf(binary string) ([]part, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	all := []part{library("stdlib", strings.TrimPrefix(info.GoVersion, "go"))}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		all = append(all, library(m.Path, m.Version))
	}
	return all, nil
}

func library(path, version string) part {
	url := "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
	return part{Type: "library", Ref: url, Name: path, Version: version, PURL: url}
}
