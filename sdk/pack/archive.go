package pack

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// WriteTar writes the package in the layout directory dir as a single file: a
// tar whose bytes depend on the package only. Its members are index.json,
// oci-layout, and the blobs in the order a device needs them: manifest,
// config, then the layers as the manifest lists them. Each is checked.
func WriteTar(w io.Writer, dir string) error {
	l, err := Open(dir)
	if err != nil {
		return err
	}
	defer l.Close()
	tw := tar.NewWriter(w)
	for _, name := range []string{indexFile, layoutFile} {
		b, err := l.readFile(name, MaxManifestSize)
		if err != nil {
			return err
		}
		if err := writeMember(tw, name, int64(len(b))); err != nil {
			return err
		}
		if _, err := tw.Write(b); err != nil {
			return err
		}
	}
	for _, d := range append([]Descriptor{l.Package.Descriptor()}, l.Package.Blobs()...) {
		if err := l.copyBlob(tw, d); err != nil {
			return fmt.Errorf("cannot copy blob: %w", err)
		}
	}
	return tw.Close()
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
	if err := temp.Chmod(fs.FileMode(0o644)); err != nil {
		return err
	}
	if err := temp.Sync(); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
