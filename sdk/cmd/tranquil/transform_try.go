package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/settings"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest"
)

// transformTryCmd is tranquil transform test; its file would otherwise be
// taken for a test of Go.
type transformTryCmd struct {
	Dir        string `arg:"" default:"." help:"Directory of a tranquil.toml with transforms (default: here)."`
	Cases      string `placeholder:"DIR" help:"Directory of the examples (default: testdata beside the tranquil.toml)."`
	Variations int    `default:"40" help:"Variations of each example to try on each edge."`
	Seed       uint64 `help:"Seed of the variations: another one gives others."`

	runner
}

// Help tells how examples look.
func (transformTryCmd) Help() string {
	return `An example is a directory, or a txtar file, in testdata: NAME/old holds the files of the state before, NAME/new those after. ` +
		`With more than two schemas, name the directories by schema: NAME/1, NAME/2, NAME/3. ` +
		`NAME/back holds what is left after there and back over a lossy edge. ` +
		`A state that must be refused has no "new" but a file NAME/refused with a part of the reason.`
}

func (c *transformTryCmd) Run(s *session) error {
	_, edges, cases, err := readProject(c.Dir, c.Cases)
	if err != nil {
		return err
	}
	h, err := c.host(s)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.err, "testing %s on %s and %s of each\n", count(len(edges), "transform"), count(len(cases), "example"), count(c.Variations, "variation"))
	bar := s.bar("test")
	suite := transformtest.Suite{
		Host: h, Edges: edges, Cases: cases, Variations: c.Variations, Seed: c.Seed, Progress: bar.tell,
	}
	result, err := suite.Run(s.ctx)
	bar.clear()
	if err != nil {
		return err
	}
	for _, failure := range result.Failures {
		fmt.Fprintf(s.out, "%s\n\n", failure)
	}
	summarize(s.out, result, len(cases))
	for _, e := range edges {
		for _, pattern := range e.Unused(cases) {
			fmt.Fprintln(s.out, unused(e, pattern))
		}
	}
	if n := result.Failed(); n > 0 {
		return fmt.Errorf("%s of %d failed", count(n, "check"), result.Checks)
	}
	return nil
}

// unused says that an edge has a pattern for which no example has a file.
func unused(e transformtest.Edge, pattern string) string {
	return fmt.Sprintf("transform %d → %d: no example has a file like %q, one of its files", e.From, e.To, pattern)
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// summarize tells what was checked, and what was not.
func summarize(out io.Writer, r transformtest.Result, examples int) {
	fmt.Fprintf(out, "%s on %s; %s, of which %d %s refused\n", count(r.Checks, "check"), count(examples, "example"),
		count(r.Variations, "variation"), r.Refused, be(r.Refused))
	for _, name := range r.Unchecked {
		fmt.Fprintf(out, "%s: lossy both ways and no %s/back: what comes back is not checked\n", name, name)
	}
	for _, name := range r.Alone {
		fmt.Fprintf(out, "%s: it has a state of one schema only: what comes of it is compared with nothing\n", name)
	}
	if 4*r.Refused > 3*r.Variations {
		fmt.Fprintln(out, "over three quarters of the variations were refused, which tests little: give more examples")
	}
	if r.Binary {
		fmt.Fprintln(out, "binary files are not varied: give more examples of them")
	}
	if r.Skipped > 0 {
		fmt.Fprintf(out, "stopped there, since %s: %s %s left out\n", r.Stopped, count(r.Skipped, "check"), be(r.Skipped))
	}
}

func be(n int) string {
	if n == 1 {
		return "was"
	}
	return "were"
}

// readProject reads a recipe, its transforms and their examples.
func readProject(dir, examples string) (*pack.Recipe, []transformtest.Edge, []transformtest.Case, error) {
	recipe, err := pack.ReadRecipe(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	edges, err := edgesOf(recipe, dir)
	if err != nil {
		return nil, nil, nil, err
	}
	cases, err := transformtest.ReadCases(cmp.Or(examples, filepath.Join(dir, "testdata")), edges)
	return recipe, edges, cases, err
}

// edgesOf returns the transforms of a recipe, ready to run. What building the
// package would refuse is refused here too.
func edgesOf(recipe *pack.Recipe, dir string) ([]transformtest.Edge, error) {
	if len(recipe.Transforms) == 0 {
		return nil, fmt.Errorf("%s has no [[transform]]", filepath.Join(dir, pack.RecipeFile))
	}
	if err := resolveTransforms(recipe, dir); err != nil {
		return nil, err
	}
	if err := recipe.CheckTransforms(); err != nil {
		return nil, err
	}
	var edges []transformtest.Edge
	var errs []error
	for i, t := range recipe.Transforms {
		edge, err := edgeOf(recipe, t, dir)
		errs = append(errs, inTransform(i, err))
		edges = append(edges, edge)
	}
	return edges, recipe.Place(errors.Join(errs...))
}

func edgeOf(recipe *pack.Recipe, t pack.RecipeTransform, dir string) (transformtest.Edge, error) {
	module := t.Module
	if module == "" {
		return transformtest.Edge{}, settings.In("module", errors.New("is missing: name the Wasm module, or in transform a ready-made one"))
	}
	if !filepath.IsAbs(module) {
		module = filepath.Join(dir, filepath.FromSlash(module))
	}
	if _, err := os.Stat(module); errors.Is(err, os.ErrNotExist) {
		return transformtest.Edge{}, settings.In("module", fmt.Errorf("there is no %s: build it first", module))
	}
	schema, err := recipe.JSONSchema(t)
	if err == nil && schema != nil {
		err = settings.In("schema", host.CheckSchema(schema))
	}
	return transformtest.Edge{Lossy: t.Lossy, Step: host.Step{
		Module: module, From: t.From, To: t.To, Mode: t.Mode, Files: t.Files, Format: t.Format, Split: t.Split, Schema: schema, Params: t.Params,
		Limits: host.Limits{Memory: t.Limits.Memory, CPU: time.Duration(t.Limits.CPU), Wall: time.Duration(t.Limits.Wall), Output: t.Limits.Output},
	}}, err
}
