package pack

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const goodRecipe = `type = "application"
name = "greeter"
version = "2.0.0"
[state]
schema = 2
[[artifact]]
path = "greeter"
`

const wayForth = "[[transform]]\nfrom = 1\nto = 2\nmodule = \"m.wasm\"\n"

func recipeDir(t testing.TB, recipe string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		RecipeFile: recipe, "greeter": "#!/bin/sh\n", "m.wasm": "\x00asm\x01\x00\x00\x00",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestRecipeErrors(t *testing.T) {
	replace := func(old, new string) string { return strings.Replace(goodRecipe, old, new, 1) }
	for name, test := range map[string]struct{ recipe, want string }{
		"unknown key":        {replace("version =", "verison = \"1.0.0\"\nversion ="), `line 3: unknown key "verison"`},
		"unknown table":      {goodRecipe + "[other]\nx = 1\n", "line 8: unknown key"},
		"wrong type":         {replace(`"2.0.0"`, "2"), "line 3"},
		"not TOML":           {replace(`"greeter"`, `"greeter`), "line 2"},
		"duration":           {"downtime = \"soon\"\n" + goodRecipe, "line 1"},
		"type":               {replace("application", "Gadget"), `type: "Gadget" is not a name`},
		"version":            {replace("2.0.0", "2"), "not a semantic version"},
		"name missing":       {replace(`name = "greeter"`, ""), "name: "},
		"schema":             {replace("schema = 2", "schema = -1"), "not a positive number"},
		"file with path":     {"file = \"../x.tar\"\n" + goodRecipe, "is not package.ext"},
		"no artifact":        {replace("[[artifact]]\npath = \"greeter\"\n", ""), "artifact: there is none"},
		"artifact missing":   {replace(`"greeter"`+"\n[state]", `"greeter"`+"\n[state]") + "[[artifact]]\npath = \"gone\"\nos = \"linux\"\n", "line 9: artifact 2: path: there is no "},
		"artifact no path":   {goodRecipe + "[[artifact]]\nos = \"linux\"\n", "line 8: artifact 2: path: is missing"},
		"platform twice":     {goodRecipe + "[[artifact]]\npath = \"m.wasm\"\n", "there is one for any/any already"},
		"not lossy":          {goodRecipe + wayForth, "from 1 to 2 has no way back: add one, or declare lossy = true"},
		"module missing":     {goodRecipe + wayForth + "lossy = true\n" + strings.Replace(wayForth, "m.wasm", "gone.wasm", 1), "line 16: transform 2: module: there is no "},
		"split of JSON":      {goodRecipe + wayForth + "lossy = true\nsplit = \"lines\"\nformat = \"json\"\n", "split: the result must be"},
		"split of a tree":    {goodRecipe + wayForth + "lossy = true\nsplit = \"lines\"\nmode = \"tree\"\n", "split: only a filter's"},
		"schema of bytes":    {goodRecipe + wayForth + "lossy = true\nschema = \"tranquil.toml\"\n", "is no JSON"},
		"schema is missing":  {goodRecipe + wayForth + "lossy = true\nformat = \"json\"\nschema = \"gone.json\"\n", "schema: open"},
		"split unknown":      {goodRecipe + wayForth + "lossy = true\nsplit = \"words\"\n", "line 13: transform 1: split: \"words\" is unknown"},
		"limit without unit": {goodRecipe + wayForth + "lossy = true\nlimits = { cpu = 5 }\n", "line 13: transform 1 limits cpu: 5 is a whole number; it takes a duration in quotes, with its units"},
		"limit in quotes":    {goodRecipe + wayForth + "lossy = true\nlimits = { cpu = \"5\" }\n", `line 13: transform 1 limits cpu: "5" is no duration`},
		"limit negative":     {goodRecipe + wayForth + "lossy = true\n[transform.limits]\nwall = \"-1s\"\n", "line 14: transform 1: limits: wall: -1s is not between 1ms and 24h"},
		"limit of nothing":   {goodRecipe + wayForth + "lossy = true\nlimits.memory = 0\n", "line 13: transform 1: limits: memory: 0 bytes is not between 65536 (64 KiB) and 1073741824 (1 GiB)"},
		"limit too small":    {goodRecipe + wayForth + "lossy = true\nlimits = { cpu = \"5ns\" }\n", "line 13: transform 1: limits: cpu: 5ns is not between 1ms and 24h"},
		"limit too large":    {goodRecipe + wayForth + "lossy = true\nlimits = { memory = 16, output = 99999999999999 }\n", "line 13: transform 1: limits: output: 99999999999999 bytes is not between 1 and 1099511627776 (1 TiB)"},
		"no such platform":   {replace("path = \"greeter\"", "path = \"greeter\"\nos = \"Linux 6\""), "line 6: artifact 1: "},
		"nothing to go":      {goodRecipe + strings.Replace(wayForth, "to = 2", "to = 3", 1) + "lossy = true\n", "line 8: transform 1: from 1 to 3 does not lead to the package's schema 2"},
		"params not strings": {goodRecipe + wayForth + "lossy = true\nparams = { n = 1 }\n", "line 13"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ReadRecipe(recipeDir(t, test.recipe))
			if err == nil {
				_, _, err = r.BuildFile(t.TempDir())
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// Without the rest of a package transforms are judged in the same words.
func TestCheckTransforms(t *testing.T) {
	for recipe, want := range map[string]string{
		wayForth:                    "line 1: transform 1: from 1 to 2 has no way back: add one, or declare lossy = true",
		wayForth + "lossy = true\n": "",
		wayForth + "lossy = true\nlimits = { cpu = \"5ns\" }\n": "line 6: transform 1: limits: cpu: 5ns is not between 1ms and 24h",
		"[state]\nschema = 3\n" + wayForth + "lossy = true\n":   "does not lead to the package's schema 3",
	} {
		r, err := ReadRecipe(recipeDir(t, recipe))
		if err != nil {
			t.Fatal(err)
		}
		if err := r.CheckTransforms(); want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %v, want %s", recipe, err, want)
		}
	}
}

// The types are not a closed list: whoever writes an updater names a new one.
func TestRecipeOfANewType(t *testing.T) {
	p, path := build(t, recipeDir(t, strings.Replace(goodRecipe, "application", "file", 1)))
	if p.Manifest.Component() != "file/greeter" || filepath.Base(path) != "file.greeter.greeter_v2_0_0.tar" {
		t.Errorf("got %s in %s", p.Manifest.Component(), path)
	}
}

func TestRecipeMissing(t *testing.T) {
	if _, err := ReadRecipe(t.TempDir()); err == nil || !strings.Contains(err.Error(), "write one") {
		t.Errorf("got %v", err)
	}
}

func TestRecipeBecomesManifest(t *testing.T) {
	recipe := "downtime = \"2s\"\nfile = \"greeter_b.tar\"\n" + goodRecipe + wayForth + "lossy = true\n" +
		"[settings]\nz = 1\na = [\"<\"]\n[probe]\ndeadline = \"1m\"\n"
	p, path := build(t, recipeDir(t, recipe))
	m := p.Manifest
	if m.Component() != "application/greeter" || m.Schema() != 2 || m.Downtime != Duration(2*time.Second) || m.Probe.Deadline != Duration(time.Minute) {
		t.Errorf("got %+v", m)
	}
	if got, want := string(m.Settings), `{"a":["\u003c"],"z":1}`; got != want {
		t.Errorf("settings %s, want %s", got, want)
	}
	if tr := p.Transforms[0]; tr.Mode != ModeFilter || tr.Format != FormatBytes || !tr.Lossy {
		t.Errorf("transform %+v", tr)
	}
	if got, want := filepath.Base(path), "application.greeter.greeter_b.tar"; got != want {
		t.Errorf("file is named %s, want %s", got, want)
	}
}
