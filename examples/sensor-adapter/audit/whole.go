package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/internal/milli"
)

// A Whole is a state with the meaning of each of its files, recomputed from
// the content and the same in every schema.
type Whole struct {
	Report
	files map[string]string // meaning by path; readings follow one another, so that a file may grow
}

// All verifies the state in dir as [Dir] does, and besides that it holds
// nothing that does not belong to it.
func All(dir string) (Whole, error) {
	w := Whole{files: map[string]string{}}
	var err error
	if w.Report, err = Dir(dir); err != nil {
		return w, err
	}
	first := 1
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, ".new") { // not yet renamed
			if errors.Is(err, fs.ErrNotExist) {
				return nil // renamed by now
			}
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		w.files[rel], first, err = meaning(rel, content, first)
		return err
	})
	return w, err
}

// meaning decodes one file. Segments come in order of their names, so that
// first is the reading with which the next one must begin.
func meaning(path string, content []byte, first int) (text string, next int, err error) {
	switch {
	case filepath.Dir(path) == "history":
		_, readings, err := Segment(content, first)
		var text strings.Builder
		for _, r := range readings {
			fmt.Fprintln(&text, r.Time, r.Celsius)
		}
		return text.String(), first + len(readings), err
	case path == "total.json":
		return "verified by Dir", first, nil
	case path == "calibration.json":
		var c struct {
			Sensor       string
			Offset, Bias milli.Degrees
		}
		err := json.Unmarshal(content, &c)
		return fmt.Sprintln(c.Sensor, c.Offset+c.Bias), first, err
	}
	return "", first, fmt.Errorf("%s does not belong to the state", path)
}

// Since compares w with an earlier state: which of its files are missing, and
// which say something else. That history has been added is no difference.
func (w Whole) Since(earlier Whole) (lost, altered []string) {
	for path, before := range earlier.files {
		switch after, found := w.files[path]; {
		case !found:
			lost = append(lost, path)
		case !strings.HasPrefix(after, before):
			altered = append(altered, path)
		}
	}
	slices.Sort(lost)
	slices.Sort(altered)
	return lost, altered
}
