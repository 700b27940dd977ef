// Package audit verifies the state directory of a sensor adapter, of any
// version: the sequence runs from 1 to N with no gap and no repeat, and the
// total is right. It shares no code with the adapters beyond exact
// temperatures, so that it does not repeat their mistakes. The directory may
// belong to an adapter that runs.
package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/internal/milli"
)

// A Report tells what a state directory holds.
type Report struct {
	Schema   int // of the state: 1, 2 or 3
	Segments int // files of the history
	Readings []Reading
}

// A Reading is one entry of the history, in the same form for every schema.
type Reading struct {
	Time    int64 // milliseconds since 1970
	Celsius milli.Degrees
}

// Count returns N, the last sequence number.
func (r Report) Count() int { return len(r.Readings) }

// Digest identifies the first n readings, whatever schema they are kept in:
// an update must not change it. It is empty if there are less.
func (r Report) Digest(n int) string {
	if n > len(r.Readings) {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, r.Readings[:n])))[:16]
}

// String says what was found in one line.
func (r Report) String() string {
	last := r.Readings[len(r.Readings)-1]
	return fmt.Sprintf("schema %d, readings 1 to %d in %d files, total correct, last %s °C",
		r.Schema, r.Count(), r.Segments, last.Celsius)
}

// Dir verifies the state in dir. The error says what is wrong with it.
func Dir(dir string) (Report, error) {
	// The total is written after the history and read before it: whatever
	// happens in between, the history has at least what the total counts.
	total, err := os.ReadFile(filepath.Join(dir, "total.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Report{}, err
	}
	paths, err := filepath.Glob(filepath.Join(dir, "history", "*.json"))
	if err != nil {
		return Report{}, err
	}
	var r Report
	for _, path := range paths {
		if err := r.read(path); err != nil {
			return r, fmt.Errorf("%s: %w", filepath.Base(path), err)
		}
	}
	if r.Count() == 0 {
		return r, fmt.Errorf("no readings in %s", dir)
	}
	return r, r.checkTotal(total)
}

// read appends the readings of one segment.
func (r *Report) read(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	schema, readings, err := Segment(b, r.Count()+1)
	if err != nil {
		return err
	}
	if r.Schema != 0 && r.Schema != schema {
		return fmt.Errorf("schema %d among files of schema %d", schema, r.Schema)
	}
	r.Schema, r.Segments = schema, r.Segments+1
	r.Readings = append(r.Readings, readings...)
	return nil
}

// Segment decodes one file of the history, of any schema, that must begin
// with sequence number first and have no gap.
func Segment(b []byte, first int) (schema int, readings []Reading, err error) {
	if bytes.HasPrefix(b, []byte("[")) {
		readings, err = rows(b, first)
		return 1, readings, err
	}
	return columns(b, first)
}

func rows(b []byte, first int) ([]Reading, error) {
	var rows []struct {
		Seq     int
		Time    time.Time
		Celsius milli.Degrees
	}
	if err := json.Unmarshal(b, &rows); err != nil {
		return nil, err
	}
	readings := make([]Reading, len(rows))
	for i, row := range rows {
		if row.Seq != first+i {
			return nil, fmt.Errorf("sequence number %d where %d belongs", row.Seq, first+i)
		}
		readings[i] = Reading{Time: row.Time.UnixMilli(), Celsius: row.Celsius}
	}
	return readings, nil
}

func columns(b []byte, first int) (schema int, readings []Reading, err error) {
	var c struct {
		Unit   string
		First  int
		Kelvin []milli.Degrees
		Time   []int64
		CRC32  *string
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return 0, nil, err
	}
	if c.Unit != "K" || c.First != first || len(c.Kelvin) != len(c.Time) {
		return 0, nil, fmt.Errorf("%d readings and %d times in %q from %d, where %d belongs",
			len(c.Kelvin), len(c.Time), c.Unit, c.First, first)
	}
	for i, k := range c.Kelvin {
		readings = append(readings, Reading{Time: c.Time[i], Celsius: k - milli.ZeroCelsius})
	}
	if c.CRC32 == nil {
		return 2, readings, nil
	}
	sum := fmt.Sprintf("%08x", crc32.ChecksumIEEE(fmt.Append(nil, c.First, c.Kelvin, c.Time)))
	if sum != *c.CRC32 {
		return 3, nil, fmt.Errorf("checksum %s instead of %s", *c.CRC32, sum)
	}
	return 3, readings, nil
}

// checkTotal compares the total with the sum of the readings it counts. A
// total may be missing or behind: a crash can come between the two.
func (r Report) checkTotal(b []byte) error {
	if b == nil {
		return nil
	}
	var t struct {
		Count           int
		Celsius, Kelvin *milli.Degrees
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return fmt.Errorf("total.json: %w", err)
	}
	if t.Count > r.Count() || (t.Celsius == nil) == (t.Kelvin == nil) || (t.Celsius != nil) != (r.Schema == 1) {
		return fmt.Errorf("total.json does not fit to %d readings of schema %d: %s", r.Count(), r.Schema, b)
	}
	var sum milli.Degrees
	for _, reading := range r.Readings[:max(t.Count, 0)] {
		sum += reading.Celsius
	}
	if t.Kelvin != nil {
		sum += milli.Degrees(t.Count) * milli.ZeroCelsius
		t.Celsius = t.Kelvin
	}
	if sum != *t.Celsius {
		return fmt.Errorf("total.json says %s, the readings sum up to %s", *t.Celsius, sum)
	}
	return nil
}
