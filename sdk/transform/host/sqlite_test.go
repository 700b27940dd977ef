package host

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// databases were made by SQLite 3.40.
func databases(t testing.TB) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/sqlite/*.db")
	if err != nil || len(paths) == 0 {
		t.Fatal("no databases", err)
	}
	all := map[string][]byte{}
	for _, path := range paths {
		if all[filepath.Base(path)], err = os.ReadFile(path); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func TestSQLite(t *testing.T) {
	for name, data := range databases(t) {
		if err := validate(t.Context(), "sqlite", bytes.NewReader(data)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for want, damage := range map[string]func([]byte) []byte{
			"no SQLite header": func(b []byte) []byte { b[0] = 'X'; return b },
			"whole number":     func(b []byte) []byte { return b[:len(b)-1] },
			"header says":      func(b []byte) []byte { return b[:len(b)-1024] },
			"pages of":         func(b []byte) []byte { b[17] = 3; return b },
			"of kind":          func(b []byte) []byte { b[headerSize] = 7; return b },
			"freelist":         func(b []byte) []byte { b[offsetFree+7] += 3; return b },
			"cells":            func(b []byte) []byte { b[headerSize+3] = 0xff; return b },
			"outside":          func(b []byte) []byte { b[headerSize+8] = 0xff; b[headerSize+9] = 0xff; return b },
		} {
			err := validate(t.Context(), "sqlite", bytes.NewReader(damage(slices.Clone(data))))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: got %v, want %q", name, err, want)
			}
		}
	}
}

// A page that is put to use twice, or to none, is found.
func TestSQLitePages(t *testing.T) {
	data := databases(t)["small.db"]
	size := int(binary.BigEndian.Uint16(data[offsetSize:]))
	twice := slices.Clone(data)
	more := append(slices.Clone(data), make([]byte, size)...)
	binary.BigEndian.PutUint32(more[offsetPages:], uint32(len(more)/size))
	for at := size; at < len(twice); at += size {
		if twice[at] == interiorTable {
			first := binary.BigEndian.Uint16(twice[at+12:])
			copy(twice[at+8:at+12], twice[at+int(first):])
		}
	}
	for want, b := range map[string][]byte{"used twice": twice, "belong to nothing": more} {
		if err := validate(t.Context(), "sqlite", bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

func FuzzSQLite(f *testing.F) {
	for _, data := range databases(f) {
		f.Add(data)
	}
	f.Fuzz(func(_ *testing.T, data []byte) { validateSQLite(bytes.NewReader(data)) })
}
