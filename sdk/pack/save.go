package pack

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// A Source opens the blobs of a package that comes from elsewhere.
type Source func(d Descriptor) (io.ReadCloser, error)

// Save writes a package, and manifests that refer to it, as an OCI image layout
// into dir, which must be missing or empty. Whatever the source brings is checked.
func Save(dir string, manifest []byte, referrers [][]byte, from Source) (*Package, error) {
	w, err := newLayoutWriter(dir)
	if err != nil {
		return nil, err
	}
	config, err := ConfigOf(manifest)
	if err != nil {
		return nil, err
	}
	if err := w.take(config, from); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(w.path(config.Digest))
	if err != nil {
		return nil, err
	}
	p, err := Parse(manifest, b)
	if err != nil {
		return nil, err
	}
	all := p.Blobs()
	var beside []*Referrer
	for _, b := range referrers {
		r, err := ParseReferrer(b)
		if err == nil && r.Subject.Digest != p.Digest {
			err = fmt.Errorf("refers to %s, not to the package", r.Subject.Digest)
		}
		if err == nil {
			_, err = w.bytes(MediaTypeManifest, b)
		}
		if err != nil {
			return nil, fmt.Errorf("referrer %s: %w", DigestOf(b), err)
		}
		beside, all = append(beside, r), append(all, r.Blobs()...)
	}
	for _, d := range all {
		if err := w.take(d, from); err != nil {
			return nil, err
		}
	}
	return p, w.index(manifest, p.Manifest.Version, beside)
}

// SaveFile is [Save] as a single file; path is that of [Recipe.BuildFile].
func SaveFile(path string, manifest []byte, referrers [][]byte, from Source) (p *Package, file string, err error) {
	err = viaLayout(func(dir string) error {
		if p, err = Save(dir, manifest, referrers, from); err != nil {
			return err
		}
		if file, err = destination(path, p.File); err != nil {
			return err
		}
		return writeFile(file, func(w io.Writer) error { return WriteTar(w, dir) })
	})
	return p, file, err
}

// destination is where a single file goes: to path or, if that is a directory,
// into it under name. One that ends with a slash is made.
func destination(path, name string) (string, error) {
	if strings.HasSuffix(path, string(filepath.Separator)) {
		if err := os.MkdirAll(path, 0o777); err != nil {
			return "", err
		}
	}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, name)
	}
	return path, nil
}

// viaLayout has f fill a directory of which nothing stays.
func viaLayout(f func(dir string) error) error {
	temp, err := os.MkdirTemp("", "tranquil-build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	return f(filepath.Join(temp, "layout"))
}

// take stores the blob that d names, unless it is here.
func (w *layoutWriter) take(d Descriptor, from Source) error {
	if _, err := os.Stat(w.path(d.Digest)); err == nil {
		return nil
	}
	r, err := from(d)
	if err != nil {
		return fmt.Errorf("blob %s: %w", d.Digest, err)
	}
	defer r.Close()
	_, err = w.blob(d.MediaType, NewVerifyReader(r, d))
	return err
}

func (w *layoutWriter) bytes(mediaType string, b []byte) (Descriptor, error) {
	return w.blob(mediaType, bytes.NewReader(b))
}

func (w *layoutWriter) path(digest string) string {
	return filepath.Join(w.dir, filepath.FromSlash(blobName(digest)))
}
