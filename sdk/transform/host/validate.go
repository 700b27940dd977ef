package host

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
)

// validators say whether bytes are of a format. WASI cannot tell a whole
// result from a part of one, so this is how a cut one is found. None needs
// memory in proportion to the result, whatever a hostile module writes, save a
// bit per page of SQLite.
var validators = map[string]func(source) error{
	"":       func(source) error { return nil },
	"bytes":  func(source) error { return nil },
	"json":   func(r source) error { return validateJSON(r) },
	"ndjson": func(r source) error { return validateLines(r) },
	"sqlite": validateSQLite,
	"tar":    validateTar,
}

// validate checks a result from its start, until ctx ends.
func validate(ctx context.Context, format string, f source) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	err := validators[format](attended{ctx, f})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return &Error{Class: Invalid, Reason: fmt.Sprintf("it is not %s: %s%s", format, firstLine(printable(err.Error())), message(format, f))}
	}
	return nil
}

// message is what to say of a result that is no JSON from its first letter on: its
// author has most likely printed something.
func message(format string, f source) string {
	begin := make([]byte, 20)
	n, _ := f.ReadAt(begin, 0) // what there is
	text, _, _ := bytes.Cut(bytes.TrimSpace(begin[:n]), []byte("\n"))
	if format != "json" && format != "ndjson" || len(text) == 0 || bytes.IndexByte([]byte(`{["-0123456789tfn`), text[0]) >= 0 {
		return ""
	}
	return fmt.Sprintf(", it begins with %q: messages belong on stderr", printable(string(text)))
}

// A source is what is validated.
type source interface {
	io.ReadSeeker
	io.ReaderAt
}

// attended ends with the context, also in the middle of a long file.
type attended struct {
	ctx context.Context
	source
}

func (a attended) Read(p []byte) (int, error) { return until{a.ctx, a.source}.Read(p) }

func (a attended) ReadAt(p []byte, at int64) (int, error) {
	if a.ctx.Err() != nil {
		return 0, context.Cause(a.ctx)
	}
	return a.source.ReadAt(p, at)
}

// validateTar wants whole entries with names that stay inside. What is sparse may
// have holes without end, which nobody could read through.
func validateTar(r source) error {
	left, err := r.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = r.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	a, limits := openArchive(r), boundsFor(nil)
	for {
		header, err := a.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !filepath.IsLocal(header.Name) {
			return fmt.Errorf("%q leads out of it", header.Name)
		}
		if err := limits.check(path.Clean(header.Name)); err != nil {
			return fmt.Errorf("%.40q…: %w", header.Name, err)
		}
		if header.Typeflag == tar.TypeReg || header.Typeflag == tar.TypeGNUSparse {
			left -= min(header.Size, left+1)
		}
		if left < 0 {
			return fmt.Errorf("%q: with it there is more in the archive than its length: sparse files are not taken", header.Name)
		}
		if _, err := io.Copy(io.Discard, a); err != nil {
			return fmt.Errorf("%q: %w", header.Name, err)
		}
	}
}
