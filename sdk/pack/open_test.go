package pack

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// openAndVerify does what a careful reader does with an unknown file.
func openAndVerify(path string) error {
	l, err := Open(path)
	if err != nil {
		return err
	}
	return errors.Join(l.Verify(), l.Close())
}

func writeTemp(t testing.TB, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "p.tar")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTruncatedFile(t *testing.T) {
	_, path := build(t, "testdata/example")
	whole := readFile(t, path)
	path = writeTemp(t, nil)
	const trailer = 1024 + 511 // padding and two empty blocks, which carry nothing
	for size := 0; size < len(whole)-trailer; size += 256 {
		if err := os.WriteFile(path, whole[:size], 0o644); err != nil {
			t.Fatal(err)
		}
		if err := openAndVerify(path); err == nil {
			t.Errorf("%d of %d bytes count as whole", size, len(whole))
		}
	}
}

// TestTamperedBlob flips one bit in each member: all of it is covered.
func TestTamperedBlob(t *testing.T) {
	p, path := build(t, "testdata/example")
	whole := readFile(t, path)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	places, err := indexTar(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range append(p.Blobs(), p.Descriptor()) {
		at := places[blobName(d.Digest)]
		for _, offset := range []int64{0, at.size / 2, at.size - 1} {
			tampered := bytes.Clone(whole)
			tampered[at.offset+offset] ^= 1
			if err := openAndVerify(writeTemp(t, tampered)); !errors.Is(err, ErrDigest) {
				t.Errorf("%s, byte %d: got %v, want %v", d.MediaType, offset, err, ErrDigest)
			}
		}
	}
}

func TestForeignMembers(t *testing.T) {
	for name, header := range map[string]*tar.Header{
		"other file":   {Typeflag: tar.TypeReg, Name: "README"},
		"absolute":     {Typeflag: tar.TypeReg, Name: "/index.json"},
		"link":         {Typeflag: tar.TypeSymlink, Name: "index.json", Linkname: "/etc/passwd"},
		"twice":        {Typeflag: tar.TypeReg, Name: "index.json"},
		"unknown blob": {Typeflag: tar.TypeReg, Name: blobName(DigestOf([]byte("x")))},
	} {
		t.Run(name, func(t *testing.T) {
			_, path := build(t, "testdata/example")
			whole := readFile(t, path)
			var extra bytes.Buffer
			tw := tar.NewWriter(&extra)
			if err := errors.Join(tw.WriteHeader(header), tw.Close()); err != nil {
				t.Fatal(err)
			}
			whole = append(whole[:len(whole)-1024], extra.Bytes()...)
			if err := openAndVerify(writeTemp(t, whole)); err == nil || !strings.Contains(err.Error(), "belong") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestLayoutDirectoryFailures(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(dir string, p *Package) error
		want  string
	}{
		"missing blob": {func(dir string, p *Package) error {
			return os.Remove(filepath.Join(dir, blobName(p.Artifacts[0].Digest)))
		}, "is missing"},
		"no index": {func(dir string, _ *Package) error { return os.Remove(filepath.Join(dir, indexFile)) }, "is not an OCI image layout"},
		"two packages": {func(dir string, p *Package) error {
			d := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d}`, MediaTypeManifest, p.Digest, p.Size)
			return os.WriteFile(filepath.Join(dir, indexFile), []byte(`{"manifests":[`+d+`,`+d+`]}`), 0o644)
		}, "lists more than one package"},
		"extra file": {func(dir string, _ *Package) error {
			return os.WriteFile(filepath.Join(dir, "blobs", "x"), nil, 0o644)
		}, "belongs to nothing"},
		"link out": {func(dir string, p *Package) error {
			blob := filepath.Join(dir, blobName(p.Config.Digest))
			return errors.Join(os.Rename(blob, dir+".config"), os.Symlink(dir+".config", blob))
		}, "escapes"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ReadRecipe("testdata/example")
			if err != nil {
				t.Fatal(err)
			}
			dir := filepath.Join(t.TempDir(), "layout")
			p, err := r.Build(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := test.spoil(dir, p); err != nil {
				t.Fatal(err)
			}
			if err := openAndVerify(dir); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestDeclaredSizeIsChecked(t *testing.T) {
	p, path := build(t, "testdata/example")
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	l.Package.Artifacts[0].Unpacked = p.Artifacts[0].Unpacked + 1
	if err := l.Verify(); err == nil || !strings.Contains(err.Error(), "declares") {
		t.Errorf("got %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	_, path := build(f, "testdata/example")
	whole := readFile(f, path)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte("no tar"))
	f.Fuzz(func(t *testing.T, content []byte) {
		_ = openAndVerify(writeTemp(t, content))
	})
}
