// A state transform in tree mode: it sees all files at once, and so can split
// and merge them. Schema 1 has one log, log.ndjson, in order of time; schema 2
// has one for each day, log/2026-11-29.ndjson. Other files stay.
package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

const (
	whole = "log.ndjson"
	dir   = "log/"
)

func main() {
	transform.Tree(func(in *tar.Reader, out *tar.Writer, e transform.Edge) error {
		switch e.Way() {
		case "1→2":
			return split(in, out)
		case "2→1":
			return merge(in, out)
		}
		return e.Unknown()
	})
}

func split(in *tar.Reader, out *tar.Writer) error {
	return transform.Walk(in, func(header *tar.Header, r io.Reader) error {
		if header.Name != whole {
			return transform.Keep(out, header, r)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		day, lines := "", []byte(nil)
		for line := range bytes.Lines(content) {
			next, err := dayOf(line)
			switch {
			case err != nil:
				return err
			case next < day:
				return transform.Refuse("the log goes back from %s to %s", day, next)
			case next > day && lines != nil:
				if err := transform.Put(out, dir+day+".ndjson", header.Mode, lines); err != nil {
					return err
				}
				lines = nil
			}
			day, lines = next, append(lines, line...)
		}
		if lines == nil {
			return transform.Refuse("the log is empty")
		}
		return transform.Put(out, dir+day+".ndjson", header.Mode, lines)
	})
}

func merge(in *tar.Reader, out *tar.Writer) error {
	days := map[string][]byte{}
	var mode int64
	err := transform.Walk(in, func(header *tar.Header, r io.Reader) error {
		if header.Name == dir {
			return nil
		}
		if !strings.HasPrefix(header.Name, dir) {
			return transform.Keep(out, header, r)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return err
		}
		if len(content) == 0 { // the way back would not know of it
			return transform.Refuse("%s is empty", header.Name)
		}
		day := strings.TrimSuffix(path.Base(header.Name), ".ndjson")
		for line := range bytes.Lines(content) {
			if at, err := dayOf(line); err != nil || at != day {
				return transform.Refuse("%s has a line of another day: %s", header.Name, line)
			}
		}
		days[day], mode = content, header.Mode
		return nil
	})
	if err != nil {
		return err
	}
	if len(days) == 0 {
		return transform.Refuse("there is no %s", dir)
	}
	var content []byte
	for _, day := range slices.Sorted(maps.Keys(days)) {
		content = append(content, days[day]...)
	}
	return transform.Put(out, whole, mode, content)
}

// dayOf returns the day of a line of the log, which must be a whole one.
func dayOf(line []byte) (string, error) {
	var entry struct{ At string }
	if err := json.Unmarshal(line, &entry); err != nil || !bytes.HasSuffix(line, []byte("\n")) {
		return "", transform.Refuse("no line of a log: %s", line)
	}
	day, _, _ := strings.Cut(entry.At, "T")
	if _, err := time.Parse(time.DateOnly, day); err != nil {
		return "", transform.Refuse("no time: %q", entry.At)
	}
	return day, nil
}
