package audit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const rowsOf2 = `[{"seq":1,"time":"2026-11-22T08:00:00.005Z","celsius":21.150},{"seq":2,"time":"2026-11-22T08:00:00.105Z","celsius":-0.250}]`

func TestDir(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string // error, "" for none
	}{
		{"good", map[string]string{"history/000001.json": rowsOf2, "total.json": `{"count":2,"celsius":20.900}`}, ""},
		{"total behind", map[string]string{"history/000001.json": rowsOf2, "total.json": `{"count":1,"celsius":21.150}`}, ""},
		{"no total yet", map[string]string{"history/000001.json": rowsOf2}, ""},
		{"total ahead", map[string]string{"history/000001.json": rowsOf2, "total.json": `{"count":3,"celsius":20.900}`}, "does not fit"},
		{"total wrong", map[string]string{"history/000001.json": rowsOf2, "total.json": `{"count":2,"celsius":20.901}`}, "sum up to 20.900"},
		{"total of another schema", map[string]string{"history/000001.json": rowsOf2, "total.json": `{"count":2,"kelvin":20.900}`}, "does not fit"},
		{"repeat", map[string]string{"history/000001.json": rowsOf2, "history/000002.json": rowsOf2}, "000002.json: sequence number 1 where 3 belongs"},
		{"gap", map[string]string{"history/000002.json": `{"unit":"K","first":2,"kelvin":[1.000],"time":[1]}`}, "from 2, where 1 belongs"},
		{"mixed schemas", map[string]string{
			"history/000001.json": rowsOf2,
			"history/000002.json": `{"unit":"K","first":3,"kelvin":[1.000],"time":[1]}`,
		}, "schema 2 among files of schema 1"},
		{"checksum", map[string]string{"history/000001.json": `{"unit":"K","first":1,"kelvin":[1.000],"time":[1],"crc32":"0"}`}, "checksum 0 instead of"},
		{"nothing", nil, "no readings"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, content := range c.files {
				write(t, filepath.Join(dir, name), content)
			}
			report, err := Dir(dir)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, %v; want error %q", report.Readings, err, c.want)
			}
		})
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func FuzzSegment(f *testing.F) {
	f.Add([]byte(rowsOf2), 1)
	f.Add([]byte(`{"unit":"K","first":3,"kelvin":[1.000],"time":[1],"crc32":"0"}`), 3)
	f.Fuzz(func(t *testing.T, b []byte, first int) {
		schema, readings, err := Segment(b, first)
		if err == nil && (schema < 1 || schema > 3) {
			t.Errorf("%d readings of schema %d", len(readings), schema)
		}
	})
}
