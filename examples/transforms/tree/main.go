// A state transform in tree mode: it sees all files at once, and so can split
// and merge them. Schema 1 has one log, log.ndjson, in order of time; schema 2
// has one for each day, log/2026-11-29.ndjson. Other files stay.
package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
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
	return each(in, func(header *tar.Header, content []byte) error {
		if header.Name != whole {
			return write(out, header, content)
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
				if err := write(out, named(header, dir+day+".ndjson"), lines); err != nil {
					return err
				}
				lines = nil
			}
			day, lines = next, append(lines, line...)
		}
		if lines == nil {
			return transform.Refuse("the log is empty")
		}
		return write(out, named(header, dir+day+".ndjson"), lines)
	})
}

func merge(in *tar.Reader, out *tar.Writer) error {
	days := map[string][]byte{}
	var log *tar.Header
	err := each(in, func(header *tar.Header, content []byte) error {
		if header.Name == dir {
			return nil
		}
		if !strings.HasPrefix(header.Name, dir) {
			return write(out, header, content)
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
		days[day], log = content, header
		return nil
	})
	if err != nil {
		return err
	}
	if log == nil {
		return transform.Refuse("there is no %s", dir)
	}
	var content []byte
	var names []string
	for day := range days {
		names = append(names, day)
	}
	slices.Sort(names)
	for _, day := range names {
		content = append(content, days[day]...)
	}
	return write(out, named(log, whole), content)
}

// each calls f for every file and directory.
func each(in *tar.Reader, f func(*tar.Header, []byte) error) error {
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		content, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		if err := f(header, content); err != nil {
			return err
		}
	}
}

func write(out *tar.Writer, header *tar.Header, content []byte) error {
	header.Size = int64(len(content))
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err := out.Write(content)
	return err
}

// named returns a header like another.
func named(header *tar.Header, name string) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: header.Mode}
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
