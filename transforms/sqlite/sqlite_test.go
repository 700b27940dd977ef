package sqlite

import (
	"bytes"
	_ "embed"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

// empty is a database of one page.
//
//go:embed testdata/empty.db
var empty []byte

func migrate(data []byte, sql string) ([]byte, error) {
	var out bytes.Buffer
	err := Filter(bytes.NewReader(data), &out, transform.Edge{From: 1, To: 2, File: "a.db", Params: map[string]string{"sql": sql}})
	return out.Bytes(), err
}

// database returns the bytes of a database that SQL makes.
func database(t testing.TB, sql string) []byte {
	t.Helper()
	data, err := migrate(empty, sql)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// holds asks the database whether a condition is true.
func holds(t testing.TB, data []byte, condition string) {
	t.Helper()
	if _, err := migrate(data, "CREATE TEMP TABLE wanted (it CHECK (it)); INSERT INTO wanted SELECT "+condition); err != nil {
		t.Errorf("%s: %v", condition, err)
	}
}

const (
	readings = `CREATE TABLE reading (at INTEGER PRIMARY KEY, celsius REAL) STRICT;
		INSERT INTO reading VALUES (1, 20.5), (2, 21);`
	toKelvin = `ALTER TABLE reading RENAME COLUMN celsius TO kelvin; UPDATE reading SET kelvin = kelvin + 273.15; PRAGMA user_version = 2`
)

func TestMigrate(t *testing.T) {
	old := database(t, readings)
	up, err := migrate(old, toKelvin)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, up, "group_concat(kelvin) = '293.65,294.15' FROM reading")
	holds(t, up, "user_version = 2 FROM pragma_user_version")
	if again, err := migrate(old, toKelvin); err != nil || !bytes.Equal(up, again) {
		t.Errorf("another run gives other bytes; %v", err)
	}
}

// It depends on nothing but the database and the SQL.
func TestPure(t *testing.T) {
	const sql = `CREATE TABLE t AS SELECT random() AS r, datetime('now') AS now, randomblob(8) AS b`
	one, other := database(t, sql), database(t, sql)
	if !bytes.Equal(one, other) {
		t.Error("two runs differ")
	}
	holds(t, one, "now = '2022-01-01 00:00:00' FROM t")
}

// A database larger than a piece of memory grows and shrinks.
func TestSizes(t *testing.T) {
	old := database(t, `CREATE TABLE t (x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
		INSERT INTO t SELECT zeroblob(10000) FROM n`)
	if len(old) < 5_000_000 {
		t.Fatalf("%d bytes", len(old))
	}
	less, err := migrate(old, `PRAGMA incremental_vacuum; DELETE FROM t WHERE rowid > 1; DROP TABLE t; CREATE TABLE u AS SELECT 7 AS x`)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, less, "x = 7 FROM u")
}

