package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/internal/adapter"
	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/internal/milli"
)

// State schema 1. Everything is in degrees Celsius:
//
//	calibration.json      {"sensor":"SIM-1","offset":0.150}
//	total.json            {"count":4000,"celsius":84013.250}
//	history/000001.json   [{"seq":1,"time":"2026-11-22T08:00:00.000Z","celsius":21.150},…]
//
// A segment of the history holds segmentSize readings; the last one may be
// shorter. The history is the truth: the next sequence number follows from
// it, and the total is corrected by it.
const (
	segmentSize = 250
	timeLayout  = "2006-01-02T15:04:05.000Z"
)

type calibration struct {
	Sensor string        `json:"sensor"`
	Offset milli.Degrees `json:"offset"`
}

type total struct {
	Count   int           `json:"count"`
	Celsius milli.Degrees `json:"celsius"`
}

type reading struct {
	Seq     int           `json:"seq"`
	Time    string        `json:"time"`
	Celsius milli.Degrees `json:"celsius"`
}

type store struct {
	dir         string
	calibration calibration
	total       total
	segment     []reading // the last one, if it is not full
}

// open recovers the state in dir, which may be empty, or what a crash left.
func open(dir string) (*store, error) {
	s := &store{dir: dir, calibration: calibration{Sensor: "SIM-1", Offset: 150}}
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
		var next []reading
		if err := adapter.ReadJSON(path, &next); err != nil {
			return err
		}
		for _, r := range next {
			if r.Seq != s.total.Count+1 {
				return fmt.Errorf("cannot use the history: %s has reading %d where %d belongs", path, r.Seq, s.total.Count+1)
			}
			s.add(r)
		}
	}
	return nil
}

func (s *store) Last() int             { return s.total.Count }
func (s *store) Offset() milli.Degrees { return s.calibration.Offset }

// Append keeps the readings durably: first the history, then the total.
func (s *store) Append(readings ...adapter.Reading) error {
	for i, r := range readings {
		path := s.segmentPath(r.Seq)
		s.add(reading{Seq: r.Seq, Time: r.Time.Format(timeLayout), Celsius: r.Celsius})
		if len(s.segment) == segmentSize || i == len(readings)-1 {
			if err := adapter.WriteJSON(path, s.segment); err != nil {
				return err
			}
		}
	}
	return s.writeTotal()
}

// add makes r the last reading in memory.
func (s *store) add(r reading) {
	if len(s.segment) == segmentSize {
		s.segment = nil
	}
	s.segment = append(s.segment, r)
	s.total.Count++
	s.total.Celsius += r.Celsius
}

func (s *store) writeTotal() error {
	return adapter.WriteJSON(filepath.Join(s.dir, "total.json"), s.total)
}

func (s *store) segmentPath(seq int) string {
	return filepath.Join(s.dir, "history", fmt.Sprintf("%06d.json", (seq-1)/segmentSize+1))
}

var _ adapter.Store = (*store)(nil)
