package host

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

// Limits of names in a tree that a module makes. Whoever handles it later
// puts a path of its own in front, and the system takes 4,096 bytes.
const (
	maxPart   = 255  // bytes between slashes, as file systems have it
	maxPath   = 1024 // bytes
	maxLevels = 64   // of directories, the file itself included
)

// bounds are what the names in an archive may have.
type bounds struct{ length, levels int }

// boundsFor lets a name be as long and as deep as one that the state has had.
func boundsFor(entries []entry) bounds {
	b := bounds{maxPath, maxLevels}
	for _, e := range entries {
		b.length, b.levels = max(b.length, len(e.path)), max(b.levels, levels(e.path))
	}
	return b
}

func levels(name string) int { return strings.Count(name, "/") + 1 }

// check looks at a clean name.
func (b bounds) check(name string) error {
	if len(name) > b.length {
		return fmt.Errorf("its name is longer than %d bytes", b.length)
	}
	if levels(name) > b.levels {
		return fmt.Errorf("it is more than %d levels deep", b.levels)
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > maxPart {
			return fmt.Errorf("a part of its name is longer than %d bytes", maxPart)
		}
	}
	return nil
}

// An archive reads a tar and refuses names that its reader would cut at a zero
// byte: two files could then be one, or a file another. The content of an entry
// must be read to its end before the next one.
type archive struct {
	*tar.Reader
	file io.ReadSeeker
}

func openArchive(file io.ReadSeeker) archive { return archive{tar.NewReader(file), file} }

const blockSize = 512

// next is [tar.Reader.Next].
func (a archive) next() (*tar.Header, error) {
	from, err := a.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	header, err := a.Next()
	if err != nil {
		return nil, err
	}
	content, err := a.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	from = (from + blockSize - 1) / blockSize * blockSize // the content before is padded
	if err := a.checkHeaders(from, content); err != nil {
		return nil, fmt.Errorf("%q: %w", path.Clean(header.Name), err)
	}
	_, err = a.file.Seek(content, io.SeekStart)
	return header, err
}

var errZero = errors.New("a name has a zero byte in it")

// checkHeaders looks at the headers of one entry, in the bytes from … to: that
// of the entry itself, and before it those of GNU for long names. Of a pax
// record the reader refuses a zero byte itself.
func (a archive) checkHeaders(from, to int64) error {
	for at := from; at < to; {
		if _, err := a.file.Seek(at, io.SeekStart); err != nil {
			return err
		}
		block := make([]byte, blockSize)
		if _, err := io.ReadFull(a.file, block); err != nil {
			return err
		}
		if broken(block[0:100]) || string(block[257:263]) == "ustar\x00" && broken(block[345:500]) {
			return errZero
		}
		if at += blockSize; at == to {
			break
		}
		size, err := nameSize(block)
		if err != nil {
			return err
		}
		switch block[156] {
		case tar.TypeGNULongName:
			name, err := io.ReadAll(io.LimitReader(a.file, min(size, to-at)))
			if err != nil {
				return err
			}
			if broken(name) {
				return errZero
			}
		case tar.TypeGNULongLink, tar.TypeXHeader, tar.TypeXGlobalHeader:
		default:
			return nil // what is left belongs to a sparse file
		}
		at += (size + blockSize - 1) / blockSize * blockSize
	}
	return nil
}

// broken reports whether something follows the zero that ends a name.
func broken(field []byte) bool {
	_, rest, _ := bytes.Cut(field, []byte{0})
	return len(bytes.Trim(rest, "\x00")) > 0
}

// nameSize returns the size in a header of one of the kinds that hold names:
// octal, since they are short.
func nameSize(block []byte) (int64, error) {
	size, err := strconv.ParseInt(strings.Trim(string(block[124:136]), " \x00"), 8, 64)
	if err != nil || size < 0 {
		return 0, errors.New("a header has no size")
	}
	return size, nil
}
