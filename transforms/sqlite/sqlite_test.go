package sqlite

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/ext/serdes"
	"github.com/tranquil-iot/tranquil/sdk/transform"
)

// database returns the bytes of a database that SQL makes.
func database(t testing.TB, sql string) []byte {
	t.Helper()
	db, err := sqlite3.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Exec(sql); err != nil {
		t.Fatal(err)
	}
	data, err := serdes.Serialize(db, "main")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// value returns the first column of the first row.
func value(t testing.TB, data []byte, query string) string {
	t.Helper()
	db, err := sqlite3.Open(":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := serdes.Deserialize(db, "main", data); err != nil {
		t.Fatal(err)
	}
	rows, _, err := db.Prepare(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	rows.Step()
	return rows.ColumnText(0)
}

func run(data []byte, sql string) ([]byte, error) {
	var out bytes.Buffer
	err := Filter(bytes.NewReader(data), &out, transform.Edge{From: 1, To: 2, File: "a.db", Params: map[string]string{"sql": sql}})
	return out.Bytes(), err
}

const readings = `CREATE TABLE reading (at INTEGER PRIMARY KEY, celsius REAL) STRICT;
	INSERT INTO reading VALUES (1, 20.5), (2, 21);`

func TestMigrate(t *testing.T) {
	old := database(t, readings)
	up, err := run(old, `ALTER TABLE reading RENAME COLUMN celsius TO kelvin; UPDATE reading SET kelvin = kelvin + 273.15; PRAGMA user_version = 2`)
	if err != nil {
		t.Fatal(err)
	}
	if got := value(t, up, "SELECT group_concat(kelvin) FROM reading"); got != "293.65,294.15" {
		t.Error(got)
	}
	if got := value(t, up, "PRAGMA user_version"); got != "2" {
		t.Error(got)
	}
	again, err := run(old, `ALTER TABLE reading RENAME COLUMN celsius TO kelvin; UPDATE reading SET kelvin = kelvin + 273.15; PRAGMA user_version = 2`)
	if err != nil || !bytes.Equal(up, again) {
		t.Errorf("another run gives other bytes; %v", err)
	}
}

// A database with a write-ahead log stays one.
func TestWriteAheadLog(t *testing.T) {
	old := database(t, readings)
	old[versions], old[versions+1] = 2, 2
	up, err := run(old, `DELETE FROM reading WHERE at = 1`)
	if err != nil {
		t.Fatal(err)
	}
	if up[versions] != 2 || up[versions+1] != 2 {
		t.Errorf("it lost its log: %v", up[versions:versions+2])
	}
	up[versions], up[versions+1] = 1, 1
	if got := value(t, up, "SELECT count(*) FROM reading"); got != "1" {
		t.Error(got)
	}
}

func TestRefuses(t *testing.T) {
	old := database(t, readings+`CREATE TABLE sensor (id INTEGER PRIMARY KEY); CREATE TABLE place (sensor REFERENCES sensor);`)
	for name, test := range map[string]struct {
		data []byte
		sql  string
		want string
	}{
		"no database": {[]byte("text"), "SELECT 1", "a.db is no SQLite database"},
		"empty":       {nil, "SELECT 1", "is no SQLite database"},
		"damaged":     {append([]byte(magic), make([]byte, 4096)...), "SELECT * FROM sqlite_schema", ""},
		"bad SQL":     {old, "ALTER TABLE gone RENAME TO here", "no such table: gone"},
		"no row":      {old, "INSERT INTO place VALUES (7)", "a row of place refers to a row of sensor that is not there"},
		"files":       {old, "ATTACH 'other.db' AS other", ""},
	} {
		_, err := run(test.data, test.sql)
		if !errors.Is(err, transform.ErrRefused) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := run(old, ""); err == nil || errors.Is(err, transform.ErrRefused) {
		t.Errorf("no SQL: %v", err)
	}
}
