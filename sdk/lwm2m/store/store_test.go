package store_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/store"
)

var _ lwm2m.Store = store.Files("")

// TestFiles keeps endpoints of any name; what cannot be read costs nobody else anything.
func TestFiles(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "devices")
	files, err := store.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"a", "../b", "\xff/\x00", strings.Repeat("ä", 120)}
	want := map[string][]byte{}
	for _, name := range names {
		for _, state := range []string{"old", "new " + name} {
			if err := files.Save(name, []byte(state)); err != nil {
				t.Fatal(err)
			}
			want[name] = []byte(state)
		}
	}
	for range 2 { // the second time it is not there
		if err := files.Remove("a"); err != nil {
			t.Error(err)
		}
	}
	delete(want, "a")
	if got, err := files.Load(); err != nil || !cmp.Equal(want, got) {
		t.Errorf("%v %s", err, cmp.Diff(want, got))
	}
	if err := os.WriteFile(filepath.Join(folder, "x.device"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := files.Load(); err == nil || !cmp.Equal(want, got) {
		t.Errorf("%v %s", err, cmp.Diff(want, got))
	}
	if got, err := files.Load(); err != nil || !cmp.Equal(want, got) {
		t.Errorf("the second time: %v %s", err, cmp.Diff(want, got))
	}
}
