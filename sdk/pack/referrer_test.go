package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const sbomText = `{"bomFormat":"CycloneDX","specVersion":"1.6","components":[{"name":"a"},{"name":"b"}]}`

// attested is the example with an SBOM and a provenance.
func attested(t testing.TB) *Recipe {
	t.Helper()
	r, err := ReadRecipe("testdata/example")
	if err != nil {
		t.Fatal(err)
	}
	sources, err := r.Sources()
	if err != nil {
		t.Fatal(err)
	}
	r.Attachments = []Attachment{
		{MediaTypeCycloneDX, func(*Package) ([]byte, error) { return []byte(sbomText), nil }},
		{MediaTypeProvenance, Provenance{Builder: "https://example.org/builder", Version: "1.2.3", Sources: sources}.Statement},
	}
	return r
}

func content(t testing.TB, l *Layout, d Descriptor) []byte {
	t.Helper()
	f, err := l.Blob(d)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestAttachments: what is said about a package is in its file, changes nothing of
// the package, and is the same at each build.
func TestAttachments(t *testing.T) {
	plain, _ := build(t, "testdata/example")
	path := filepath.Join(t.TempDir(), "p.tar")
	p, _, err := attested(t).BuildFile(path)
	if err != nil {
		t.Fatal(err)
	}
	again := filepath.Join(t.TempDir(), "again.tar")
	if _, _, err := attested(t).BuildFile(again); err != nil || !bytes.Equal(readFile(t, path), readFile(t, again)) {
		t.Errorf("another build, other bytes (%v)", err)
	}
	if p.Digest != plain.Digest {
		t.Errorf("the package is %s, without attachments %s", p.Digest, plain.Digest)
	}
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Verify(); err != nil {
		t.Error(err)
	}
	if len(l.Referrers) != 2 || l.Referrers[0].ArtifactType != MediaTypeCycloneDX || l.Referrers[1].ArtifactType != MediaTypeProvenance {
		t.Fatalf("referrers %+v", l.Referrers)
	}
	sbom, err := ParseSBOM(content(t, l, l.Referrers[0].Layers[0]))
	if want := (SBOM{MediaTypeCycloneDX, "CycloneDX 1.6", 2}); err != nil || sbom != want {
		t.Errorf("SBOM %+v, %v", sbom, err)
	}
	statement := content(t, l, l.Referrers[1].Layers[0])
	v, err := ParseProvenance(statement, p.Digest)
	if err != nil || v.Builder != "https://example.org/builder" || v.Version != "1.2.3" || v.Subject[0].Name != p.File {
		t.Errorf("provenance %+v, %v", v, err)
	}
	var names []string
	for _, s := range v.Sources {
		names = append(names, s.Name)
	}
	if diff := cmp.Diff([]string{"tranquil.toml", "nothing.wasm"}, names); diff != "" {
		t.Error(diff)
	}
	if _, err := ParseProvenance(statement, DigestOf(nil)); err == nil {
		t.Error("a provenance of another package is taken")
	}
	var index ociIndex
	dir := filepath.Join(t.TempDir(), "layout")
	_, err = attested(t).Build(dir)
	if err == nil {
		err = json.Unmarshal(readFile(t, filepath.Join(dir, indexFile)), &index)
	}
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(index.Manifests)
	if err := os.WriteFile(filepath.Join(dir, indexFile), []byte(mustJSON(index)), 0o644); err != nil {
		t.Fatal(err)
	}
	var reversed bytes.Buffer
	if err := WriteTar(&reversed, dir); err != nil {
		t.Fatal(err)
	}
	if s, err := NewStream(&reversed); err != nil || s.Package.Digest != p.Digest {
		t.Errorf("of a layout that begins with something else: %v", err)
	}
	s, err := NewStream(onlyReads{bytes.NewReader(readFile(t, path))})
	if err != nil || s.Package.Digest != p.Digest {
		t.Errorf("as a stream: %v", err)
	}
}

// TestSave writes a package that comes from elsewhere, with the same bytes.
func TestSave(t *testing.T) {
	path := filepath.Join(t.TempDir(), "p.tar")
	if _, _, err := attested(t).BuildFile(path); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var referrers [][]byte
	for _, r := range l.Referrers {
		referrers = append(referrers, content(t, l, r.Descriptor()))
	}
	dir := t.TempDir() + string(filepath.Separator) + "made" + string(filepath.Separator)
	p, saved, err := SaveFile(dir, l.Manifest(), referrers, l.Blob)
	if err != nil || p.Digest != l.Package.Digest || filepath.Base(saved) != p.File || !bytes.Equal(readFile(t, saved), readFile(t, path)) {
		t.Errorf("saved as %s: %v", saved, err)
	}
	lying := func(d Descriptor) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("x")), nil }
	if _, err := Save(filepath.Join(t.TempDir(), "l"), l.Manifest(), nil, lying); !errors.Is(err, ErrDigest) {
		t.Errorf("other bytes: %v", err)
	}
	other, err := (&layoutWriter{dir: l.Package.File}).attach(nil, Attachment{Content: func(*Package) ([]byte, error) { return nil, io.ErrUnexpectedEOF }})
	if other != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an attachment that cannot be made: %v", err)
	}
}

