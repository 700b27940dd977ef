package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// The files by which an image is known: an OCI image layout (image-layout.md),
// and what `docker save` writes besides, or before Docker 25 instead.
const (
	layoutFile     = "oci-layout"
	indexFile      = "index.json"
	dockerManifest = "manifest.json"
)

const (
	maxJSON  = 4 << 20 // bytes of an index, manifest or configuration
	maxDepth = 4       // indexes within indexes
)

// The parts of the OCI image specification that matter here.
type (
	descriptor struct {
		MediaType string    `json:"mediaType"`
		Digest    string    `json:"digest"`
		Size      int64     `json:"size"`
		Platform  *platform `json:"platform"`
	}
	platform struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
		Variant      string `json:"variant,omitempty"`
	}
	// An index or a manifest: which of them, its members tell.
	document struct {
		Manifests []descriptor `json:"manifests"`
		Config    descriptor   `json:"config"`
		Layers    []descriptor `json:"layers"`
	}
	imageConfig struct {
		platform
		Config Config `json:"config"`
	}
	// docker is one image of a manifest.json.
	docker struct {
		Config string   `json:"Config"`
		Layers []string `json:"Layers"`
	}
)

// An image is a configuration and the files of its layers, the lowest first.
type ociImage struct {
	config imageConfig
	layers []string
	check  []descriptor // of the layers, as far as they have digests
}

// unpackImage unpacks the archive of an image: files and directories, which are
// all that one has.
func unpackImage(ctx context.Context, archive, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	layer, err := openLayer(archive)
	if err != nil {
		return err
	}
	defer layer.Close()
	t, err := newTree(dir)
	if err != nil {
		return err
	}
	defer t.Close()
	return t.apply(ctx, layer)
}

// fromImage makes the root file system of the image in dir.
func fromImage(ctx context.Context, dir, root string) (Config, error) {
	i, err := readImage(dir)
	if err != nil {
		return Config{}, fmt.Errorf("cannot read the image: %w", err)
	}
	if p := i.config.of(); !p.Fits(pack.Here()) {
		return Config{}, fmt.Errorf("the image is for %s, this device is %s", p, pack.Here())
	}
	t, err := newTree(root)
	if err != nil {
		return Config{}, err
	}
	defer t.Close()
	for n := range i.layers {
		if err := i.apply(ctx, t, n); err != nil {
			return Config{}, fmt.Errorf("layer %d of %d: %w", n+1, len(i.layers), err)
		}
	}
	return i.config.Config, nil
}

// apply applies a layer and holds it against its digest.
func (i ociImage) apply(ctx context.Context, t *tree, n int) error {
	f, err := os.Open(i.layers[n])
	if err != nil {
		return err
	}
	defer f.Close()
	var verified io.Reader = f
	if d := i.check[n]; d.Digest != "" {
		verified = pack.NewVerifyReader(f, pack.Descriptor{Digest: d.Digest, Size: d.Size})
	}
	layer, err := newLayer(verified)
	if err != nil {
		return err
	}
	defer layer.Close()
	if err := t.apply(ctx, layer); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, verified) // to the verdict
	return err
}

func readImage(dir string) (ociImage, error) {
	if _, err := os.Lstat(filepath.Join(dir, indexFile)); err == nil {
		return readLayout(dir)
	}
	return readDocker(dir)
}

func readLayout(dir string) (i ociImage, err error) {
	var d document
	if err := readJSON(dir, indexFile, &d); err != nil {
		return i, err
	}
	for depth := 0; d.Manifests != nil; depth++ {
		chosen, err := choose(d.Manifests, pack.Here())
		if err != nil {
			return i, err
		}
		if depth == maxDepth {
			return i, errors.New("its indexes lead to no image")
		}
		d = document{}
		if err := readBlob(dir, chosen, &d); err != nil {
			return i, err
		}
	}
	if err := readBlob(dir, d.Config, &i.config); err != nil {
		return i, err
	}
	for _, layer := range d.Layers {
		name, err := blob(layer)
		if err == nil {
			name, err = inside(dir, name)
		}
		if err != nil {
			return i, err
		}
		i.layers, i.check = append(i.layers, name), append(i.check, layer)
	}
	return i, nil
}

// choose takes the image that fits a device best: the highest variant of a processor
// that it can run. One that names no platform is for any.
func choose(manifests []descriptor, device pack.Platform) (descriptor, error) {
	best := -1
	var has []string
	for i, m := range manifests {
		p := m.Platform.of()
		has = append(has, p.String())
		if p.Fits(device) && (best < 0 || p.Compare(manifests[best].Platform.of()) > 0) {
			best = i
		}
	}
	if best < 0 {
		return descriptor{}, fmt.Errorf("it has no image for %s, only for: %.200s", device, strings.Join(has, ", "))
	}
	return manifests[best], nil
}

// of puts it into the words of packages; nil is any.
func (p *platform) of() pack.Platform {
	if p == nil {
		return pack.Platform{}
	}
	return pack.Platform{OS: p.OS, Arch: p.Architecture, Variant: p.Variant}
}

// readDocker reads what `docker save` wrote before it wrote OCI layouts.
func readDocker(dir string) (i ociImage, err error) {
	var all []docker
	if err := readJSON(dir, dockerManifest, &all); err != nil {
		return i, err
	}
	if len(all) != 1 {
		return i, fmt.Errorf("there are %d images: save one", len(all))
	}
	if err := readJSON(dir, all[0].Config, &i.config); err != nil {
		return i, err
	}
	for _, layer := range all[0].Layers {
		name, err := inside(dir, layer)
		if err != nil {
			return i, err
		}
		i.layers, i.check = append(i.layers, name), append(i.check, descriptor{})
	}
	return i, nil
}

// blob is where a layout has the blob of a descriptor.
func blob(d descriptor) (string, error) {
	if err := pack.CheckDigest(d.Digest); err != nil {
		return "", err
	}
	return filepath.Join("blobs", strings.Replace(d.Digest, ":", string(filepath.Separator), 1)), nil
}

func readBlob(dir string, d descriptor, value any) error {
	name, err := blob(d)
	if err != nil {
		return err
	}
	data, err := readSmall(dir, name)
	if err != nil {
		return err
	}
	if int64(len(data)) != d.Size || pack.DigestOf(data) != d.Digest {
		return fmt.Errorf("blob %s is damaged: it has another digest or size", d.Digest)
	}
	return json.Unmarshal(data, value)
}

func readJSON(dir, name string, value any) error {
	data, err := readSmall(dir, name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, value); err != nil {
		return fmt.Errorf("%.80q: %w", name, err)
	}
	return nil
}

// readSmall reads a file of the image that is held in memory.
func readSmall(dir, name string) ([]byte, error) {
	path, err := inside(dir, name)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxJSON+1))
	if err == nil && len(data) > maxJSON {
		err = fmt.Errorf("%.80q has more than %d bytes", name, maxJSON)
	}
	return data, err
}

// inside returns the path of a file that is in dir, and is one: no link that
// leads to a file of the device.
func inside(dir, name string) (string, error) {
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("%.80q is no file of the image", name)
	}
	path, err := filepath.EvalSymlinks(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	root, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(root, path); err != nil || !filepath.IsLocal(rel) || !info.Mode().IsRegular() {
		return "", fmt.Errorf("%.80q is no file of the image", name)
	}
	return path, nil
}
