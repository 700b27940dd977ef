package pack

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/settings"
)

// Build writes the package as an OCI image layout into dir, which must be
// missing or empty. The same recipe and files make the same bytes anywhere.
func (r *Recipe) Build(dir string) (*Package, error) {
	outline, err := r.outline()
	if err != nil {
		return nil, err
	}
	if err := r.checkOutside(dir); err != nil {
		return nil, err
	}
	w, err := newLayoutWriter(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot build package: %w", err)
	}
	p, err := w.write(r, outline)
	if err != nil {
		return nil, fmt.Errorf("cannot build package: %w", r.Place(err))
	}
	return p, nil
}

// BuildFile writes the package as a single file. If path is a directory, the
// file gets its [FileName] there; one that ends with a slash is made. It
// returns the path of the file.
func (r *Recipe) BuildFile(path string) (*Package, string, error) {
	outline, err := r.outline()
	if err != nil {
		return nil, "", err
	}
	if path, err = destination(path, outline.File); err != nil {
		return nil, "", fmt.Errorf("cannot write package: %w", err)
	}
	if err := r.checkOutside(path); err != nil {
		return nil, "", err
	}
	var p *Package
	err = viaLayout(func(dir string) error {
		if p, err = r.Build(dir); err != nil {
			return err
		}
		if err := writeFile(path, func(w io.Writer) error { return WriteTar(w, dir) }); err != nil {
			return fmt.Errorf("cannot write package: %w", err)
		}
		return nil
	})
	return p, path, err
}

// checkOutside refuses an output inside an artifact: the next build would pack
// it too, and no two builds would be the same.
func (r *Recipe) checkOutside(out string) error {
	for _, a := range r.Artifacts {
		root, err := filepath.Abs(r.path(a.Path))
		if err != nil {
			return err
		}
		target, err := filepath.Abs(out)
		if err != nil {
			return err
		}
		if rel, err := filepath.Rel(root, target); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
			return fmt.Errorf("output %s is inside the artifact %s: write it elsewhere", out, a.Path)
		}
	}
	return nil
}

// A layoutWriter fills an OCI image layout.
type layoutWriter struct{ dir string }

func newLayoutWriter(dir string) (*layoutWriter, error) {
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("%s is not empty", dir)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return &layoutWriter{dir: dir}, os.MkdirAll(filepath.Join(dir, "blobs", "sha256"), 0o755)
}

// write completes the outline with the blobs and writes all of the layout.
func (w *layoutWriter) write(r *Recipe, p *Package) (*Package, error) {
	for i, a := range r.Artifacts {
		pack := w.artifact
		if a.Raw {
			pack = w.raw
		}
		d, unpacked, err := pack(r.path(a.Path))
		if err != nil {
			return nil, settings.In(fmt.Sprintf("artifact %d", i+1), settings.In("path", err))
		}
		p.Artifacts[i].Descriptor, p.Artifacts[i].Unpacked = d, unpacked
	}
	for i, t := range r.Transforms {
		d, err := w.module(r.path(t.Module))
		if err != nil {
			return nil, settings.In(transformKey(i), settings.In("module", err))
		}
		p.Transforms[i].Descriptor = d
		if err := w.schema(r, t, p.Transforms[i]); err != nil {
			return nil, settings.In(transformKey(i), err)
		}
	}
	config, err := json.Marshal(p.Manifest)
	if err != nil {
		return nil, err
	}
	if p.Config, err = w.bytes(MediaTypeConfig, config); err != nil {
		return nil, err
	}
	manifest, err := p.encode()
	if err != nil {
		return nil, err
	}
	if p, err = Parse(manifest, config); err != nil { // what was built must be readable
		return nil, err
	}
	var beside []*Referrer
	for _, a := range r.Attachments {
		referrer, err := w.attach(p, a)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.Type, err)
		}
		beside = append(beside, referrer)
	}
	return p, w.index(manifest, p.Manifest.Version, beside)
}

