package image

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// maxWindow bounds the memory that a zstd stream may ask for, in bytes; it is
// what the format recommends decoders to support (RFC 8878, 3.1.1.1.2).
const maxWindow = 8 << 20

// A layer is a tar stream out of a file, whatever it is packed with.
type layer struct {
	io.Reader
	close []func() error
}

// openLayer recognises compression by its magic: media types are often wrong.
func openLayer(name string) (*layer, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	l, err := newLayer(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	l.close = append(l.close, f.Close)
	return l, nil
}

func newLayer(r io.Reader) (*layer, error) {
	head := bufio.NewReaderSize(r, 64<<10)
	magic, _ := head.Peek(4)
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}): // RFC 1952
		zr, err := gzip.NewReader(head)
		if err != nil {
			return nil, err
		}
		return &layer{zr, []func() error{zr.Close}}, nil
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878
		zr, err := zstd.NewReader(head, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return &layer{zr, []func() error{func() error { zr.Close(); return nil }}}, nil
	}
	return &layer{head, nil}, nil
}

// Close closes the file, too.
func (l *layer) Close() error {
	var errs []error
	for _, c := range l.close {
		errs = append(errs, c())
	}
	return errors.Join(errs...)
}

// An entry of a tar stream.
type entry struct {
	*tar.Header
	content io.Reader
}

// eachEntry gives the entries of a tar stream with names that are clean and lead
// nowhere else, until take returns fs.SkipAll.
func eachEntry(r io.Reader, take func(name string, e entry) error) error {
	archive := tar.NewReader(r)
	for {
		header, err := archive.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read the archive: %w", err)
		}
		name, err := cleanName(header.Name)
		if err == nil {
			err = take(name, entry{header, archive})
		}
		if errors.Is(err, fs.SkipAll) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// maxName is how long the name of an entry may be, in bytes: as long as what an
// update carries as state.
const maxName = 2048

// cleanName returns a name relative to the root, which itself is ".". Tools write
// "./usr", "usr/" and "/usr" for the same.
func cleanName(name string) (string, error) {
	clean := path.Clean("/" + name)[1:]
	if clean == "" {
		return ".", nil
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("name %.80q leads out of the root", name)
		}
	}
	if len(clean) > maxName || strings.Contains(clean, "\x00") {
		return "", fmt.Errorf("name %.80q is no name of a file", name)
	}
	return clean, nil
}
