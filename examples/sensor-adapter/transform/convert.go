package main

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/internal/milli"
)

const timeLayout = "2006-01-02T15:04:05.000Z"

// row is one reading of schema 1, a segment of which is a list of rows.
type row struct {
	Seq     int           `json:"seq"`
	Time    string        `json:"time"`
	Celsius milli.Degrees `json:"celsius"`
}

// columns is a segment of schemas 2 and 3; only 3 has the checksum.
type columns struct {
	Unit   string          `json:"unit"`
	First  int             `json:"first"`
	Kelvin []milli.Degrees `json:"kelvin"`
	Time   []int64         `json:"time"`
	CRC32  string          `json:"crc32,omitempty"`
}

type celsiusTotal struct {
	Count   int           `json:"count"`
	Celsius milli.Degrees `json:"celsius"`
}

type kelvinTotal struct {
	Count  int           `json:"count"`
	Kelvin milli.Degrees `json:"kelvin"`
}

type offset struct {
	Sensor string        `json:"sensor"`
	Offset milli.Degrees `json:"offset"`
}

type bias struct {
	Sensor string        `json:"sensor"`
	Bias   milli.Degrees `json:"bias"`
}

// convert returns the new content of one file of the state.
func convert(from, to int, file string, old []byte) ([]byte, error) {
	kind, _, _ := strings.Cut(file, "/")
	switch edge := fmt.Sprintf("%d→%d %s", from, to, kind); edge {
	case "1→2 history":
		return apply(old, toColumns)
	case "1→2 total.json":
		return apply(old, func(t celsiusTotal) (kelvinTotal, error) {
			return kelvinTotal{t.Count, t.Celsius + milli.Degrees(t.Count)*milli.ZeroCelsius}, nil
		})
	case "1→2 calibration.json":
		return apply(old, func(o offset) (bias, error) { return bias{o.Sensor, o.Offset}, nil })
	case "2→1 history":
		return apply(old, toRows)
	case "2→1 total.json":
		return apply(old, func(t kelvinTotal) (celsiusTotal, error) {
			return celsiusTotal{t.Count, t.Kelvin - milli.Degrees(t.Count)*milli.ZeroCelsius}, nil
		})
	case "2→1 calibration.json":
		return apply(old, func(b bias) (offset, error) { return offset{b.Sensor, b.Bias}, nil })
	case "2→3 history":
		return apply(old, addChecksum)
	case "3→2 history":
		return apply(old, dropChecksum)
	default:
		return nil, fmt.Errorf("no rule for %s", edge)
	}
}

// apply decodes a file, changes it and encodes it again.
func apply[From, To any](old []byte, change func(From) (To, error)) ([]byte, error) {
	var from From
	if err := json.Unmarshal(old, &from); err != nil {
		return nil, err
	}
	to, err := change(from)
	if err != nil {
		return nil, err
	}
	return json.Marshal(to)
}

func toColumns(rows []row) (columns, error) {
	if len(rows) == 0 {
		return columns{}, fmt.Errorf("the segment is empty")
	}
	c := columns{Unit: "K", First: rows[0].Seq}
	for i, r := range rows {
		at, err := time.Parse(timeLayout, r.Time)
		if err != nil {
			return columns{}, err
		}
		if r.Seq != c.First+i {
			return columns{}, fmt.Errorf("reading %d where %d belongs", r.Seq, c.First+i)
		}
		c.Kelvin = append(c.Kelvin, r.Celsius+milli.ZeroCelsius)
		c.Time = append(c.Time, at.UnixMilli())
	}
	return c, nil
}

func toRows(c columns) ([]row, error) {
	if len(c.Kelvin) != len(c.Time) {
		return nil, fmt.Errorf("%d times for %d readings", len(c.Time), len(c.Kelvin))
	}
	rows := make([]row, len(c.Kelvin))
	for i, k := range c.Kelvin {
		at := time.UnixMilli(c.Time[i]).UTC().Format(timeLayout)
		rows[i] = row{Seq: c.First + i, Time: at, Celsius: k - milli.ZeroCelsius}
	}
	return rows, nil
}

func addChecksum(c columns) (columns, error) {
	c.CRC32 = c.checksum()
	return c, nil
}

func dropChecksum(c columns) (columns, error) {
	if c.CRC32 != c.checksum() {
		return c, fmt.Errorf("the checksum is %s instead of %s", c.CRC32, c.checksum())
	}
	c.CRC32 = ""
	return c, nil
}

func (c columns) checksum() string {
	return fmt.Sprintf("%08x", crc32.ChecksumIEEE(fmt.Append(nil, c.First, c.Kelvin, c.Time)))
}
