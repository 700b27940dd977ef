package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/settings"
	"github.com/tranquil-iot/tranquil/transforms/native"
)

// A readymade is what tranquil.toml may leave out for a ready-made transform,
// and may not say otherwise.
type readymade struct {
	mode    string   // "" if either will do
	formats []string // of the result, the usual one first; nil if any will do
}

var readymades = map[string]readymade{
	"identity":  {},
	"jq":        {pack.ModeFilter, []string{pack.FormatJSON, pack.FormatNDJSON, pack.FormatBytes}},
	"jsonpatch": {pack.ModeFilter, []string{pack.FormatJSON, pack.FormatNDJSON, pack.FormatBytes}},
	"rename":    {mode: pack.ModeTree},
	"sqlite":    {pack.ModeFilter, []string{pack.FormatSQLite}},
}

// settle fills in mode and format, or says why those of a recipe cannot work.
func (r readymade) settle(t *pack.RecipeTransform) error {
	if t.Mode = cmp.Or(t.Mode, r.mode); r.mode != "" && t.Mode != r.mode {
		return settings.In("mode", fmt.Errorf("%s needs %q, not %q: leave mode out", t.Transform, r.mode, t.Mode))
	}
	if len(r.formats) == 0 {
		return nil
	}
	if t.Format = cmp.Or(t.Format, r.formats[0]); !slices.Contains(r.formats, t.Format) {
		return settings.In("format", fmt.Errorf("%s needs %s, not %q", t.Transform, strings.Join(r.formats, ", "), t.Format))
	}
	return nil
}

// resolveTransforms gives the transforms of a recipe that name a ready-made
// one their module and params.
func resolveTransforms(recipe *pack.Recipe, dir string) error {
	var errs []error
	for i := range recipe.Transforms {
		errs = append(errs, inTransform(i, resolve(&recipe.Transforms[i], dir)))
	}
	return recipe.Place(errors.Join(errs...))
}

// inTransform is about the i-th [[transform]] of a recipe.
func inTransform(i int, err error) error { return settings.In(fmt.Sprintf("transform %d", i+1), err) }

func resolve(t *pack.RecipeTransform, dir string) error {
	known, ok := readymades[t.Transform]
	switch {
	case t.Transform == "" && t.Program == "" && t.Migrations == "":
		return nil
	case !ok:
		return settings.In("transform", fmt.Errorf("%q is none of the ready-made %s", t.Transform, strings.Join(slices.Sorted(maps.Keys(readymades)), ", ")))
	case t.Module != "":
		return settings.In("module", errors.New("give either module or transform"))
	case t.Program != "" && t.Transform != "jq":
		return settings.In("program", errors.New("is for jq"))
	case t.Migrations != "" && t.Transform != "sqlite":
		return settings.In("migrations", errors.New("is for sqlite"))
	}
	if err := known.settle(t); err != nil {
		return err
	}
	t.Params = maps.Clone(t.Params)
	if t.Params == nil {
		t.Params = map[string]string{}
	}
	if t.Program != "" {
		t.Params["program"] = t.Program
	}
	if t.Migrations != "" {
		sql, err := migrations(filepath.Join(dir, filepath.FromSlash(t.Migrations)), t.From, t.To)
		if err != nil {
			return settings.In("migrations", err)
		}
		t.Params["sql"] = sql
	}
	if err := native.Check(t.Transform, t.Params); err != nil {
		return settings.In(cmp.Or(paramsKey(t), "params"), err)
	}
	var err error
	t.Module, err = findModule(t.Transform)
	return settings.In("transform", err)
}

// paramsKey returns the key that stands in place of params, if one does.
func paramsKey(t *pack.RecipeTransform) string {
	switch {
	case t.Program != "":
		return "program"
	case t.Migrations != "":
		return "migrations"
	}
	return ""
}

// findModule returns the path of a ready-made module: they lie beside this
// program, in transforms/, or where TRANQUIL_TRANSFORMS says.
func findModule(name string) (string, error) {
	dir := os.Getenv("TRANQUIL_TRANSFORMS")
	if dir == "" {
		program, err := os.Executable()
		if err != nil {
			return "", fmt.Errorf("cannot find the ready-made transforms: %w", err)
		}
		dir = filepath.Join(filepath.Dir(program), "transforms")
	}
	path, err := filepath.Abs(filepath.Join(dir, name+".wasm"))
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("there is no %s: run make transforms, or say in TRANQUIL_TRANSFORMS where the ready-made transforms are", path)
	}
	return path, nil
}