// encode returns the bytes of the OCI manifest.
func (p *Package) encode() ([]byte, error) {
	m := ociManifest{
		SchemaVersion: 2,
		MediaType:     MediaTypeManifest,
		ArtifactType:  ArtifactType,
		Config:        newDescriptor(p.Config, nil),
		Layers:        []ociDescriptor{},
		Annotations:   map[string]string{AnnotationFile: p.File},
	}
	for _, a := range p.Artifacts {
		m.Layers = append(m.Layers, a.layer())
	}
	for _, t := range p.Transforms {
		m.Layers = append(m.Layers, t.layer())
	}
	for _, d := range p.schemas() {
		m.Layers = append(m.Layers, newDescriptor(d, nil))
	}
	return json.Marshal(m)
}

func (w *layoutWriter) artifact(path string) (d Descriptor, unpacked int64, err error) {
	d, err = w.stream(MediaTypeArtifact, func(out io.Writer) error {
		unpacked, err = packLayer(out, path)
		return err
	})
	return d, unpacked, err
}

// raw stores a file as it is.
func (w *layoutWriter) raw(path string) (d Descriptor, unpacked int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return Descriptor{}, 0, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return Descriptor{}, 0, errors.Join(err, fmt.Errorf("%s: only a file can be raw", path))
	}
	d, err = w.blob(MediaTypeRaw, f)
	return d, d.Size, err
}

func (w *layoutWriter) module(path string) (Descriptor, error) {
	f, err := os.Open(path)
	if err != nil {
		return Descriptor{}, err
	}
	defer f.Close()
	if err := checkModule(f); err != nil {
		return Descriptor{}, fmt.Errorf("%s: %w", path, err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return Descriptor{}, err
	}
	return w.blob(MediaTypeTransform, f)
}

// checkModule reports what does not begin like a WebAssembly 1.0 module.
func checkModule(r io.Reader) error {
	head := make([]byte, 8)
	if _, err := io.ReadFull(r, head); err != nil || string(head) != "\x00asm\x01\x00\x00\x00" {
		return errors.New("is not a WebAssembly module")
	}
	return nil
}

// index writes the manifest's blob and the two files that lead to it.
func (w *layoutWriter) index(manifest []byte, version string, beside []*Referrer) error {
	d, err := w.bytes(MediaTypeManifest, manifest)
	if err != nil {
		return err
	}
	index := encodeIndex(d, version, beside)
	if err := os.WriteFile(filepath.Join(w.dir, layoutFile), []byte(layoutContent), 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.dir, indexFile), index, 0o644)
}

// encodeIndex returns the index of a layout: the package, then what refers to it.
func encodeIndex(manifest Descriptor, version string, beside []*Referrer) []byte {
	entry := newDescriptor(manifest, map[string]string{annotationRef: version})
	entry.ArtifactType = ArtifactType
	all := []ociDescriptor{entry}
	for _, r := range beside {
		entry := newDescriptor(r.Descriptor(), nil)
		entry.ArtifactType = r.ArtifactType
		all = append(all, entry)
	}
	return []byte(mustJSON(ociIndex{SchemaVersion: 2, MediaType: MediaTypeIndex, Manifests: all}))
}

func (w *layoutWriter) blob(mediaType string, r io.Reader) (Descriptor, error) {
	return w.stream(mediaType, func(out io.Writer) error {
		_, err := io.Copy(out, r)
		return err
	})
}

// stream stores what fill writes as a blob named by its digest.
func (w *layoutWriter) stream(mediaType string, fill func(io.Writer) error) (Descriptor, error) {
	temp, err := os.CreateTemp(w.dir, ".blob-")
	if err != nil {
		return Descriptor{}, err
	}
	defer os.Remove(temp.Name())
	sum := sha256.New()
	err = fill(io.MultiWriter(temp, sum))
	info, statErr := temp.Stat()
	if err := errors.Join(err, statErr, temp.Chmod(0o644), temp.Close()); err != nil {
		return Descriptor{}, err
	}
	digest := digestPrefix + hex.EncodeToString(sum.Sum(nil))
	d := Descriptor{MediaType: mediaType, Digest: digest, Size: info.Size()}
	return d, os.Rename(temp.Name(), w.path(digest))
}

// blobName returns the name of a blob in a layout, with slashes.
func blobName(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }
