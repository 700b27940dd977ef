package main

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"time"

	"github.com/klauspost/compress/gzip"
)

// A tree is what is installed, by path from the root: "usr/bin/tranquil".
type tree map[string]entry

type entry struct {
	mode fs.FileMode // with fs.ModeDir for a directory
	data []byte
	kept bool // a configuration, which its operator may have changed

	owner int // user and group
}

const dirMode = fs.ModeDir

// add puts a file into the tree, and the directories that lead to it.
func (t tree) add(name string, mode fs.FileMode, data []byte) {
	t[name] = entry{mode: mode, data: data}
	t.dir(path.Dir(name))
}

// keep is add for a configuration.
func (t tree) keep(name string, mode fs.FileMode, data []byte) {
	t.add(name, mode, data)
	t[name] = entry{mode: mode, data: data, kept: true}
}

func (t tree) dir(name string) {
	for ; name != "."; name = path.Dir(name) {
		t[name] = entry{mode: dirMode | 0o755}
	}
}

// addFile puts a file of this machine into the tree.
func (t tree) addFile(name string, mode fs.FileMode, from string) error {
	data, err := os.ReadFile(from)
	if err == nil {
		t.add(name, mode, data)
	}
	return err
}

// names are all of them, a directory before what is in it.
func (t tree) names() []string { return slices.Sorted(maps.Keys(t)) }

// size is that of all files, in KiB and for each at least one.
func (t tree) size() (kib int) {
	for _, e := range t {
		kib += max((len(e.data)+1023)/1024, 1)
	}
	return kib
}

// tar writes the tree as an archive, whose names begin with prefix.
func (t tree) tar(prefix string, at time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range t.names() {
		e := t[name]
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: prefix + name, Mode: int64(e.mode.Perm()), Size: int64(len(e.data)),
			ModTime: at, Uid: e.owner, Gid: e.owner, Format: tar.FormatGNU,
		}
		if e.owner == 0 {
			h.Uname, h.Gname = "root", "root"
		}
		if e.mode.IsDir() {
			h.Typeflag, h.Name = tar.TypeDir, h.Name+"/"
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// zip compresses without a name or a time. It is gzip, which a Debian of ten years
// ago and BusyBox read, by a pinned module: the toolchain's own may change.
func (d *distribution) zip(data []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, d.level)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, err
	}
	err = w.Close()
	return b.Bytes(), err
}
