// Package image makes a root file system of what a package has for a container.
// It takes what tools make, as it is:
//
//   - an archive of a root file system: tar, also with gzip or zstd
//   - an image: an OCI image layout, or what `docker save`, podman, skopeo or a
//     build tool write into one file
//   - the files themselves, down to a single program
//
// Nothing of it is believed: no name or link leads out of the root, what it
// unpacks to is bounded, and blobs are held against their digests.
package image

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// Config is what an image says of how it is to be run, as in the OCI image
// specification (config.md). A root file system without an image says nothing.
type Config struct {
	User       string
	Env        []string
	Entrypoint []string
	Cmd        []string
	WorkingDir string
	StopSignal string
}

const (
	rootName   = "rootfs"
	configName = "config.json"
)

// Root is the root file system that [Unpack] has made below dir.
func Root(dir string) string { return filepath.Join(dir, rootName) }

// ReadConfig reads what Unpack has written down below dir.
func ReadConfig(dir string) (c Config, err error) {
	data, err := os.ReadFile(filepath.Join(dir, configName))
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil {
		return c, fmt.Errorf("cannot read the configuration of the image: %w", err)
	}
	return c, nil
}

// Unpack makes dir, with a root file system and its configuration, from the
// artifact of a package. The caller brings it to the disk; after an error dir
// holds a part.
func Unpack(ctx context.Context, artifact io.Reader, dir string) error {
	parts := filepath.Join(dir, ".parts")
	if err := os.MkdirAll(Root(dir), 0o755); err != nil {
		return err
	}
	if err := pack.Unpack(artifact, parts, pack.Limits{}, false); err != nil {
		return err
	}
	config, err := assemble(ctx, parts, dir)
	if err != nil {
		return err
	}
	data, err := json.Marshal(config)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, configName), data, 0o600); err != nil {
		return err
	}
	return replica.RemoveAll(parts)
}

// assemble looks at what there is.
func assemble(ctx context.Context, parts, dir string) (Config, error) {
	if isImage(parts) {
		return fromImage(ctx, parts, Root(dir))
	}
	single, err := single(parts)
	if err != nil || single == "" {
		return Config{}, errors.Join(err, asRoot(parts, dir))
	}
	kind, err := look(ctx, single)
	switch {
	case err != nil:
		return Config{}, err
	case kind == aProgram:
		return Config{}, asRoot(parts, dir)
	case kind == aRoot:
		return Config{}, fromArchive(ctx, single, Root(dir))
	}
	inside := filepath.Join(dir, ".image")
	if err := unpackImage(ctx, single, inside); err != nil {
		return Config{}, err
	}
	if err := os.Remove(single); err != nil { // it need not be there twice
		return Config{}, err
	}
	config, err := fromImage(ctx, inside, Root(dir))
	return config, errors.Join(err, replica.RemoveAll(inside))
}

// asRoot makes the files themselves the root.
func asRoot(parts, dir string) error {
	return errors.Join(os.Remove(Root(dir)), os.Rename(parts, Root(dir)), os.Chmod(Root(dir), 0o755))
}

// single returns the only file that there is, "" if there are more.
func single(parts string) (string, error) {
	entries, err := os.ReadDir(parts)
	if err != nil {
		return "", err
	}
	if len(entries) != 1 || !entries[0].Type().IsRegular() {
		return "", nil
	}
	return filepath.Join(parts, entries[0].Name()), nil
}

// What a single file can be.
const (
	aProgram = iota
	aRoot    // an archive of a root file system
	anImage  // an archive of an image
)

// look finds out what a file is. That an archive is of an image may show only at
// its end; that it is not, sooner.
func look(ctx context.Context, path string) (kind int, err error) {
	layer, err := openLayer(path)
	if err != nil {
		return 0, err
	}
	defer layer.Close()
	head := bufio.NewReader(layer)
	if !isTar(head) {
		return aProgram, nil
	}
	kind = aRoot
	err = eachEntry(&bounded{ctx, head, math.MaxInt64}, func(name string, _ entry) error {
		switch {
		case name == layoutFile || name == dockerManifest:
			kind = anImage
			return fs.SkipAll
		case !ofImage.MatchString(name):
			return fs.SkipAll
		}
		return nil
	})
	return kind, err
}

// ofImage has the names that are in the archive of an image: by OCI, Docker,
// podman, kaniko.
var ofImage = regexp.MustCompile(`^(\.|index\.json|repositories|blobs(/.*)?|(sha256:)?[0-9a-f]{64}(\.json|\.tar(\.gz)?|/.*)?)$`)

// isTar looks for the magic of POSIX and GNU tar (pax(1), "ustar").
func isTar(head *bufio.Reader) bool {
	block, _ := head.Peek(512)
	return len(block) == 512 && bytes.Equal(block[257:262], []byte("ustar"))
}

func fromArchive(ctx context.Context, path, root string) error {
	layer, err := openLayer(path)
	if err != nil {
		return err
	}
	defer layer.Close()
	t, err := newTree(root)
	if err != nil {
		return err
	}
	defer t.Close()
	return t.apply(ctx, layer)
}

// isImage reports whether a directory holds an image.
func isImage(dir string) bool {
	for _, name := range []string{layoutFile, dockerManifest} {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil && info.Mode().IsRegular() {
			return true
		}
	}
	return false
}
