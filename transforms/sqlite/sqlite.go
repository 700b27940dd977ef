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
// refuses the state, as do a foreign key that leads nowhere and a database
// found damaged afterwards. The component must have checkpointed a write-ahead
// log: here it is one file. SQL has no clock (it is always 2022-01-01) and the
// same random numbers each time.
func Filter(in io.Reader, out io.Writer, e transform.Edge) error {
	args := []string{"transform", strconv.Itoa(e.From), strconv.Itoa(e.To), e.File}
	var log bytes.Buffer
	switch code := engine.Run(args, []string{"PARAM_SQL=" + e.Params["sql"]}, in, out, &log); code {
	case 0:
		return nil
	case 2:
		reason := strings.TrimPrefix(log.String(), transform.ErrRefused.Error()+": ")
		return transform.Refuse("%s", strings.TrimSuffix(reason, "\n"))
	default:
		return errors.New(strings.TrimSuffix(log.String(), "\n"))
	}
}
