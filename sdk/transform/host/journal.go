package host

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
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
// its slash path in the directory dir, before the step is applied; for a step in
// mode tree there is [Step.CheckCarried]. It refuses
// the log or journal of a SQLite database that the step transforms, if SQLite
// would write it over the result: a module in filter mode sees the database
// alone, and what lies beside it is of its old pages. That is any log that is
// not empty, and a journal that does not begin with zero, as a committed one
// does with journal_mode=PERSIST (https://sqlite.org/fileformat2.html#the_rollback_journal).
// The error is an *[Error] of class [Refused].
//
// While a component runs, both are in use and say nothing.
func (s Step) CheckJournal(dir, file string) error {
	if s.Mode == Tree {
		return nil
	}
	return s.checkJournal(dir, file)
}

// CheckCarried is CheckJournal for a step in mode tree, to be asked when the step
// has made the directory out of the directory in. Its module has seen the log
// or journal as well, but what SQLite would make of it and the database it can
// hardly tell. So both must be in the result as they were, side by side under
// whatever name.
func (s Step) CheckCarried(in, out, file string) error {
	if s.Mode != Tree {
		return nil
	}
	refused := s.checkJournal(in, file)
	if _, ok := errors.AsType[*Error](refused); !ok {
		return refused
	}
	suffix := logSuffix
	if strings.HasSuffix(file, journalSuffix) {
		suffix = journalSuffix
	}
	found := errors.New("found")
	err := filepath.WalkDir(out, func(name string, d fs.DirEntry, err error) error {
		database, isOne := strings.CutSuffix(name, suffix)
		if err != nil || !isOne || !d.Type().IsRegular() {
			return err
		}
		same, err := sameContent(name, filepath.Join(in, file))
		if same && err == nil {
			same, err = sameContent(database, filepath.Join(in, strings.TrimSuffix(file, suffix)))
		}
		if same && err == nil {
			return found
		}
		return err
	})
	switch {
	case errors.Is(err, found):
		return nil
	case err != nil:
		return err
	}
	return refused
}

// sameContent compares two files; one that is not there is like no other.
func sameContent(one, other string) (bool, error) {
	a, err := os.Open(one)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := os.Open(other)
	if err != nil {
		return false, err
	}
	defer b.Close()
	infoA, errA := a.Stat()
	infoB, errB := b.Stat()
	if err := errors.Join(errA, errB); err != nil || infoA.Size() != infoB.Size() {
		return false, err
	}
	left, right := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(a, left)
		m, _ := io.ReadFull(b, right)
		if n != m || !bytes.Equal(left[:n], right[:m]) {
			return false, nil
		}
		if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}

func (s Step) checkJournal(dir, file string) error {
	database, isLog := strings.CutSuffix(file, logSuffix)
	if !isLog {
		var isJournal bool
		if database, isJournal = strings.CutSuffix(file, journalSuffix); !isJournal {
			return nil
		}
	}
	if s.Module == "" || !s.matches(database) {
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
