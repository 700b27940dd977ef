package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

func TestMigrations(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"2_kelvin.up.sql": "SELECT 2;", "2_kelvin.down.sql": "SELECT 1;", "03_unit.up.sql": "SELECT 3;\n", "3_unit.down.sql": "SELECT 2;",
		"5_a.up.sql": "a", "5_b.up.sql": "b", "README": "",
		"6_bad.up.sql": "-- Kelvin.\nUPDATE t SET a = 1;\n\nSELECT a FORM t;\n", "6_bad.down.sql": "\n", "7_open.up.sql": "BEGIN;\nSELECT 1;\nCOMMIT;",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		from, to int
		want     string
	}{
		{1, 2, "-- 2_kelvin.up.sql\nSELECT 2;\n"},
		{1, 3, "-- 2_kelvin.up.sql\nSELECT 2;\n-- 03_unit.up.sql\nSELECT 3;\n"},
		{3, 1, "-- 3_unit.down.sql\nSELECT 2;\n-- 2_kelvin.down.sql\nSELECT 1;\n"},
		{3, 4, "there is no 4_….up.sql in "},
		{4, 5, "5_a.up.sql and 5_b.up.sql in "},
		{5, 4, "there is no 5_….down.sql in "},
		{5, 6, filepath.Join(dir, "6_bad.up.sql") + `, line 4: near "t": syntax error`},
		{6, 5, "-- 6_bad.down.sql\n\n"},
		{6, 7, filepath.Join(dir, "7_open.up.sql") + ", line 1: the SQL runs in one transaction already"},
	} {
		got, err := migrations(dir, test.from, test.to)
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, test.want) {
			t.Errorf("%d→%d: got %q, want %q", test.from, test.to, got, test.want)
		}
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TRANQUIL_TRANSFORMS", dir)
	if err := os.WriteFile(filepath.Join(dir, "jq.wasm"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, edge := range map[string]pack.RecipeTransform{
		"":                                {Module: "own.wasm"},
		"jq.wasm json .a":                 {Transform: "jq", Program: ".a"},
		"jq.wasm ndjson .b":               {Transform: "jq", Format: "ndjson", Params: map[string]string{"program": ".b"}},
		"none of the ready-made":          {Transform: "awk"},
		"transform: \"\" is none":         {Program: ".a"},
		"either module or transform":      {Transform: "jq", Module: "a.wasm"},
		"program: is for jq":              {Transform: "identity", Program: ".a"},
		"migrations: is for sqlite":       {Transform: "jq", Migrations: "sql"},
		"rename.wasm: run make transfo":   {Transform: "rename", Params: map[string]string{"rules": "a -> b"}},
		"cannot read the param program":   {Transform: "jq", Program: ".a | ("},
		"cannot read the param patch":     {Transform: "jsonpatch", Params: map[string]string{"patch": "[{"}},
		"line 2: near \"t\": syntax err":  {Transform: "sqlite", Params: map[string]string{"sql": "SELECT 1;\nSELECT a FORM t"}},
		"the param sql is missing":        {Transform: "sqlite"},
		"give the param patch or merge":   {Transform: "jsonpatch"},
		"mode: rename needs \"tree\", no": {Transform: "rename", Mode: "filter", Params: map[string]string{"rules": "a -> b"}},
		"mode: jq needs \"filter\", not":  {Transform: "jq", Mode: "tree", Program: ".a"},
		"format: sqlite needs sqlite, no": {Transform: "sqlite", Format: "bytes", Params: map[string]string{"sql": "SELECT 1"}},
		"identity takes no params":        {Transform: "identity", Params: map[string]string{"a": "b"}},
		"has no param \"programm\": it ":  {Transform: "jq", Program: ".a", Params: map[string]string{"programm": ".b"}},
		"it calls now/0, which":           {Transform: "jq", Program: ".at = now"},
		"cannot read the param rules":     {Transform: "rename", Params: map[string]string{"rules": "a"}},
	} {
		recipe := &pack.Recipe{Transforms: []pack.RecipeTransform{edge}}
		err := resolveTransforms(recipe, dir)
		got := recipe.Transforms[0]
		text := strings.Join([]string{filepath.Base(got.Module), got.Format, got.Params["program"]}, " ")
		if err != nil {
			text = err.Error()
		}
		if !strings.Contains(text, want) {
			t.Errorf("%+v: got %s, want %s", edge, text, want)
		}
	}
}

// What is wrong with a transform is named with the line of the recipe.
func TestResolveLine(t *testing.T) {
	dir := t.TempDir()
	text := "name = 'x'\n\n[[transform]]\nfrom = 1\nto = 2\nmodule = 'a.wasm'\n\n[[transform]]\nfrom = 2\nto = 1\ntransform = 'identity'\nparams = {a = 'b'}\n"
	if err := os.WriteFile(filepath.Join(dir, pack.RecipeFile), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	recipe, err := pack.ReadRecipe(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(dir, pack.RecipeFile) + ", line 12: transform 2: params: identity takes no params"
	if err := resolveTransforms(recipe, dir); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
