package replica

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
)

// TestNumbers: a directory has the inodes of its files, and knows no others.
func TestNumbers(t *testing.T) {
	dir := t.TempDir()
	if !Numbered(dir) {
		t.Skip("NOT TESTED: inodes that directories tell, which this file system does not promise")
	}
	for i := range 1000 { // more than one read has
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("%0200d", i)), nil, 0o600))
	}
	must(t, errors.Join(os.Mkdir(filepath.Join(dir, "directory"), 0o700), os.Symlink("x", filepath.Join(dir, "link"))))
	f, err := os.Open(dir)
	must(t, err)
	defer f.Close()
	names, err := ReadNames(f)
	all := maps.Collect(names.All())
	if err != nil || len(all) != 1002 || all["directory"] != 0 || all["link"] != 0 {
		t.Fatalf("%d names, %v", len(all), err)
	}
	for name, number := range all {
		info, err := LookIn(f, name)
		if err != nil || info.Regular() && info.Inode().Number != number {
			t.Errorf("%s: %d, %v", name, number, err)
		}
	}
	another := t.TempDir()
	g, err := os.Open(another)
	must(t, err)
	defer g.Close()
	if empty, err := ReadNames(g); err != nil || empty.Equal(names) || !empty.Equal(Names{}) {
		t.Errorf("the names of an empty directory are %q, %v", empty, err)
	}
	must(t, os.Rename(filepath.Join(dir, fmt.Sprintf("%0200d", 7)), filepath.Join(another, "7")))
	_, err = f.Seek(0, 0)
	must(t, err)
	if fewer, err := ReadNames(f); err != nil || fewer.Equal(names) {
		t.Errorf("a directory that has lost a file has the same names: %v", err)
	}
}

// FuzzNumbers reads what no kernel has written.
func FuzzNumbers(f *testing.F) {
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x18\x00\x08name\x00"))
	f.Add([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x14\x00\x08\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var n Names
		n.parse(data)
		all := 0
		for range n.All() {
			all++
		}
		if all > len(data)/20 {
			t.Errorf("%d names in %d bytes", all, len(data))
		}
	})
}

func TestMounted(t *testing.T) {
	const table = `36 35 98:0 / / rw,noatime - ext4 /dev/root rw
37 36 0:5 / /srv/with\040space/in\134it rw shared:1 - tmpfs tmpfs rw
half
`
	for dir, want := range map[string]int{
		"/": 2, "/srv": 1, "/srv/with space": 1, `/srv/with space/in\it`: 1, "/srv/with": 0, "/other": 0,
	} {
		if got := mounted(table, dir); len(got) != want {
			t.Errorf("%s: %q", dir, got)
		}
	}
	if mountedBelow("/") != true || !mountedBelow(filepath.Join(t.TempDir(), "missing")) {
		t.Error("of the root, or of what is not there, it is not known that nothing is below")
	}
}

func FuzzUnescape(f *testing.F) {
	f.Add(`a\040b\`)
	f.Fuzz(func(t *testing.T, s string) {
		if got := unescape(s); len(got) > len(s) {
			t.Errorf("%q became %q", s, got)
		}
	})
}
