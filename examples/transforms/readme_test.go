package transforms_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest"
)

// blocks returns the blocks of code of a README in one language, from a heading
// on.
func blocks(t *testing.T, path, heading, language string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(text), "\n"+heading+"\n")
	if !ok {
		t.Fatalf("%s has no %s", path, heading)
	}
	var all []string
	for {
		var block string
		if _, rest, ok = strings.Cut(rest, "\n```"+language+"\n"); !ok {
			return all
		}
		block, rest, _ = strings.Cut(rest, "```\n")
		all = append(all, block)
	}
}

// The recipes of the ready-made transforms' README pass the tests that their
// readers will try on them.
func TestReadmeOfReadymade(t *testing.T) {
	recipes := blocks(t, "../../transforms/README.md", "## Use one", "toml")
	examples := []transformtest.State{
		{
			"testdata/a/old/now.json": `{"at":1,"value":20.50}`, "testdata/a/new/now.json": `{"at":1,"celsius":20.50}` + "\n",
			"testdata/none/1/now.json": `{"at":1}`, "testdata/none/refused": "no value",
		},
		{
			"testdata/a/old/log/1": "a\n", "testdata/a/old/x.json": "{}", "testdata/a/old/notes.txt": "b\n",
			"testdata/a/new/history/1": "a\n", "testdata/a/new/x.js": "{}", "testdata/a/new/remarks.txt": "b\n",
		},
	}
	if len(recipes) != len(examples) {
		t.Fatalf("there are %d recipes", len(recipes))
	}
	for i, recipe := range recipes {
		dir := t.TempDir()
		examples[i]["tranquil.toml"] = recipe
		if err := examples[i].Write(dir); err != nil {
			t.Fatal(err)
		}
		tranquil(t, "transform", "test", dir, "--variations", "6")
	}
}

// Who follows the README of packages, command by command, has a transform that
// passes its test.
func TestReadmeOfPackages(t *testing.T) {
	const readme, heading = "../../sdk/pack/README.md", "## A transform in a module of your own"
	dir := filepath.Join(t.TempDir(), "greeter-state")
	only := func(language string, want int) []string {
		found := blocks(t, readme, heading, language)
		if len(found) != want {
			t.Fatalf("there are %d blocks of %s", len(found), language)
		}
		return found
	}
	state := transformtest.State{
		"main.go": only("go", 1)[0], "tranquil.toml": only("toml", 1)[0], "testdata/ada.txtar": only("text", 1)[0],
	}
	if err := state.Write(dir); err != nil {
		t.Fatal(err)
	}
	checkout, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(checkout, filepath.Join(dir, "../tranquil")); err != nil {
		t.Fatal(err)
	}
	shell := only("sh", 3)
	build := strings.Replace(shell[0], "go get github.com/tranquil-iot/tranquil@latest\n", shell[1], 1)
	cmd := exec.CommandContext(t.Context(), "sh", "-exc", build+strings.ReplaceAll(shell[2], "bench .", "bench . --size 16"))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "XDG_CACHE_HOME="+filepath.Join(bin, "cache"),
		"GOFLAGS=-mod=mod -trimpath", "GOPROXY=off", "GONOSUMDB=*")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	made, err := os.ReadFile(filepath.Join(dir, "new.json"))
	if want := `{"names":["Ada"]}` + "\n"; err != nil || string(made) != want {
		t.Errorf("made %s, %v, want %s", made, err, want)
	}
}
