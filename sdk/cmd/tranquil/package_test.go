package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A module that no sandbox would run is refused by its author's machine, and
// leaves no package behind.
func TestBuildRefusesBadTransforms(t *testing.T) {
	dir, out := t.TempDir(), filepath.Join(t.TempDir(), "out.tar")
	for name, data := range map[string]string{
		"tranquil.toml": `type = "application"
name = "a"
version = "2.0.0"
[state]
schema = 2
[[artifact]]
path = "program"
[[transform]]
from = 1
to = 2
module = "empty.wasm"
lossy = true
`,
		"program":    "#!/bin/sh\n",
		"empty.wasm": "\x00asm\x01\x00\x00\x00",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := (&buildCmd{Dir: dir, Output: out}).Run(&session{out: io.Discard})
	if err == nil || !strings.Contains(err.Error(), "tranquil.toml, line 11: transform 1: module: it ") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("the package was left behind: %v", err)
	}
}
