package pack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
)

// A Layout is an opened package: an OCI image layout, as a directory or as a
// single file.
type Layout struct {
	Package   *Package
	Referrers []*Referrer // what is said about the package, in the order of the index

	manifest []byte
	files    layoutFiles
}

// layoutFiles is where the files of a layout come from.
type layoutFiles interface {
	// open returns a file and its size, or fs.ErrNotExist.
	open(name string) (io.ReadCloser, int64, error)
	// names returns the names of all files, with slashes.
	names() ([]string, error)
	Close() error
}

// Open reads the package at path, a directory or a tar. It checks the manifest
// and the config; blobs are checked as they are read.
func Open(path string) (*Layout, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open package: %w", err)
	}
	var files layoutFiles
	if info.IsDir() {
		files, err = openDir(path)
	} else {
		files, err = openTar(path)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open package %s: %w", path, err)
	}
	l := &Layout{files: files}
	if err := l.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open package %s: %w", path, err), files.Close())
	}
	return l, nil
}

// Close releases the files of the package.
func (l *Layout) Close() error { return l.files.Close() }

// Manifest returns the bytes of the OCI manifest, whose digest is the
// package's.
func (l *Layout) Manifest() []byte { return l.manifest }

// Blob opens a blob. Reading it ends in an error instead of io.EOF if it is
// not the one that d names.
func (l *Layout) Blob(d Descriptor) (io.ReadCloser, error) {
	if err := CheckDigest(d.Digest); err != nil {
		return nil, err
	}
	f, size, err := l.files.open(blobName(d.Digest))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("blob %s is missing", d.Digest)
	}
	if err != nil {
		return nil, err
	}
	if size != d.Size {
		return nil, errors.Join(fmt.Errorf("blob %s has %d bytes, want %d: %w", d.Digest, size, d.Size, ErrDigest), f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{NewVerifyReader(f, d), f}, nil
}

func (l *Layout) load() error {
	mark, err := l.readFile(layoutFile, maxText)
	if err != nil {
		return err
	}
	if err := checkMark(mark); err != nil {
		return err
	}
	b, err := l.readFile(indexFile, MaxManifestSize)
	if err != nil {
		return err
	}
	listed, err := parseIndex(b)
	if err != nil {
		return fmt.Errorf("%s: %w", indexFile, err)
	}
	beside, err := l.readManifests(listed)
	if err != nil {
		return err
	}
	config, err := ConfigOf(l.manifest)
	if err != nil {
		return err
	}
	if b, err = l.ReadBlob(config, MaxConfigSize); err != nil {
		return err
	}
	if l.Package, err = Parse(l.manifest, b); err != nil {
		return err
	}
	return l.addReferrers(beside)
}

// readManifests finds the package among the manifests that the index lists, in
// any order, since tools of others may have written it; and returns the others.
func (l *Layout) readManifests(listed []Descriptor) (others [][]byte, err error) {
	for _, d := range listed {
		b, err := l.ReadBlob(d, MaxManifestSize)
		if err != nil {
			return nil, err
		}
		switch {
		case len(listed) > 1 && !IsPackage(b):
			others = append(others, b)
		case l.manifest != nil:
			return nil, fmt.Errorf("%s lists more than one package", indexFile)
		default:
			l.manifest = b
		}
	}
	if l.manifest == nil {
		return nil, fmt.Errorf("%s lists no package", indexFile)
	}
	return others, nil
}

func (l *Layout) addReferrers(manifests [][]byte) error {
	for _, b := range manifests {
		r, err := ParseReferrer(b)
		if err == nil && r.Subject.Digest != l.Package.Digest {
			err = errors.New("refers to something else than the package")
		}
		if err != nil {
			return fmt.Errorf("referrer %s: %w", DigestOf(b), err)
		}
		l.Referrers = append(l.Referrers, r)
	}
	return nil
}

// checkMark reads the file that says that this is an OCI image layout.
func checkMark(mark []byte) error {
	var version struct {
		ImageLayoutVersion string `json:"imageLayoutVersion"`
	}
	if err := decodeOpen(mark, &version); err != nil || version.ImageLayoutVersion != "1.0.0" {
		return fmt.Errorf("%s does not say version 1.0.0", layoutFile)
	}
	return nil
}

// parseIndex returns the descriptors of the manifests in the layout: in a
// package's single-file form that of the package is the first.
func parseIndex(b []byte) (listed []Descriptor, err error) {
	var index ociIndex
	if err := decodeOpen(b, &index); err != nil {
		return nil, err
	}
	if n := len(index.Manifests); n < 1 || n > 1+maxReferrers {
		return nil, fmt.Errorf("lists %d manifests, want a package and at most %d that refer to it", n, maxReferrers)
	}
	for _, entry := range index.Manifests {
		d := entry.descriptor()
		if d.MediaType != MediaTypeManifest {
			return nil, fmt.Errorf("lists a manifest of media type %.80q", d.MediaType)
		}
		if err := checkDescriptor(d, MaxManifestSize); err != nil {
			return nil, err
		}
		listed = append(listed, d)
	}
	return listed, nil
}

// ReadBlob returns a blob of at most limit bytes, checked.
func (l *Layout) ReadBlob(d Descriptor, limit int64) ([]byte, error) {
	if err := checkDescriptor(d, limit); err != nil {
		return nil, err
	}
	blob, err := l.Blob(d)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	return io.ReadAll(blob)
}

func (l *Layout) readFile(name string, limit int64) ([]byte, error) {
	f, size, err := l.files.open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("has no %s: is not an OCI image layout", name)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

// dirFiles are the files of a layout directory.
type dirFiles struct{ root *os.Root }

func openDir(path string) (layoutFiles, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return dirFiles{root}, nil
}

func (d dirFiles) open(name string) (io.ReadCloser, int64, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", name)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

func (d dirFiles) names() ([]string, error) {
	var names []string
	err := fs.WalkDir(d.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, name)
		}
		return err
	})
	return names, err
}