func TestForeignReferrers(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	if _, err := attested(t).Build(dir); err != nil {
		t.Fatal(err)
	}
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	index := string(readFile(t, filepath.Join(dir, "index.json")))
	own, sbom := l.Package.Digest, l.Referrers[0]
	for name, test := range map[string]struct{ index, want string }{
		"two packages": {strings.ReplaceAll(index, sbom.Digest, own), "has 1"},
		"none":         {`{"manifests":[]}`, "lists 0 manifests"},
		"not there":    {strings.ReplaceAll(index, sbom.Digest, DigestOf(nil)), "is missing"},
		"only others":  {strings.ReplaceAll(index, `"digest":"`+own, `"digest":"`+sbom.Digest), "has"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(dir, "index.json"), []byte(test.index), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := openAndVerify(dir); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestParseReferrer(t *testing.T) {
	blob := `{"mediaType":"a/b","digest":"` + DigestOf(nil) + `","size":0}`
	head := `{"schemaVersion":2,"mediaType":"` + MediaTypeManifest + `","config":` + blob
	for text, want := range map[string]string{
		head + `,"layers":[` + blob + `],"subject":` + blob + `}`: "",
		head + `,"layers":[]}`:                                     "subject",
		head + `,"layers":[],"subject":{"size":1}}`:                "is not a digest",
		`{"schemaVersion":2,"mediaType":"` + MediaTypeIndex + `"}`: "not an OCI image manifest",
		head + `,"layers":[` + strings.Repeat(blob+",", maxReferrerLayers) + blob + `],"subject":` + blob + `}`: "more than 16 layers",
	} {
		r, err := ParseReferrer([]byte(text))
		if want == "" && (err != nil || r.ArtifactType != "a/b") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestParseSBOM(t *testing.T) {
	for text, want := range map[string]SBOM{
		sbomText: {MediaTypeCycloneDX, "CycloneDX 1.6", 2},
		`{"spdxVersion":"SPDX-2.3","packages":[{}]}`: {MediaTypeSPDX, "SPDX-2.3", 1},
		`{}`:     {},
		`[`:      {},
		`"SPDX"`: {},
	} {
		got, err := ParseSBOM([]byte(text))
		if got != want || (err == nil) != (want != SBOM{}) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// FuzzReferrer reads what others say about a package.
func FuzzReferrer(f *testing.F) {
	blob := `{"mediaType":"a/b","digest":"` + DigestOf(nil) + `","size":0}`
	f.Add([]byte(`{"schemaVersion":2,"mediaType":"` + MediaTypeManifest + `","config":` + blob + `,"layers":[` + blob + `],"subject":` + blob + `}`))
	f.Add([]byte(sbomText))
	f.Add([]byte(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"https://slsa.dev/provenance/v1","subject":[{"digest":{"sha256":"e3"}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := ParseReferrer(b); err == nil {
			if r.Digest != DigestOf(b) || len(r.Blobs()) != 1+len(r.Layers) || CheckDigest(r.Subject.Digest) != nil {
				t.Errorf("%+v", r)
			}
		}
		if s, err := ParseSBOM(b); err == nil && (s.Type == "" || s.Packages < 0) {
			t.Errorf("%+v", s)
		}
		if v, err := ParseProvenance(b, DigestOf(nil)); err == nil && len(v.Subject) == 0 {
			t.Errorf("%+v", v)
		}
	})
}
