package host

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// SQLite keeps its write-ahead log and its rollback journal under these names
// beside a database, and believes them when it opens the database the next time.
const (
	logSuffix     = "-wal"
	journalSuffix = "-journal"
)

const sqliteMagic = "SQLite format 3\x00"

// CheckJournal is to be asked about each regular file of a state at rest, by
// its slash path in the directory dir, before the step is applied. It refuses
// the log or journal of a SQLite database that the step transforms, if SQLite
// would write it over the result: a module in filter mode sees the database
// alone, and what lies beside it is of its old pages. That is any log that is
// not empty, and a journal that does not begin with zero, as a committed one
// does with journal_mode=PERSIST (https://sqlite.org/fileformat2.html#the_rollback_journal).
// The error is an *[Error] of class [Refused].
//
// While a component runs, both are in use and say nothing.
func (s Step) CheckJournal(dir, file string) error {
	database, isLog := strings.CutSuffix(file, logSuffix)
	if !isLog {
		var isJournal bool
		if database, isJournal = strings.CutSuffix(file, journalSuffix); !isJournal {
			return nil
		}
	}
	if s.Module == "" || s.Mode == Tree || !s.matches(database) {
		return nil
	}
	begin, err := head(filepath.Join(dir, file), 1)
	if err != nil || len(begin) == 0 || !isLog && begin[0] == 0 {
		return err
	}
	is, err := s.transformsDatabase(filepath.Join(dir, database))
	if err != nil || !is {
		return err
	}
	reason := "%s is of a transaction that was cut off, and SQLite would roll it back over the new database: the component must end its transactions and close the database when it stops"
	if isLog {
		reason = "%s is not empty, and SQLite would write it over the new database: the component must checkpoint and close the database when it stops, or use PRAGMA journal_mode=DELETE"
	}
	return &Error{Class: Refused, Edge: s.edge(), File: database, Reason: fmt.Sprintf(reason, file)}
}

// transformsDatabase reports whether a file that the step is about is there and
// is a database, of SQLite's own format or by the step's word.
func (s Step) transformsDatabase(name string) (bool, error) {
	info, err := os.Lstat(name)
	if errors.Is(err, os.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return false, nil
	}
	if err != nil || s.Format == "sqlite" {
		return err == nil, err
	}
	begin, err := head(name, int64(len(sqliteMagic)))
	return string(begin) == sqliteMagic, err
}

// head returns the first bytes of a file, or all if it has fewer.
func head(name string, n int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	_, err = io.Copy(&b, io.LimitReader(f, n))
	return b.Bytes(), err
}
