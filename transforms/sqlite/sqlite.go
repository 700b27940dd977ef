// Package sqlite is a ready-made state transform: it runs SQL on a SQLite
// database. The command line makes its param from a folder of migrations.
package sqlite

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/transform"
	"github.com/tranquil-iot/tranquil/transforms/sqlite/engine"
)

// Filter is the transform. Its param "sql" is run in one transaction. An error
// refuses the state, as does a foreign key that leads nowhere afterwards. The
// component must have checkpointed a write-ahead log: here it is one file. SQL has no clock (it is always 2022-01-01) and the
// same random numbers each time.
func Filter(in io.Reader, out io.Writer, e transform.Edge) error {
	args := []string{"transform", strconv.Itoa(e.From), strconv.Itoa(e.To), e.File}
	return run(args, []string{"PARAM_SQL=" + e.Params["sql"]}, in, out)
}

// Check refuses a database in which SQLite's integrity_check finds something. It
// reads it where it lies, so it needs little memory; in must be an io.Seeker. One
// with functions or collations of a program's own is not judged.
func Check(in io.Reader) error { return run([]string{"check"}, nil, in, io.Discard) }

// CheckSQL returns what no database can make right in the SQL: its syntax,
// functions that are not there, transactions of its own. It does not know what
// tables and columns there are. Errors begin with the line.
func CheckSQL(params map[string]string) error {
	err := run([]string{"parse"}, []string{"PARAM_SQL=" + params["sql"]}, nil, io.Discard)
	if errors.Is(err, transform.ErrRefused) {
		return errors.New(strings.TrimPrefix(err.Error(), transform.ErrRefused.Error()+": "))
	}
	return err
}

func run(args, env []string, in io.Reader, out io.Writer) error {
	var log bytes.Buffer
	switch engine.Run(args, env, in, out, &log) {
	case 0:
		return nil
	case 2:
		reason := strings.TrimPrefix(log.String(), transform.ErrRefused.Error()+": ")
		return transform.Refuse("%s", strings.TrimSuffix(reason, "\n"))
	default:
		return errors.New(strings.TrimSuffix(log.String(), "\n"))
	}
}