func (d dirFiles) Close() error { return d.root.Close() }

// tarFiles are the files of a layout in a tar: where each begins, and its size.
type tarFiles struct {
	file   *os.File
	places map[string]place
}

type place struct{ offset, size int64 }

// layoutName matches the names that a package's tar may have.
var layoutName = regexp.MustCompile(`^(index\.json|oci-layout|blobs/sha256/[0-9a-f]{64})$`)

// maxMembers bounds a package's tar: the blobs, those of referrers, two files,
// three directories.
const maxMembers = maxLayers + 2 + maxReferrers*(maxReferrerLayers+2) + 2 + 3

func openTar(path string) (layoutFiles, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	places, err := indexTar(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("not a package file: %w", err), f.Close())
	}
	return &tarFiles{file: f, places: places}, nil
}

// indexTar finds the members of a tar without reading their contents.
func indexTar(f io.ReadSeeker) (map[string]place, error) {
	places := map[string]place{}
	tr := tar.NewReader(f)
	for members := 1; ; members++ {
		header, err := tr.Next()
		if err == io.EOF {
			return places, nil
		}
		if err != nil {
			return nil, err
		}
		if members > maxMembers {
			return nil, fmt.Errorf("more than %d members", maxMembers)
		}
		if header.Typeflag == tar.TypeDir {
			continue
		}
		_, twice := places[header.Name]
		if header.Typeflag != tar.TypeReg || !layoutName.MatchString(header.Name) || twice {
			return nil, fmt.Errorf("member %.80q does not belong in a package, or is there twice", header.Name)
		}
		offset, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		places[header.Name] = place{offset: offset, size: header.Size}
	}
}

func (t *tarFiles) open(name string) (io.ReadCloser, int64, error) {
	at, ok := t.places[name]
	if !ok {
		return nil, 0, fs.ErrNotExist
	}
	return io.NopCloser(io.NewSectionReader(t.file, at.offset, at.size)), at.size, nil
}

func (t *tarFiles) names() ([]string, error) {
	var names []string
	for name := range t.places {
		names = append(names, name)
	}
	return names, nil
}

func (t *tarFiles) Close() error { return t.file.Close() }
