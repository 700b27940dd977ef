package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestSound: a damaged updater of the agent's version is not used if there is another.
func TestSound(t *testing.T) {
	version, device := t.TempDir(), t.TempDir()
	own, installed := filepath.Join(version, "updater"), filepath.Join(device, "updater")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	want := func(path string) {
		t.Helper()
		if got := sound(own, installed); got != path {
			t.Errorf("%s, want %s", got, path)
		}
	}
	write(own, "")
	want(own) // it was not staged
	write(filepath.Join(version, ".sums.json"), `{"updater":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}`)
	want(own)
	write(own, "damaged")
	want(own) // there is no other
	write(installed, "")
	want(installed)
}
