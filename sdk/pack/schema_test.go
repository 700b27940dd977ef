package pack

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// schemaOf returns a JSON Schema of so many bytes.
func schemaOf(size int) []byte {
	const open, shut = `{"description":"`, `"}`
	return []byte(open + strings.Repeat("x", size-len(open)-len(shut)) + shut)
}

// withSchemas is a recipe with two transforms and the schemas of their results.
func withSchemas(t *testing.T, forth, back []byte) string {
	t.Helper()
	edge := "[[transform]]\nfrom = %d\nto = %d\nmodule = \"m.wasm\"\nformat = \"json\"\nschema = %q\n"
	dir := recipeDir(t, goodRecipe+fmt.Sprintf(edge, 1, 2, "forth.json")+fmt.Sprintf(edge, 2, 1, "back.json"))
	for name, schema := range map[string][]byte{"forth.json": forth, "back.json": back} {
		if err := os.WriteFile(filepath.Join(dir, name), append(schema, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A schema is where its size wants it, read or built, and comes back the same.
func TestSchemas(t *testing.T) {
	for name, test := range map[string]struct {
		forth, back []byte
		layers      int
	}{
		"short":             {schemaOf(100), schemaOf(maxInline), 0},
		"one is long":       {schemaOf(maxInline + 1), schemaOf(100), 1},
		"one for both":      {schemaOf(40_000), schemaOf(40_000), 1},
		"as long as can be": {schemaOf(MaxSchemaSize), schemaOf(MaxSchemaSize - 1), 2},
	} {
		t.Run(name, func(t *testing.T) {
			p, path := build(t, withSchemas(t, test.forth, test.back))
			l, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			if err := l.Verify(); err != nil {
				t.Error(err)
			}
			if n := len(p.Blobs()) - 3; n != test.layers { // config, artifact, module
				t.Errorf("%d schemas are layers, want %d", n, test.layers)
			}
			for i, want := range [][]byte{test.forth, test.back} {
				edge := l.Package.Transforms[i]
				got, err := l.Schema(edge)
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("schema %d: %d bytes, want %d; %v", i+1, len(got), len(want), err)
				}
				if n := len(edge.Blobs()); (n == 2) != (len(want) > maxInline) {
					t.Errorf("transform %d has %d blobs", i+1, n)
				}
			}
		})
	}
}

func TestSchemaErrors(t *testing.T) {
	for name, test := range map[string]struct {
		schema []byte
		want   string
	}{
		"too long": {schemaOf(MaxSchemaSize + 1), "forth.json has 1048577 bytes without its white space, more than 1048576"},
		"twice":    {[]byte(`{"a":1,"a":` + string(schemaOf(maxInline)) + `}`), `forth.json: JSON member "a" is given twice`},
	} {
		r, err := ReadRecipe(withSchemas(t, test.schema, schemaOf(100)))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err = r.BuildFile(t.TempDir()); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// The schemas of a package together are bounded: an agent holds those of a
// chain in memory.
func TestSchemasTogether(t *testing.T) {
	p := Package{}
	for i := range 5 {
		d := Descriptor{Digest: DigestOf([]byte{byte(i)}), Size: MaxSchemaSize}
		p.Transforms = append(p.Transforms, Transform{SchemaBlob: d}, Transform{SchemaBlob: d})
	}
	if err := p.checkSchemas(); err == nil {
		t.Error("5 MiB of schemas are accepted")
	}
	p.Transforms = p.Transforms[:8]
	if err := p.checkSchemas(); err != nil {
		t.Error(err)
	}
}

// A layer that was changed is not read, nor is the package whole.
func TestDamagedSchema(t *testing.T) {
	r, err := ReadRecipe(withSchemas(t, schemaOf(40_000), schemaOf(100)))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "layout")
	p, err := r.Build(dir)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, filepath.FromSlash(blobName(p.Transforms[0].SchemaBlob.Digest)))
	if err := os.WriteFile(path, bytes.Replace(schemaOf(40_000), []byte("xx"), []byte("xy"), 1), fs.FileMode(0o600)); err != nil {
		t.Fatal(err)
	}
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := l.Schema(p.Transforms[0]); err == nil || !strings.Contains(err.Error(), "does not match its digest") {
		t.Errorf("got %v", err)
	}
	if err := l.Verify(); err == nil || !strings.Contains(err.Error(), "schema: ") {
		t.Errorf("got %v", err)
	}
}

// What an author reads with inspect --json says nothing of layers where there
// are none.
func TestSchemaBlobIsLeftOut(t *testing.T) {
	text, err := json.Marshal(Transform{})
	if err != nil || bytes.Contains(text, []byte("schemaBlob")) {
		t.Errorf("%s, %v", text, err)
	}
}
