package main

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/audit"
	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/internal/milli"
)

// chain is the same file in every schema.
type chain map[int]string

var files = map[string]chain{
	"history/000002.json": {
		1: `[{"seq":251,"time":"2026-11-22T08:00:00.005Z","celsius":21.150},{"seq":252,"time":"2026-11-22T08:00:00.105Z","celsius":-0.250}]`,
		2: `{"unit":"K","first":251,"kelvin":[294.300,272.900],"time":[1795334400005,1795334400105]}`,
		3: `{"unit":"K","first":251,"kelvin":[294.300,272.900],"time":[1795334400005,1795334400105],"crc32":"%s"}`,
	},
	"total.json": {
		1: `{"count":4000,"celsius":84013.250}`,
		2: `{"count":4000,"kelvin":1176613.250}`,
	},
	"calibration.json": {
		1: `{"sensor":"SIM-1","offset":0.150}`,
		2: `{"sensor":"SIM-1","bias":0.150}`,
	},
}

func TestEveryEdgeAndItsWayBack(t *testing.T) {
	for file, schemas := range files {
		for _, edge := range [][2]int{{1, 2}, {2, 1}, {2, 3}, {3, 2}} {
			from, to := schemas.at(edge[0]), schemas.at(edge[1])
			if from == "" || to == "" {
				continue
			}
			got, err := convert(edge[0], edge[1], file, []byte(from))
			if err != nil {
				t.Errorf("%s %v: %v", file, edge, err)
			}
			if diff := cmp.Diff(to, string(got)); diff != "" {
				t.Errorf("%s %v (-want +got):\n%s", file, edge, diff)
			}
		}
	}
}

func (c chain) at(schema int) string {
	if schema == 3 && c[3] != "" {
		return fmt.Sprintf(c[3], columns{First: 251, Kelvin: []milli.Degrees{294300, 272900}, Time: []int64{1795334400005, 1795334400105}}.checksum())
	}
	return c[schema]
}

func TestAuditReadsEverySchemaAlike(t *testing.T) {
	var first []audit.Reading
	for schema := 1; schema <= 3; schema++ {
		got, readings, err := audit.Segment([]byte(files["history/000002.json"].at(schema)), 251)
		if err != nil || got != schema {
			t.Fatalf("schema %d: read as %d, %v", schema, got, err)
		}
		if first == nil {
			first = readings
		}
		if diff := cmp.Diff(first, readings); diff != "" {
			t.Errorf("schema %d:\n%s", schema, diff)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name     string
		from, to int
		file, in string
	}{
		{"unknown edge", 1, 3, "total.json", `{}`},
		{"unknown file", 1, 2, "notes.txt", `{}`},
		{"not JSON", 1, 2, "total.json", `{"count":`},
		{"empty segment", 1, 2, "history/000001.json", `[]`},
		{"gap", 1, 2, "history/000001.json", `[{"seq":1,"time":"2026-11-22T08:00:00.000Z"},{"seq":3,"time":"2026-11-22T08:00:00.000Z"}]`},
		{"bad time", 1, 2, "history/000001.json", `[{"seq":1,"time":"noon"}]`},
		{"ragged columns", 2, 1, "history/000001.json", `{"kelvin":[1.000],"time":[]}`},
		{"wrong checksum", 3, 2, "history/000001.json", `{"kelvin":[],"time":[],"crc32":"00000000"}`},
	} {
		if out, err := convert(c.from, c.to, c.file, []byte(c.in)); err == nil {
			t.Errorf("%s: accepted as %s", c.name, out)
		}
	}
}

func FuzzThereAndBack(f *testing.F) {
	for file, schemas := range files {
		f.Add(file, []byte(schemas[1]))
	}
	f.Fuzz(func(t *testing.T, file string, in []byte) {
		there, err := convert(1, 2, file, in)
		if err != nil {
			return
		}
		back, err := convert(2, 1, file, there)
		if err != nil {
			t.Fatalf("%s became %s, which has no way back: %v", in, there, err)
		}
		again, err := convert(1, 2, file, back)
		if err != nil || !bytes.Equal(again, there) {
			t.Fatalf("%s became %s, then %s: %v", in, there, again, err)
		}
	})
}
