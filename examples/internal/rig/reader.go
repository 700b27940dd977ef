package rig

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Reader is the component of the examples that depends on the other one.
const Reader = "application/reader"

// PublishReader builds the reader's package and puts it onto the file server.
func (s *System) PublishReader(ctx context.Context) error {
	dir, err := os.MkdirTemp(s.Dir, "package-reader-")
	if err != nil {
		return err
	}
	recipe, err := os.ReadFile(filepath.Join(s.built.Root, "examples/reader/package/tranquil.toml"))
	if err != nil {
		return err
	}
	text := strings.ReplaceAll(string(recipe), `"amd64"`, `"`+runtime.GOARCH+`"`)
	if err := os.WriteFile(filepath.Join(dir, "tranquil.toml"), []byte(text), 0o600); err != nil {
		return err
	}
	if err := link(s.built.Program("reader"), filepath.Join(dir, "reader")); err != nil {
		return err
	}
	out, err := s.CLI(ctx, "package", "build", dir, "-o", dir)
	if err != nil {
		return err
	}
	file, _, _ := strings.Cut(out, "\n")
	return s.Push(ctx, file)
}

// StartReader runs the reader as a program of the device that is no
// component. What it prints is in the process's log.
func (s *System) StartReader(args ...string) (*Process, error) {
	p, err := start(s.Dir, "reader", s.Program("reader"), []string{"TRANQUIL_LINK=" + filepath.Join(s.run, "link", "agent.sock")}, args...)
	if err == nil {
		s.others = append(s.others, p)
	}
	return p, err
}
