package rename

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

// apply renames in a state of files, each with its name as content.
func apply(rules string, names ...string) (string, error) {
	var old, renamed bytes.Buffer
	w := tar.NewWriter(&old)
	for _, name := range names {
		header := &tar.Header{Name: name, Mode: 0o600, Size: int64(len(name)), Typeflag: tar.TypeReg}
		if strings.HasSuffix(name, "/") {
			header.Size, header.Typeflag = 0, tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return "", err
		}
		if header.Size > 0 {
			if _, err := io.WriteString(w, name); err != nil {
				return "", err
			}
		}
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	if err := Filter(&old, &renamed, transform.Edge{Params: map[string]string{"rules": rules}}); err != nil {
		return "", err
	}
	var list []string
	r := tar.NewReader(&renamed)
	for {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return strings.Join(list, " "), nil
		}
		if err != nil {
			return "", err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return "", err
		}
		list = append(list, header.Name+"="+string(content))
	}
}

func TestRename(t *testing.T) {
	for rules, want := range map[string]string{
		"a -> z":                       "d/= d/b.json=d/b.json d/e/= d/e/c.json=d/e/c.json z=a",
		"d/ -> z/":                     "z/= z/b.json=d/b.json z/e/= z/e/c.json=d/e/c.json a=a",
		"d/b.json -> n/m/b":            "d/= n/m/b=d/b.json d/e/= d/e/c.json=d/e/c.json a=a n/= n/m/=",
		"a -> n/a":                     "d/= d/b.json=d/b.json d/e/= d/e/c.json=d/e/c.json n/a=a",
		"d/e/ -> e/\nd/*.json -> *.js": "d/= b.js=d/b.json e/= e/c.json=d/e/c.json a=a",
		"*/ -> all/":                   "all/= all/b.json=d/b.json all/e/= all/e/c.json=d/e/c.json a=a",
		"d/e/ -> d/":                   "d/= d/b.json=d/b.json d/c.json=d/e/c.json a=a",
		"?gone -> here\na -> b":        "d/= d/b.json=d/b.json d/e/= d/e/c.json=d/e/c.json b=a",
	} {
		got, err := apply(rules, "d/", "d/b.json", "d/e/", "d/e/c.json", "a")
		if err != nil || got != want {
			t.Errorf("%q: got  %s, %v,\nwant %s", rules, got, err, want)
		}
	}
}

func TestRefuses(t *testing.T) {
	for rules, want := range map[string]string{
		"a -> b":       "a and b would both be b|b and a would both be b",
		"gone -> here": "nothing is named as in the rule gone -> here",
	} {
		_, err := apply(rules, "a", "b")
		if !errors.Is(err, transform.ErrRefused) || !strings.Contains(want, strings.TrimPrefix(err.Error(), "state refused: ")) {
			t.Errorf("%q: %v", rules, err)
		}
	}
	for _, rules := range []string{
		"", "a", "a -> ", "/a -> b", "a -> ../b", "a -> b/", "a/ -> b", "*a* -> b", "a -> b*", "a/../b -> c", "* -> **",
	} {
		if _, err := apply(rules, "a"); err == nil || errors.Is(err, transform.ErrRefused) {
			t.Errorf("%q: %v", rules, err)
		}
	}
}

// A directory that only a rule makes is as open as the one its files were in,
// unless the state has one of that name.
func TestNewDirectories(t *testing.T) {
	var old, renamed bytes.Buffer
	w := tar.NewWriter(&old)
	for _, header := range []*tar.Header{
		{Name: "d/", Mode: 0o751, Typeflag: tar.TypeDir},
		{Name: "d/a", Mode: 0o600, Typeflag: tar.TypeReg},
		{Name: "d/b", Mode: 0o600, Typeflag: tar.TypeReg},
		{Name: "z/", Mode: 0o700, Typeflag: tar.TypeDir},
	} {
		if err := w.WriteHeader(header); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Filter(&old, &renamed, transform.Edge{Params: map[string]string{"rules": "d/a -> n/m/a\nd/b -> z/b"}}); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for r := tar.NewReader(&renamed); ; {
		header, err := r.Next()
		if err != nil {
			break
		}
		got[header.Name] = header.Mode
	}
	want := map[string]int64{"d/": 0o751, "n/": 0o751, "n/m/": 0o751, "n/m/a": 0o600, "z/": 0o700, "z/b": 0o600}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// A file by itself cannot be renamed, which is said before it is read as a tar
// archive.
func TestNeedsTree(t *testing.T) {
	err := Filter(strings.NewReader("{}"), io.Discard, transform.Edge{File: "a.json", Params: map[string]string{"rules": "a -> b"}})
	if err == nil || !strings.Contains(err.Error(), "rename needs mode tree") {
		t.Error(err)
	}
}
