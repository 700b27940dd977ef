package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestUpdaterNew: a new project builds and passes at once, and the program passes
// from outside; what does not keep a promise does not.
func TestUpdaterNew(t *testing.T) {
	program, dir := filepath.Join(tools, "tranquil"), filepath.Join(t.TempDir(), "pages")
	said, err := exec.Command(program, "updater", "new", "--sdk", "../../..", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, said)
	}
	t.Setenv("PATH", tools+string(os.PathListSeparator)+os.Getenv("PATH"))
	for _, command := range []string{printedCommand(t, said), "make -C " + dir + " kit"} {
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
	broken := exec.Command(program, "updater", "test", filepath.Join(dir, "pages"), "--running", "echo 1.0.0", "--only", "^Stop really stops$")
	if out, err := broken.CombinedOutput(); err == nil || !strings.Contains(string(out), "1.0.0 runs right after Stop") {
		t.Errorf("what never stops passes: %v\n%s", err, out)
	}
}

func TestUpdaterRefuses(t *testing.T) {
	t.Parallel()
	program := filepath.Join(tools, "tranquil")
	for args, text := range map[string]string{
		"updater new --sdk ../../.. Pages":     "is no type of components",
		"updater new pages":                    "name a checkout of Tranquil with --sdk",
		"updater new --sdk ../../.. templates": "is there already",
		"updater test /bin/true":               "cannot start updater",
		"updater test /bin/nothing":            "no such file",
	} {
		out, err := exec.Command(program, strings.Fields(args)...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), text) {
			t.Errorf("%s: %v, %s; want %q", args, err, out, text)
		}
	}
}
