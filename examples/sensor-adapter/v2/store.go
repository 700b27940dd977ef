package main

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/internal/adapter"
	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/internal/milli"
)

// State schema 2. Everything is in kelvin, and the history is kept in
// columns, which take less than half the space:
//
//	calibration.json      {"sensor":"SIM-1","bias":0.150}
//	total.json            {"count":4000,"kelvin":1176613.250}
//	history/000001.json   {"unit":"K","first":1,"kelvin":[294.300,…],"time":[1795334400000,…]}
//
// Times are milliseconds since 1970. State schema 3 adds to each segment
// "crc32": "hex", the checksum of its columns.
const segmentSize = 250

type calibration struct {
	Sensor string        `json:"sensor"`
	Bias   milli.Degrees `json:"bias"`
}

type total struct {
	Count  int           `json:"count"`
	Kelvin milli.Degrees `json:"kelvin"`
}

type segment struct {
	Unit   string          `json:"unit"`
	First  int             `json:"first"`
	Kelvin []milli.Degrees `json:"kelvin"`
	Time   []int64         `json:"time"`
	CRC32  string          `json:"crc32,omitempty"`
}

// checksum covers the columns as they are written.
func (s segment) checksum() string {
	return fmt.Sprintf("%08x", crc32.ChecksumIEEE(fmt.Append(nil, s.First, s.Kelvin, s.Time)))
}

type store struct {
	dir         string
	checksums   bool // schema 3
	calibration calibration
	total       total
	segment     segment // the last one
}

// open recovers the state in dir, which may be empty, or what a crash left.
func open(dir string, checksums bool) (*store, error) {
	s := &store{dir: dir, checksums: checksums, calibration: calibration{Sensor: "SIM-1", Bias: 150}}
	if err := os.MkdirAll(filepath.Join(dir, "history"), 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "calibration.json")
	err := adapter.ReadJSON(path, &s.calibration)
	if os.IsNotExist(err) {
		err = adapter.WriteJSON(path, s.calibration)
	}
	if err != nil {
		return nil, err
	}
	if err := s.readHistory(); err != nil {
		return nil, err
	}
	return s, s.writeTotal()
}

func (s *store) readHistory() error {
	paths, err := filepath.Glob(filepath.Join(s.dir, "history", "*.json"))
	if err != nil {
		return err
	}
	for _, path := range paths { // in order of their names
		if path != s.segmentPath(s.total.Count+1) {
			return fmt.Errorf("cannot use the history: %s does not begin with reading %d", path, s.total.Count+1)
		}
		var next segment
		if err := adapter.ReadJSON(path, &next); err != nil {
			return err
		}
		if err := s.check(next); err != nil {
			return fmt.Errorf("cannot use the history: %s is damaged: %w", path, err)
		}
		for i, k := range next.Kelvin {
			s.add(k, next.Time[i])
		}
	}
	return nil
}

func (s *store) check(next segment) error {
	switch {
	case next.Unit != "K":
		return fmt.Errorf("the unit is %q, not K", next.Unit)
	case next.First != s.total.Count+1:
		return fmt.Errorf("it begins at %d instead of %d", next.First, s.total.Count+1)
	case len(next.Time) != len(next.Kelvin):
		return fmt.Errorf("%d times for %d readings", len(next.Time), len(next.Kelvin))
	case s.checksums && next.CRC32 != next.checksum():
		return fmt.Errorf("the checksum is %s instead of %s", next.CRC32, next.checksum())
	}
	return nil
}

func (s *store) Last() int             { return s.total.Count }
func (s *store) Offset() milli.Degrees { return s.calibration.Bias }

// Append keeps the readings durably: first the history, then the total.
func (s *store) Append(readings ...adapter.Reading) error {
	for i, r := range readings {
		s.add(r.Celsius+milli.ZeroCelsius, r.Time.UnixMilli())
		if len(s.segment.Kelvin) == segmentSize || i == len(readings)-1 {
			if err := s.writeSegment(); err != nil {
				return err
			}
		}
	}
	return s.writeTotal()
}

// add makes this the last reading in memory.
func (s *store) add(kelvin milli.Degrees, at int64) {
	if s.total.Count%segmentSize == 0 {
		s.segment = segment{Unit: "K", First: s.total.Count + 1}
	}
	s.segment.Kelvin = append(s.segment.Kelvin, kelvin)
	s.segment.Time = append(s.segment.Time, at)
	s.total.Count++
	s.total.Kelvin += kelvin
}

func (s *store) writeSegment() error {
	if s.checksums {
		s.segment.CRC32 = s.segment.checksum()
	}
	return adapter.WriteJSON(s.segmentPath(s.segment.First), s.segment)
}

func (s *store) writeTotal() error {
	return adapter.WriteJSON(filepath.Join(s.dir, "total.json"), s.total)
}

func (s *store) segmentPath(seq int) string {
	return filepath.Join(s.dir, "history", fmt.Sprintf("%06d.json", (seq-1)/segmentSize+1))
}
