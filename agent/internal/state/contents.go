package state

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// A File is a file, a directory or a symbolic link of a sealed state.
type File struct {
	Path   string      `json:"path"` // slashes; a directory ends in one
	Mode   fs.FileMode `json:"mode"`
	Size   int64       `json:"size"`             // bytes
	Digest string      `json:"digest,omitempty"` // of a file's content
	Target string      `json:"target,omitempty"` // of a symbolic link
}

// Contents is a generation as it is found.
type Contents struct {
	Entry
	All []File `json:"all"` // each directory before its content, in lexical order
}

// Show reads every file of a generation and compares them with the seal. It
// may be called while an update is under way; a generation that the update
// removes meanwhile is an error.
func (m *Manager) Show(component string, gen Generation) (Contents, error) {
	files, s, err := m.sealed(component, gen)
	if err != nil {
		return Contents{}, err
	}
	list, err := readTree(files, nil)
	if err != nil {
		return Contents{}, fmt.Errorf("cannot read state %s/%d: %w", component, gen, err)
	}
	c := Contents{Entry: s.entry(gen, m.clock.now())}
	c.Damaged = list.digest() != s.Digest
	for _, n := range list {
		switch {
		case n.path == ".":
		case n.mode.IsDir():
			c.All = append(c.All, File{Path: n.path + "/", Mode: n.mode.Perm()})
		default:
			c.All = append(c.All, File{n.path, n.mode.Perm() | n.mode.Type(), n.size, n.digest, n.target})
		}
	}
	return c, nil
}

// Export writes a generation as a tar archive (POSIX pax), which [Manager.Unpack]
// reads: all that [replica.Give] gives, and names of one file are hard links. A
// global header says of what it is the state. The same files give the same
// bytes. Only after a nil error is what was written the state as sealed;
// [ErrDamaged] comes last, since files are read once.
func (m *Manager) Export(component string, gen Generation, w io.Writer) error {
	files, s, err := m.sealed(component, gen)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(w)
	if err := (label{component, s.Meta, s.Digest}).write(archive); err != nil {
		return fmt.Errorf("cannot export state %s/%d: %w", component, gen, err)
	}
	list, err := readTree(files, archive)
	if err == nil && list.digest() != s.Digest {
		err = ErrDamaged
	}
	if err == nil {
		err = archive.Close()
	}
	if err != nil {
		return fmt.Errorf("cannot export state %s/%d: %w", component, gen, err)
	}
	return nil
}

// readTree lists a state from its files alone, and writes them to an archive if
// there is one.
func readTree(root string, archive *tar.Writer) (listing, error) {
	var all listing
	first := map[inode]string{} // name of a file that has several
	err := walk(context.Background(), root, func(e *entry) (err error) {
		n := node{path: e.path, mode: e.mode()}
		switch {
		case e.isDir():
			err = writeHeader(archive, root, n, e.bits(), "")
		case e.regular():
			n.size = e.stat.Size
			file := inode{uint64(e.stat.Dev), e.stat.Ino}
			n.digest, err = readFile(root, n, e.bits(), first[file], archive)
			if first[file] == "" {
				first[file] = e.path
			}
		case e.symlink():
			err = n.follow(root)
			if err == nil {
				err = writeHeader(archive, root, n, 0, "")
			}
		default:
			err = fmt.Errorf("%s: %w", e.path, ErrDamaged)
		}
		all = append(all, n)
		return err
	})
	return all, err
}

// bits are the permissions of a file or directory, with set-user, set-group and
// sticky bit as POSIX numbers them.
func (e *entry) bits() int64 { return int64(e.stat.Mode & 0o7777) }

// writeHeader writes of a file that the archive has already only its other
// name.
func writeHeader(archive *tar.Writer, root string, n node, bits int64, other string) error {
	if archive == nil {
		return nil
	}
	h := &tar.Header{Typeflag: tar.TypeReg, Name: n.path, Mode: bits, Size: n.size, Format: tar.FormatPAX}
	if err := belong(h, filepath.Join(root, n.path)); err != nil {
		return err
	}
	switch {
	case n.mode.IsDir():
		h.Typeflag, h.Name = tar.TypeDir, n.path+"/"
	case n.symlink():
		h.Typeflag, h.Linkname, h.Size, h.Mode = tar.TypeSymlink, n.target, 0, int64(n.mode.Perm())
	case other != "":
		h.Typeflag, h.Linkname, h.Size = tar.TypeLink, other, 0
	}
	return archive.WriteHeader(h)
}

// readFile returns the digest of as many bytes as a file should have; that it
// has others is an error.
func readFile(root string, n node, bits int64, other string, archive *tar.Writer) (digest string, err error) {
	f, err := os.Open(filepath.Join(root, n.path))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := writeHeader(archive, root, n, bits, other); err != nil {
		return "", err
	}
	sum := sha256.New()
	to := io.Writer(sum)
	if archive != nil && other == "" {
		to = io.MultiWriter(sum, archive)
	}
	if _, err := io.CopyN(to, f, n.size); err != nil {
		return "", err
	}
	if more, _ := f.Read(make([]byte, 1)); more > 0 {
		return "", fmt.Errorf("%s: %w", n.path, ErrDamaged)
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil)), nil
}
