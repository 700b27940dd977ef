package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/settings"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

type packageCmd struct {
	Init    initCmd    `cmd:"" help:"Write a tranquil.toml to begin with."`
	Build   buildCmd   `cmd:"" help:"Build a package from the tranquil.toml in a directory."`
	Inspect inspectCmd `cmd:"" help:"Show what a package says about itself."`
	Verify  verifyCmd  `cmd:"" help:"Read all of a package and check every digest."`
	Diff    diffCmd    `cmd:"" help:"Show how two packages differ."`
	Push    pushCmd    `cmd:"" help:"Upload a package to a file server or OCI registry."`
	Pull    pullCmd    `cmd:"" help:"Fetch a package from a file server or OCI registry."`
	Bundle  bundleCmd  `cmd:"" help:"Put a package and what vouches for it on a USB stick, for devices without a network."`
}

type buildCmd struct {
	Dir    string `arg:"" help:"Directory of the tranquil.toml."`
	Output string `short:"o" default:"." help:"File to write, with an extension, or a directory for a file named type.component.package.ext, made if it is not there."`
	Layout bool   `help:"Write an OCI image layout directory instead of a single file."`

	SBOM       []string `name:"sbom" placeholder:"FILE" help:"Bill of materials that travels with the package: CycloneDX or SPDX, as JSON."`
	Provenance bool     `help:"Have the package say what it was built of: an in-toto statement with SLSA provenance."`
}

// packaged is what build and verify tell.
type packaged struct {
	Path      string `json:"path"`
	Component string `json:"component"`
	Version   string `json:"version"`
	Digest    string `json:"digest"`
}

func (c *buildCmd) Run(s *session) error {
	recipe, err := pack.ReadRecipe(c.Dir)
	if err != nil {
		return err
	}
	if err := resolveTransforms(recipe, c.Dir); err != nil {
		return err
	}
	if recipe.Attachments, err = c.attachments(s, recipe); err != nil {
		return err
	}
	p, path, err := c.build(recipe)
	if err != nil {
		return err
	}
	if err := cmp.Or(recipe.Place(checkTransforms(path)), tryMigrations(s, recipe, c.Dir)); err != nil {
		return errors.Join(err, os.RemoveAll(path)) // nobody should push it
	}
	warnUnused(s, recipe, c.Dir)
	return s.tell(packaged{path, p.Manifest.Component(), p.Manifest.Version, p.Digest}, "%s\n%s %s %s\n", path, p.Manifest.Component(), p.Manifest.Version, p.Digest)
}

func (c *buildCmd) build(recipe *pack.Recipe) (*pack.Package, string, error) {
	if c.Layout {
		p, err := recipe.Build(c.Output)
		return p, c.Output, err
	}
	output, err := fileOutput(c.Output)
	if err != nil {
		return nil, "", err
	}
	return recipe.BuildFile(output)
}

// fileOutput says whether an output is a file or a directory for one, and refuses
// to replace what is no package.
func fileOutput(path string) (string, error) {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.Mode().IsRegular():
		old, err := pack.Open(path)
		if err != nil {
			return "", fmt.Errorf("%s is there already, and is no package that could be replaced: name another output", path)
		}
		old.Close()
	case errors.Is(err, fs.ErrNotExist) && filepath.Ext(path) == "":
		path += string(filepath.Separator) // a package has an extension, so this is a directory
	}
	return path, nil
}

// warnUnused tells of patterns for which no example has a file: the author may
// have meant others.
func warnUnused(s *session, recipe *pack.Recipe, dir string) {
	_, edges, cases, err := readProject(dir, "")
	if err != nil {
		return // no examples to go by
	}
	for _, e := range edges {
		for _, pattern := range e.Unused(cases) {
			fmt.Fprintf(s.err, "warning: %s\n", unused(e, pattern))
		}
	}
}

// checkTransforms refuses a package with modules that no device would run.
func checkTransforms(path string) error {
	l, err := pack.Open(path)
	if err != nil {
		return err
	}
	defer l.Close()
	var errs []error
	for i, t := range l.Package.Transforms {
		errs = append(errs, inTransform(i, checkTransform(l, t)))
	}
	return errors.Join(errs...)
}

func checkTransform(l *pack.Layout, t pack.Transform) error {
	schema, err := l.Schema(t)
	if err != nil {
		return err
	}
	if len(schema) > 0 {
		if err := host.CheckSchema(schema); err != nil {
			return settings.In("schema", err)
		}
	}
	r, err := l.Blob(t.Descriptor)
	if err != nil {
		return err
	}
	defer r.Close()
	module, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	err = host.CheckMemory(module, t.Limits.Memory)
	if e, ok := errors.AsType[*host.Error](err); ok {
		err = errors.New(e.Reason) // of which module, the key says
	}
	return settings.In("module", err)
}

type verifyCmd struct {
	Package string `arg:"" help:"Package file or layout directory."`
}

func (c *verifyCmd) Run(s *session) error {
	l, err := pack.Open(c.Package)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := l.Verify(); err != nil {
		return fmt.Errorf("%s is damaged:\n%w", c.Package, err)
	}
	if err := checkTransforms(c.Package); err != nil {
		return err
	}
	m := l.Package.Manifest
	return s.tell(packaged{c.Package, m.Component(), m.Version, l.Package.Digest}, "%s is whole\n%s %s %s\n", c.Package, m.Component(), m.Version, l.Package.Digest)
}
