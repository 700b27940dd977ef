// Package sqlite is a ready-made state transform: it runs SQL on a SQLite
// database. The command line makes its param from a folder of migrations.
package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/serdes"
	"github.com/tranquil-iot/tranquil/sdk/transform"
)

// magic begins every database, https://sqlite.org/fileformat.html.
const magic = "SQLite format 3\x00"

// Where the header says whether the database has a write-ahead log (2) or not
// (1), once for readers and once for writers.
const versions = 18

// Filter is the transform. Its param "sql" is run in one transaction. An error
// refuses the state, as does a foreign key that leads nowhere afterwards. The
// component must have checkpointed a write-ahead log: here it is one file.
func Filter(in io.Reader, out io.Writer, e transform.Edge) error {
	sql := e.Params["sql"]
	if sql == "" {
		return errors.New("the param sql is missing")
	}
	data, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(data, []byte(magic)) || len(data) < 100 {
		return transform.Refuse("%s is no SQLite database", e.File)
	}
	log := [2]byte(data[versions:])
	data[versions], data[versions+1] = 1, 1
	data, err = migrate(data, sql)
	if err != nil {
		return transform.Refuse("%v", err)
	}
	copy(data[versions:], log[:])
	_, err = out.Write(data)
	return err
}

func migrate(data []byte, sql string) ([]byte, error) {
	db, err := sqlite3.Open(":memory:")
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if err := serdes.Deserialize(db, "main", data); err != nil {
		return nil, fmt.Errorf("cannot read the database: %w", err)
	}
	db.Limit(sqlite3.LIMIT_ATTACHED, 0) // there are no other files
	if err := db.Exec("PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = OFF; BEGIN IMMEDIATE"); err != nil {
		return nil, err
	}
	if err := db.Exec(sql); err != nil {
		return nil, err
	}
	if err := checkKeys(db); err != nil {
		return nil, err
	}
	if err := db.Exec("COMMIT"); err != nil {
		return nil, err
	}
	return serdes.Serialize(db, "main")
}

func checkKeys(db *sqlite3.Conn) error {
	rows, _, err := db.Prepare("PRAGMA foreign_key_check")
	if err != nil {
		return err
	}
	defer rows.Close()
	if rows.Step() {
		return fmt.Errorf("a row of %s refers to a row of %s that is not there", rows.ColumnText(0), rows.ColumnText(2))
	}
	return rows.Err()
}
