package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A log or journal that SQLite would write over the result is refused; what it
// leaves beside a database that was closed is not.
func TestJournal(t *testing.T) {
	const hot, zeroed = "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", "\x00\x00\x00\x00\x00\x00\x00\x00pages"
	database, sqlite := sqliteMagic+"pages", Step{Format: "sqlite", Files: []string{"*/app.db"}}
	for name, test := range map[string]struct {
		step  Step
		files map[string]string
		want  string // the file that the error names
	}{
		"log":                    {sqlite, map[string]string{"d/app.db": database, "d/app.db-wal": "\x37\x7f"}, "d/app.db-wal"},
		"log, all zero":          {sqlite, map[string]string{"d/app.db": database, "d/app.db-wal": zeroed}, "d/app.db-wal"},
		"truncated log":          {sqlite, map[string]string{"d/app.db": database, "d/app.db-wal": "", "d/app.db-shm": "index"}, ""},
		"hot journal":            {sqlite, map[string]string{"d/app.db": database, "d/app.db-journal": hot}, "d/app.db-journal"},
		"of the first write":     {sqlite, map[string]string{"d/app.db": "", "d/app.db-journal": hot}, "d/app.db-journal"},
		"persisted journal":      {sqlite, map[string]string{"d/app.db": database, "d/app.db-journal": zeroed}, ""},
		"truncated journal":      {sqlite, map[string]string{"d/app.db": database, "d/app.db-journal": ""}, ""},
		"database of no step":    {sqlite, map[string]string{"app.db": database, "app.db-journal": hot}, ""},
		"without a database":     {sqlite, map[string]string{"d/app.db-journal": hot}, ""},
		"database in any format": {Step{}, map[string]string{"a": database, "a-wal": "x"}, "a-wal"},
		"no database":            {Step{Format: "json"}, map[string]string{"a": "{}", "a-wal": "{}", "a-journal": "{}"}, ""},
		"tree":                   {Step{Mode: Tree}, map[string]string{"a": database, "a-wal": "x"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			test.step.Module, test.step.From, test.step.To = "m", 1, 2
			dir := write(t, test.files)
			var err error
			for file := range test.files {
				if e := test.step.CheckJournal(dir, file); e != nil {
					err = e
				}
			}
			refusedFor(t, err, test.want)
		})
	}
}

// refusedFor wants the journal or log to be why, "" for no error.
func refusedFor(t *testing.T, err error, journal string) {
	t.Helper()
	if journal == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	if e := failed(t, err); e.Class != Refused || e.Edge != "1→2" || !strings.HasPrefix(e.Reason, journal+" is ") {
		t.Errorf("got %v", e)
	}
}

func TestRunRefusesJournal(t *testing.T) {
	in := write(t, map[string]string{"a": sqliteMagic, "a-wal": "x"})
	step := Step{Module: built("subject"), From: 1, To: 2, Files: []string{"a"}}
	out := filepath.Join(t.TempDir(), "out")
	_, err := (&Host{Cache: cache}).Run(t.Context(), []Step{step}, in, out, nil)
	if e := failed(t, err); e.Class != Refused || e.File != "a" {
		t.Errorf("got %v", e)
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("there is a result: %v", err)
	}
}

// A tree that has a log or journal must leave it and its database as they were.
func TestCheckCarried(t *testing.T) {
	const hot = "\xd9\xd5\x05\xf9"
	database := sqliteMagic + "pages"
	old := map[string]string{"d/a": database, "d/a-wal": "frames", "b": "text"}
	for name, test := range map[string]struct {
		old, made map[string]string
		want      string
	}{
		"as it was":            {old, old, ""},
		"renamed":              {old, map[string]string{"e/z": database, "e/z-wal": "frames"}, ""},
		"renamed apart":        {old, map[string]string{"d/z": database, "d/a-wal": "frames"}, "d/a-wal"},
		"the database changed": {old, map[string]string{"d/a": sqliteMagic + "other", "d/a-wal": "frames"}, "d/a-wal"},
		"the log changed":      {old, map[string]string{"d/a": database, "d/a-wal": "framed"}, "d/a-wal"},
		"the log is gone":      {old, map[string]string{"d/a": database}, "d/a-wal"},
		"both are gone":        {old, map[string]string{"a.json": "{}"}, "d/a-wal"},
		"hot journal":          {map[string]string{"a": database, "a-journal": hot}, map[string]string{"a": "new"}, "a-journal"},
		"as a hot journal was": {map[string]string{"a": database, "a-journal": hot}, map[string]string{"a": database, "a-journal": hot}, ""},
		"journal at rest":      {map[string]string{"a": database, "a-journal": ""}, map[string]string{"a": "new"}, ""},
		"no database":          {map[string]string{"a": "text", "a-wal": "text"}, map[string]string{"a": "new"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			step := Step{Module: "m", From: 1, To: 2, Mode: Tree}
			in, out := write(t, test.old), write(t, test.made)
			var err error
			for file := range test.old {
				if e := step.CheckCarried(in, out, file); e != nil {
					err = e
				}
			}
			refusedFor(t, err, test.want)
		})
	}
}

func TestRunRefusesJournalOfATree(t *testing.T) {
	in := write(t, map[string]string{"a": sqliteMagic, "a-wal": "x"})
	out := filepath.Join(t.TempDir(), "out")
	_, err := (&Host{Cache: cache}).Run(t.Context(), []Step{{Module: built("subject"), From: 1, To: 2, Mode: Tree}}, in, out, nil)
	if e := failed(t, err); e.Class != Refused || e.File != "a" {
		t.Errorf("got %v", e)
	}
	if _, err := os.Stat(out); !os.IsNotExist(err) {
		t.Errorf("there is a result: %v", err)
	}
}
