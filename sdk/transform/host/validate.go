package host

import (
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
var validators = map[string]func(io.ReadSeeker) error{
	"":       func(io.ReadSeeker) error { return nil },
	"bytes":  func(io.ReadSeeker) error { return nil },
	"json":   func(r io.ReadSeeker) error { return validateJSON(r) },
	"ndjson": func(r io.ReadSeeker) error { return validateLines(r) },
	"sqlite": validateSQLite,
	"tar":    validateTar,
}

// validate checks a result from its start, until ctx ends.
func validate(ctx context.Context, format string, f io.ReadSeeker) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	err := validators[format](struct {
		until
		io.Seeker
	}{until{ctx, f}, f})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return &Error{Class: Invalid, Reason: fmt.Sprintf("it is not %s: %s", format, firstLine(printable(err.Error())))}
	}
	return nil
}

// validateTar wants whole entries with names that stay inside.
func validateTar(r io.ReadSeeker) error {
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
		if _, err := io.Copy(io.Discard, a); err != nil {
			return fmt.Errorf("%q: %w", header.Name, err)
		}
	}
}
