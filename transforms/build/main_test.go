package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The same sources give the same module, wherever they lie.
func TestReproducible(t *testing.T) {
	root, err := dirOf(module)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := filepath.Join(t.TempDir(), "some", "where", "else")
	for _, dir := range []string{"transforms/jsonpatch", "transforms/cmd/jsonpatch", "sdk/transform"} {
		if err := os.CopyFS(filepath.Join(elsewhere, dir), os.DirFS(filepath.Join(root, dir))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(elsewhere, name), data, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var built [2][]byte
	for i, dir := range []string{root, elsewhere} {
		path := filepath.Join(t.TempDir(), "jsonpatch.wasm")
		if err := compile(dir, "jsonpatch", path); err != nil {
			t.Fatal(err)
		}
		if built[i], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(built[0], built[1]) {
		t.Error("two builds differ")
	}
}

// Every program is built, and every transform has one.
func TestNames(t *testing.T) {
	entries, err := os.ReadDir("../cmd")
	if err != nil {
		t.Fatal(err)
	}
	found := []string{"sqlite"}
	for _, entry := range entries {
		found = append(found, entry.Name())
	}
	slices.Sort(found)
	if !slices.Equal(found, names) {
		t.Errorf("there are %v, names are %v", found, names)
	}
}
