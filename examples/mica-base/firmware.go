package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The firmware of the stand-in is a text: its first line is its version, and one with
// a line "broken" does not boot.
const factory = "factory"

func (b *base) slot(name string) string { return filepath.Join(b.data, "firmware-"+name) }

// version is that of the firmware that runs.
func (b *base) version(_ context.Context, p map[string]string) (any, error) {
	if p["selector"] != ".firmware.version" {
		return nil, refuse("there is no %q", p["selector"])
	}
	text, err := os.ReadFile(b.slot("running"))
	if errors.Is(err, fs.ErrNotExist) {
		return factory, nil
	}
	first, _, _ := strings.Cut(string(text), "\n")
	return first, err
}

// flash has an upload be what the next boot tries.
func (b *base) flash(_ context.Context, p map[string]string) (any, error) {
	upload, err := b.file(p["upload"])
	if err != nil {
		return nil, err
	}
	if err := os.Rename(upload, b.slot("next")); err != nil {
		return nil, refuse("there is no upload %q", p["upload"])
	}
	return "written", nil
}

// reboot ends all containers, and runs what was written last, if it boots.
func (b *base) reboot(context.Context, map[string]string) (any, error) {
	if err := b.stopAll(); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(b.slot("next"))
	if errors.Is(err, fs.ErrNotExist) {
		return "booted", nil
	}
	if err != nil || strings.Contains(string(text), "\nbroken\n") {
		return "booted", errors.Join(err, os.Remove(b.slot("next")))
	}
	return "booted", os.Rename(b.slot("next"), b.slot("running"))
}
