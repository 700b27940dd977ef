package pack

import (
	"archive/tar"
	"cmp"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/space"
)

// Limits bound what an artifact may unpack to. Zero means the default.
type Limits struct {
	Bytes   int64 // of all files, and of the tar stream around them
	Entries int   // files, directories and symlinks
	Reserve int64 // bytes that stay free of the disk, and as large a share of its inodes
}

// DefaultLimits suit a large application; an updater that knows its disk has
// tighter ones.
var DefaultLimits = Limits{Bytes: 16 << 30, Entries: 1 << 16, Reserve: space.Reserve}

// Unpack unpacks an artifact layer, a tar+gzip, into dir, which must be
// missing or empty. It keeps the permission bits and nothing else of the
// metadata (a directory's owner always has access), and refuses anything that could reach out of dir or is no file,
// directory or symlink: hard links, devices, setuid bits, names with "..".
// With sync, all of it is on disk when Unpack returns. After an error dir
// holds a part; the caller removes it.
//
// If r is a [NewVerifyReader], a wrong digest is an error too, since r is read
// to its end; what was unpacked must then not be used.
func Unpack(r io.Reader, dir string, limits Limits, sync bool) error {
	if err := unpack(r, dir, limits, sync); err != nil {
		return fmt.Errorf("cannot unpack artifact: %w", err)
	}
	return nil
}

func unpack(r io.Reader, dir string, limits Limits, sync bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if entries, err := os.ReadDir(dir); err != nil {
		return err
	} else if len(entries) > 0 {
		return fmt.Errorf("%s is not empty", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	u := &unpacker{root: root, dir: dir, reserve: cmp.Or(limits.Reserve, DefaultLimits.Reserve), sync: sync}
	if _, err := walkLayer(r, limits, u.entry); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil { // see the digest's verdict
		return err
	}
	if sync {
		return syncDirs(dir)
	}
	return nil
}

// A File is one entry of an artifact that is no directory.
type File struct {
	Name   string `json:"name"`
	Mode   int64  `json:"mode"`
	Size   int64  `json:"size"`
	Digest string `json:"digest,omitempty"` // of a file's content
	Link   string `json:"link,omitempty"`   // target of a symlink
}

// Files lists what is in an artifact; a raw one is one file without a name.
func (l *Layout) Files(a Artifact) (all []File, err error) {
	if a.MediaType == MediaTypeRaw {
		return []File{{Size: a.Size, Digest: a.Digest}}, nil
	}
	err = l.verifyBlob(a.Descriptor, func(r io.Reader) error {
		_, err := walkLayer(r, DefaultLimits, func(name string, header *tar.Header, content io.Reader) error {
			if header.Typeflag == tar.TypeDir {
				return nil
			}
			sum := sha256.New()
			if _, err := io.Copy(sum, content); err != nil {
				return err
			}
			f := File{Name: name, Mode: header.Mode, Size: header.Size, Link: header.Linkname}
			if header.Typeflag == tar.TypeReg {
				f.Digest = digestPrefix + hex.EncodeToString(sum.Sum(nil))
			}
			all = append(all, f)
			return nil
		})
		return err
	})
	return all, err
}

// An entryFunc takes one entry of a layer; name is clean and relative.
type entryFunc func(name string, header *tar.Header, content io.Reader) error

func discardEntry(_ string, _ *tar.Header, content io.Reader) error {
	_, err := io.Copy(io.Discard, content)
	return err
}

// walkLayer checks a layer entry by entry and gives each to take. It returns
// the bytes of all files.
func walkLayer(r io.Reader, limits Limits, take entryFunc) (int64, error) {
	zr, err := gzip.NewReader(r)
	if err != nil {
		return 0, fmt.Errorf("not gzip: %w", err)
	}
	defer zr.Close()
	limits.Bytes = cmp.Or(limits.Bytes, DefaultLimits.Bytes)
	limits.Entries = cmp.Or(limits.Entries, DefaultLimits.Entries)
	stream := &limitedReader{r: zr, left: limits.Bytes + int64(limits.Entries+2)*maxEntryOverhead}
	tr := tar.NewReader(stream)
	seen := layerNames{}
	var total int64
	for {
		header, err := tr.Next()
		if err == io.EOF {
			_, err := io.Copy(io.Discard, stream) // the padding, and gzip's checksum
			return total, err
		}
		if err != nil {
			return total, err
		}
		name, err := seen.add(header)
		if err != nil {
			return total, err
		}
		// The size in the header counts, since a sparse file is large without
		// a long stream.
		if header.Size > limits.Bytes-total || len(seen) > limits.Entries {
			return total, fmt.Errorf("unpacks to more than %d bytes or %d entries", limits.Bytes, limits.Entries)
		}
		total += header.Size
		if err := take(name, header, tr); err != nil {
			return total, err
		}
	}
}

// maxEntryOverhead is what an entry may add to the stream besides its
// content: header, padding, long names.
const maxEntryOverhead = 4096

// A limitedReader fails, other than io.LimitReader, when there is too much.
type limitedReader struct {
	r    io.Reader
	left int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, errors.New("unpacks to more than its limit")
	}
	return n, err
}

// layerNames are the entries seen so far, with their types.
type layerNames map[string]byte

// add checks an entry against the rules and returns its name.
func (seen layerNames) add(header *tar.Header) (string, error) {
	name := strings.TrimSuffix(header.Name, "/")
	if !fs.ValidPath(name) || name == "." || len(name) > maxPath || strings.ContainsAny(name, "\x00\\") {
		return "", fmt.Errorf("name %.80q is not a clean relative path", header.Name)
	}
	if _, twice := seen[name]; twice {
		return "", fmt.Errorf("%.80q is there twice", name)
	}
	if header.Mode&^0o777 != 0 {
		return "", fmt.Errorf("%.80q has mode %o: only permission bits are allowed", name, header.Mode)
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if kind, ok := seen[dir]; ok && kind != tar.TypeDir {
			return "", fmt.Errorf("%.80q is below %.80q, which is no directory", name, dir)
		}
	}
	switch header.Typeflag {
	case tar.TypeReg, tar.TypeDir:
	case tar.TypeSymlink:
		if err := checkLink(name, header.Linkname); err != nil {
			return "", err
		}
	default:
		return "", fmt.Errorf("%.80q is no file, directory or symlink", name)
	}
	seen[name] = header.Typeflag
	return name, nil
}

// An unpacker writes entries below root, which no name or link can leave.
type unpacker struct {
	root    *os.Root
	dir     string
	reserve int64 // see Limits
	sync    bool
}

func (u *unpacker) entry(name string, header *tar.Header, content io.Reader) error {
	left, err := space.Left(u.dir, u.reserve)
	if err != nil {
		return err
	}
	if left.Bytes < header.Size || left.Files < 1 {
		return fmt.Errorf("cannot write %.80q: %w but what is to stay free: free some of the disk", name, syscall.ENOSPC)
	}
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	mode := fs.FileMode(header.Mode) & fs.ModePerm
	switch header.Typeflag {
	case tar.TypeDir:
		if err := u.root.MkdirAll(name, 0o755); err != nil {
			return err
		}
		return u.root.Chmod(name, mode|0o700) // the owner must be able to remove it
	case tar.TypeSymlink:
		return u.root.Symlink(header.Linkname, name)
	}
	return u.file(name, mode, content)
}

func (u *unpacker) file(name string, mode fs.FileMode, content io.Reader) error {
	f, err := u.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil && u.sync {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// syncDirs flushes every directory of the tree.
func syncDirs(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return durable.Sync(path)
	})
}
