package main

import (
	"fmt"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

type packageCmd struct {
	Build   buildCmd   `cmd:"" help:"Build a package from the tranquil.toml in a directory."`
	Inspect inspectCmd `cmd:"" help:"Show what a package says about itself."`
	Verify  verifyCmd  `cmd:"" help:"Read all of a package and check every digest."`
	Push    pushCmd    `cmd:"" help:"Upload a package to a file server or OCI registry."`
}

type buildCmd struct {
	Dir    string `arg:"" help:"Directory of the tranquil.toml."`
	Output string `short:"o" default:"." help:"File to write, or a directory for a file named type.component.package.ext."`
	Layout bool   `help:"Write an OCI image layout directory instead of a single file."`
}

func (c *buildCmd) Run(s *session) error {
	recipe, err := pack.ReadRecipe(c.Dir)
	if err != nil {
		return err
	}
	p, path, err := c.build(recipe)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s\n%s %s %s\n", path, p.Manifest.Component(), p.Manifest.Version, p.Digest)
	return nil
}

func (c *buildCmd) build(recipe *pack.Recipe) (*pack.Package, string, error) {
	if c.Layout {
		p, err := recipe.Build(c.Output)
		return p, c.Output, err
	}
	return recipe.BuildFile(c.Output)
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
	m := l.Package.Manifest
	fmt.Fprintf(s.out, "%s is whole\n%s %s %s\n", c.Package, m.Component(), m.Version, l.Package.Digest)
	return nil
}
