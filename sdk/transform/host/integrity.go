package host

import (
	"errors"
	"io"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

// Integrity is the name in the natives of [Main] of code that refuses a
// database in which SQLite finds something wrong. It gets one that is already
// of the format, as an io.ReadSeeker, and writes nothing.
const Integrity = "sqlite integrity"

// integrity is a sandbox's work like a judge's. Without code it accepts
// everything: then the format is all that is checked.
type integrity struct{ code Native }

func (i integrity) run(_ job, in io.Reader, _, _ io.Writer) (result outcome) {
	if i.code == nil {
		return outcome{}
	}
	defer func() {
		if recover() != nil { // SQLite is C, and the database is a stranger's
			result = outcome{Class: Invalid, Reason: "it is not a database that SQLite can read"}
		}
	}()
	err := i.code(in, io.Discard, transform.Edge{})
	if err == nil {
		return outcome{}
	}
	reason := strings.TrimPrefix(err.Error(), transform.ErrRefused.Error()+": ")
	if errors.Is(err, transform.ErrRefused) {
		return outcome{Class: Invalid, Reason: "the database is damaged: " + firstLine(printable(reason))}
	}
	return outcome{Class: Crash, Reason: "cannot check the database: " + firstLine(printable(reason))}
}
