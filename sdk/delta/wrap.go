package delta

import (
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/gzip"
)

// unwrap writes what is in a compressed layer to a scratch file: size bytes at
// most. The caller closes it.
func unwrap(layer io.ReaderAt, size int64, scratch Scratch) (*os.File, int64, error) {
	f, err := scratch(size)
	if err != nil {
		return nil, 0, err
	}
	n, err := inflate(f, layer, size)
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, n, nil
}

func inflate(w io.Writer, layer io.ReaderAt, size int64) (int64, error) {
	zr, err := gzip.NewReader(io.NewSectionReader(layer, 0, 1<<62))
	if err != nil {
		return 0, fmt.Errorf("%w: not gzip: %w", ErrFormat, err)
	}
	n, err := io.Copy(w, io.LimitReader(zr, size+1))
	switch {
	case err != nil:
		return 0, fmt.Errorf("cannot uncompress: %w", err)
	case n > size:
		return 0, fmt.Errorf("%w: uncompressed it has more than %d bytes", ErrFormat, size)
	}
	return n, nil
}
