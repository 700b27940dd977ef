package updatertest

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// Files makes the artifact that a package has of a directory of files: a
// tar+gzip. All of them are executable.
func Files(t testing.TB, files map[string]string) Artifact {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "artifact.tar.gz"))
	if err != nil {
		t.Fatalf("cannot make an artifact: %v", err)
	}
	zipped := gzip.NewWriter(file)
	archive := tar.NewWriter(zipped)
	for name, content := range files {
		err = errors.Join(err, archive.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(content)), Typeflag: tar.TypeReg}))
		_, wrong := archive.Write([]byte(content))
		err = errors.Join(err, wrong)
	}
	if err := errors.Join(err, archive.Close(), zipped.Close(), file.Close()); err != nil {
		t.Fatalf("cannot make an artifact: %v", err)
	}
	return Artifact{Path: file.Name(), MediaType: pack.MediaTypeArtifact, Settings: []byte("{}")}
}
