package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// recipes are the sensor adapter's, by version.
const recipes = "examples/sensor-adapter/packages"

// An Edit changes a recipe before a package is built of it.
type Edit func(recipe string) string

// Replace is an Edit that replaces one text by another.
func Replace(old, replacement string) Edit {
	return func(recipe string) string { return strings.ReplaceAll(recipe, old, replacement) }
}

// Package builds the package of one version of the sensor adapter for this
// machine, with the command line tool, and returns its file. A version like
// "container-1.0.0" is that of the adapter in a container.
func (s *System) Package(ctx context.Context, version string, edits ...Edit) (string, error) {
	return s.built.Package(ctx, s.Dir, version, edits...)
}

// Package builds a package as [System.Package] does, below dir.
func (b Built) Package(ctx context.Context, dir, version string, edits ...Edit) (string, error) {
	dir, err := os.MkdirTemp(dir, "package-"+version+"-")
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(b.Root, recipes, version, "tranquil.toml"))
	if err != nil {
		return "", err
	}
	recipe := string(text)
	for _, edit := range append([]Edit{Replace(`"amd64"`, `"`+b.Arch+`"`)}, edits...) {
		recipe = edit(recipe)
	}
	if err := os.WriteFile(filepath.Join(dir, "tranquil.toml"), []byte(recipe), 0o600); err != nil {
		return "", err
	}
	adapter := "sensor-adapter-2"
	if strings.HasPrefix(strings.TrimPrefix(version, "container-"), "1.") {
		adapter = "sensor-adapter-1"
	}
	for name, from := range map[string]string{"sensor-adapter": adapter, "transform.wasm": "transform.wasm", "trap.wasm": "trap.wasm"} {
		if err := link(b.Program(from), filepath.Join(dir, name)); err != nil {
			return "", err
		}
	}
	out, err := cli(ctx, b.Program("tranquil"), nil, "package", "build", dir, "-o", dir)
	if err != nil {
		return "", err
	}
	file, _, _ := strings.Cut(out, "\n")
	return file, nil
}

// Push puts a package onto the file server, with the command line tool, and
// signs for it if the device wants that.
func (s *System) Push(ctx context.Context, file string) error {
	if s.trusting {
		if err := s.Sign(ctx, file); err != nil {
			return err
		}
	}
	return s.PushUnsigned(ctx, file)
}

// PushUnsigned is what whoever controls the backend can do.
func (s *System) PushUnsigned(ctx context.Context, file string) error {
	_, err := s.CLI(ctx, "package", "push", file)
	return err
}

// Publish builds and pushes versions of the sensor adapter.
func (s *System) Publish(ctx context.Context, versions ...string) error {
	for _, version := range versions {
		file, err := s.Package(ctx, version)
		if err != nil {
			return err
		}
		if err := s.Push(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

// Wish patches the desired properties of a component of the device.
func (s *System) Wish(ctx context.Context, component, wish string) error {
	return s.Desire(ctx, fmt.Sprintf(`{"components": {%q: %s}}`, component, wish))
}

// Desire patches the desired properties of the device, with the command line
// tool.
func (s *System) Desire(ctx context.Context, patch string) error {
	_, err := s.CLI(ctx, "twin", "patch", s.Device, `{"properties": {"desired": `+patch+`}}`)
	return err
}

// UpdateTime is how long an update may take, on a slow machine.
const UpdateTime = 5 * time.Minute

// Update wishes for a version of the sensor adapter and awaits the result.
func (s *System) Update(ctx context.Context, version string) (Component, error) {
	return s.Ask(ctx, fmt.Sprintf(`{"version": %q, "package": null}`, version))
}

// Ask wishes something of the sensor adapter, and awaits the result.
func (s *System) Ask(ctx context.Context, wish string) (Component, error) {
	before, err := s.Reported(ctx)
	if err != nil {
		return Component{}, err
	}
	if err := s.Wish(ctx, SensorAdapter, wish); err != nil {
		return Component{}, err
	}
	return s.Ended(ctx, before.Components[SensorAdapter].Update.ID)
}

// Ended awaits the result of an update of the sensor adapter that is another
// one than the one with this id.
func (s *System) Ended(ctx context.Context, id string) (Component, error) {
	r, err := s.Await(ctx, "the update has ended", UpdateTime, func(r Reported) bool {
		u := r.Components[SensorAdapter].Update
		return u.ID != id && u.Result != ""
	})
	return r.Components[SensorAdapter], err
}
