package pack

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The recipe in README.md is one that builds, and it has every key there is.
func TestReadme(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```toml\n")
	recipe, _, _ := strings.Cut(rest, "```\n")
	dir := recipeDir(t, recipe)
	for name, data := range map[string]string{"component": "#!/bin/sh\n", "transform.wasm": "\x00asm\x01\x00\x00\x00", "name.schema.json": `{"type": "object"}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	build(t, dir)
	r, err := ReadRecipe(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []any{*r, r.Probe, *r.State, r.Artifacts[0], r.Transforms[0]} {
		for field := range reflect.TypeOf(table).Fields() {
			if key := field.Tag.Get("toml"); key != "" && key != "-" && !strings.Contains(recipe, key+" ") && !strings.Contains(recipe, "["+key+"]") {
				t.Errorf("%T: the recipe in README.md has no %s", table, key)
			}
		}
	}
}
