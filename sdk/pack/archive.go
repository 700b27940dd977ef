package pack

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/durable"
)

// WriteTar writes the package at dir, a layout directory or a tar, as a single file: a
// tar whose bytes depend on the package only. Its members are index.json,
// oci-layout, and the blobs in the order a device needs them: manifest,
// config, then the layers as the manifest lists them; at last those of what refers
// to it. Each is checked.
func WriteTar(w io.Writer, dir string) error {
	l, err := Open(dir)
	if err != nil {
		return err
	}
	defer l.Close()
	tw := tar.NewWriter(w)
	// Tools of others may have written these two in other words, or in another order.
	index := encodeIndex(l.Package.Descriptor(), l.Package.Manifest.Version, l.Referrers)
	for _, file := range []struct {
		name string
		b    []byte
	}{{indexFile, index}, {layoutFile, []byte(layoutContent)}} {
		if err := writeMember(tw, file.name, int64(len(file.b))); err != nil {
			return err
		}
		if _, err := tw.Write(file.b); err != nil {
			return err
		}
	}
	for _, d := range l.blobs() {
		if err := l.copyBlob(tw, d); err != nil {
			return fmt.Errorf("cannot copy blob: %w", err)
		}
	}
	return tw.Close()
}

// blobs lists all blobs of the layout, each once: first those of the package.
func (l *Layout) blobs() []Descriptor {
	all := append([]Descriptor{l.Package.Descriptor()}, l.Package.Blobs()...)
	for _, r := range l.Referrers {
		all = append(append(all, r.Descriptor()), r.Blobs()...)
	}
	return once(all)
}

func (l *Layout) copyBlob(tw *tar.Writer, d Descriptor) error {
	blob, err := l.Blob(d)
	if err != nil {
		return err
	}
	defer blob.Close()
	if err := writeMember(tw, blobName(d.Digest), d.Size); err != nil {
		return err
	}
	_, err = io.Copy(tw, blob)
	return err
}

func writeMember(tw *tar.Writer, name string, size int64) error {
	return tw.WriteHeader(&tar.Header{
		Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0),
	})
}

// writeFile has fill write the file at path, so that there is either the old
// file or all of the new one, also after a crash.
func writeFile(path string, fill func(io.Writer) error) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(path), ".tranquil-")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	if err := fill(temp); err != nil {
		return err
	}
	return durable.Commit(temp, path, 0o644)
}