// Check finds what the format alone does not show.
func TestCheck(t *testing.T) {
	large := database(t, `CREATE TABLE t (x); CREATE INDEX i ON t (x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
		INSERT INTO t SELECT 'row ' || i FROM n; DELETE FROM t WHERE rowid % 7 = 0`)
	wal := bytes.Clone(large)
	wal[18], wal[19] = 2, 2
	inside := bytes.Replace(large, []byte("row 1234"), []byte("row 1235"), 1)
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"sound":         {large, ""},
		"with a log":    {wal, ""},
		"a row":         {inside, "missing from index i"},
		"cut":           {large[:len(large)-4096], "malformed"},
		"other content": {append(bytes.Clone(large[:4096]), make([]byte, len(large)-4096)...), "state refused: Tree 2 page 2: btreeInitPage()"},
		"no database":   {[]byte("text"), "file is not a database"},
	} {
		err := Check(bytes.NewReader(test.data))
		if (err == nil) != (test.want == "") || err != nil && (!errors.Is(err, transform.ErrRefused) || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if err := Check(struct{ io.Reader }{bytes.NewReader(large)}); err == nil || errors.Is(err, transform.ErrRefused) {
		t.Errorf("without seeking: %v", err)
	}
}

// A database with a write-ahead log stays one.
func TestWriteAheadLog(t *testing.T) {
	old := database(t, readings)
	old[18], old[19] = 2, 2 // the versions for readers and writers
	up, err := migrate(old, `DELETE FROM reading WHERE at = 1`)
	if err != nil {
		t.Fatal(err)
	}
	if up[18] != 2 || up[19] != 2 {
		t.Errorf("it lost its log: %v", up[18:20])
	}
	holds(t, up, "count(*) = 1 FROM reading")
}

func TestRefuses(t *testing.T) {
	old := database(t, readings+`CREATE TABLE sensor (id INTEGER PRIMARY KEY); CREATE TABLE place (sensor REFERENCES sensor);`)
	for name, test := range map[string]struct {
		data []byte
		sql  string
		want string
	}{
		"no database":  {[]byte("text"), "SELECT 1", "a.db is no SQLite database"},
		"empty":        {nil, "SELECT 1", "is no SQLite database"},
		"no pages":     {append([]byte("SQLite format 3\x00"), make([]byte, 4096)...), "SELECT * FROM sqlite_schema", "file is not a database"},
		"bad SQL":      {old, "ALTER TABLE gone RENAME TO here", "no such table: gone"},
		"no row":       {old, "INSERT INTO place VALUES (7)", "a row of place refers to a row of sensor that is not there"},
		"files":        {old, "ATTACH 'other.db' AS other", "too many attached databases"},
		"its own end":  {old, "COMMIT", "cannot commit"},
		"deep":         {old, "SELECT " + strings.Repeat("(", 300) + "1" + strings.Repeat("+1)", 300), "Expression tree is too large"},
		"constraint":   {old, "INSERT INTO reading VALUES (1, 2)", "UNIQUE constraint failed"},
		"half a query": {old, "SELECT", "incomplete input"},
	} {
		_, err := migrate(test.data, test.sql)
		if !errors.Is(err, transform.ErrRefused) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := migrate(old, ""); err == nil || errors.Is(err, transform.ErrRefused) {
		t.Errorf("no SQL: %v", err)
	}
}

// Whatever the database, Check says what it thinks of it, and a migration makes
// one or refuses. SQLite never runs out of bounds of its memory on the way.
func FuzzDatabase(f *testing.F) {
	f.Add(empty, uint16(0), byte(0))
	f.Add(database(f, readings+`CREATE INDEX i ON reading (celsius); CREATE VIEW v AS SELECT at FROM reading`), uint16(5000), byte(7))
	f.Fuzz(func(t *testing.T, data []byte, at uint16, value byte) {
		if int(at) < len(data) {
			data[at] = value
		}
		if err := Check(bytes.NewReader(data)); err != nil && err.Error() == "" {
			t.Error("no reason")
		}
		made, err := migrate(data, "PRAGMA writable_schema = ON; CREATE TABLE IF NOT EXISTS a (b); INSERT INTO a VALUES (1)")
		if err == nil && !bytes.HasPrefix(made, []byte("SQLite format 3\x00")) {
			t.Errorf("it made %d bytes of something else", len(made))
		}
	})
}

// What no database can make right is found without one, with its line; what
// depends on the database is not held against the SQL.
func TestCheckSQL(t *testing.T) {
	for sql, want := range map[string]string{
		readings:                "",
		toKelvin:                "",
		"-- nothing\n":          "",
		"SELECT a FROM t; ;;\n": "",
		"UPDATE t SET a = b + 1 WHERE c IN (SELECT d FROM u JOIN main.v USING (e))":                     "",
		"CREATE TABLE n (a); INSERT INTO n SELECT b FROM o; DROP TABLE o; ALTER TABLE n RENAME TO o":    "",
		"CREATE TRIGGER g AFTER INSERT ON t BEGIN UPDATE t SET a = new.a; DELETE FROM u; END; SELECT 1": "",
		"DROP INDEX i; DROP VIEW v; DROP TRIGGER g; REINDEX x; PRAGMA user_version = 2":                 "",
		"CREATE VIEW v AS SELECT a FROM nowhere; DELETE FROM v":                                         "",
		"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n":               "", // is not run
		"ALTER TABLE t ADD COLUMN c TEXT NOT NULL DEFAULT ''":                                           "",

		"SELECT 1;\nUPDTE t SET a = 1":                                          `line 2: near "UPDTE": syntax error`,
		"SELECT 1;\n\nUPDATE t\nSET a == 1 WERE b":                              `line 4: near`,
		"-- a comment; with a semicolon\n/* and\nanother; */ SELECT (1":         `line 3: incomplete input`,
		"SELECT 'open;\nSELECT 2;":                                              `line 1: unrecognized token`,
		"ALTER TABLE t ADD COLUMN c TEXT,\n d TEXT":                             `line 1: near ",": syntax error`,
		"CREATE TRIGGER g AFTER INSERT ON t BEGIN\n UPDATE t SETT a = 1;\nEND;": `line 2: near "SETT": syntax error`,
		"CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM u;":               `line 1: incomplete input`,
		"SELECT frobnicate(1)":                                                  `line 1: no such function: frobnicate`,
		"SELECT 1;\nSELECT pow(1) FROM t":                                       `line 2: wrong number of arguments to function pow()`,
		"SELECT frobnicate(2) FROM t":                                           `line 1: no such function: frobnicate`,
		`SELECT "word"`:                                                         `line 1: no such column: "word"`,
		"CREATE TABLE t (a, a)":                                                 `line 1: duplicate column name: a`,
		"SELECT 1;\nBEGIN IMMEDIATE":                                            `line 2: the SQL runs in one transaction already: leave BEGIN, COMMIT and ROLLBACK out`,
		"UPDATE t SET a = 1; COMMIT":                                            `line 1: the SQL runs in one transaction already`,
		"\nVACUUM":                                                              `line 2: cannot VACUUM from within a transaction`,
		"ATTACH 'other.db' AS o":                                                `line 1: there is no other database to attach`,
		"SELECT " + strings.Repeat("1+", 300) + "1":                             `line 1: Expression tree is too large`,
		"": "the param sql is missing",
	} {
		err := CheckSQL(map[string]string{"sql": sql})
		if (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%.60q: got %v, want %q", sql, err, want)
		}
		if want == "" {
			continue
		}
		if _, err := migrate(empty, sql); err == nil {
			t.Errorf("%.60q is refused, and runs", sql)
		}
	}
}

// Tables of R-Tree are there; those of another module may be in the database, as
// long as the SQL leaves them alone.
func TestModules(t *testing.T) {
	boxes := database(t, `CREATE VIRTUAL TABLE box USING rtree (id, x0, x1, y0, y1); INSERT INTO box VALUES (1, 0, 10, 0, 10), (2, 20, 30, 20, 30)`)
	holds(t, boxes, "group_concat(id) = '2' FROM box WHERE x0 >= 15")
	if err := Check(bytes.NewReader(boxes)); err != nil {
		t.Error(err)
	}
	other := database(t, readings+`CREATE TABLE note_data (id INTEGER PRIMARY KEY, block BLOB); PRAGMA writable_schema = ON;
		INSERT INTO sqlite_schema VALUES ('table', 'note', 'note', 0, 'CREATE VIRTUAL TABLE note USING fts5(text)')`)
	up, err := migrate(other, toKelvin+"; CREATE INDEX i ON reading (kelvin); DROP TABLE IF EXISTS gone")
	if err != nil {
		t.Fatal(err)
	}
	holds(t, up, "sum(kelvin) = 587.8 FROM reading")
	if err := Check(bytes.NewReader(up)); err != nil {
		t.Error(err)
	}
	const want = "no such module: fts5, which this SQLite does not have: the SQL must leave the tables made with it alone"
	for _, sql := range []string{
		"DELETE FROM note", "DROP TABLE note", "CREATE VIRTUAL TABLE more USING fts5(text)",
	} {
		if _, err := migrate(other, sql); !errors.Is(err, transform.ErrRefused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", sql, err)
		}
	}
}
