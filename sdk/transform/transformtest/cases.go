package transformtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// A Case is one example: the same state in several schemas.
type Case struct {
	Name   string
	States map[int]State
	// Back is what is left of the state of the lowest schema when it has
	// been transformed to the highest and back, if an edge is lossy. Nil if
	// the case does not say.
	Back State
	// Refused is a part of the reason with which the state, of one schema
	// only, must be refused; "" if it must not.
	Refused string
}

// ReadCases reads the cases in a directory. Each is a directory, or a txtar
// file NAME.txtar, that holds the state in directories named by schema, 1, 2,
// 3…, or else "old" and "new" for the lowest and highest schema of the edges;
// perhaps "back"; and perhaps a file "refused" (see [Case]).
func ReadCases(dir string, edges []Edge) ([]Case, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("cannot read test cases: %w", err)
	}
	low, high := bounds(edges)
	var cases []Case
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		var files State
		switch {
		case entry.IsDir():
			files, err = ReadState(path)
		case strings.HasSuffix(path, ".txtar"):
			files, err = readArchive(path)
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		c := Case{Name: strings.TrimSuffix(entry.Name(), ".txtar"), States: map[int]State{}}
		if err := c.sort(files, low, high); err != nil {
			return nil, fmt.Errorf("test case %s: %w", path, err)
		}
		cases = append(cases, c)
	}
	if len(cases) == 0 {
		return nil, fmt.Errorf("there is no test case in %s: make %s with the state before and after", dir, filepath.Join(dir, "NAME", "{old,new}"))
	}
	return cases, nil
}

func bounds(edges []Edge) (low, high int) {
	var schemas []int
	for _, e := range edges {
		schemas = append(schemas, e.From, e.To)
	}
	if len(schemas) == 0 {
		return 0, 0
	}
	return slices.Min(schemas), slices.Max(schemas)
}

func readArchive(path string) (State, error) {
	archive, err := txtar.ParseFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read test case: %w", err)
	}
	files := State{}
	for _, f := range archive.Files {
		files[f.Name] = string(f.Data)
	}
	return files, nil
}

// sort puts the files of a case where they belong.
func (c *Case) sort(files State, low, high int) error {
	for name, content := range files {
		dir, file, nested := strings.Cut(name, "/")
		if !nested {
			if name != "refused" {
				return fmt.Errorf("%s is in no state: put it into old, new or a directory named by its schema", name)
			}
			c.Refused = strings.TrimSpace(content)
			continue
		}
		if dir == "back" {
			c.Back = put(c.Back, file, content)
			continue
		}
		schema, err := schemaOf(dir, low, high)
		if err != nil {
			return err
		}
		c.States[schema] = put(c.States[schema], file, content)
	}
	switch {
	case len(c.States) == 0:
		return errors.New("it has no state")
	case c.Refused != "" && len(c.States) > 1:
		return errors.New("a state that must be refused has no other schema")
	}
	return nil
}

func put(s State, file, content string) State {
	if s == nil {
		s = State{}
	}
	s[file] = content
	return s
}

func schemaOf(dir string, low, high int) (int, error) {
	switch dir {
	case "old":
		return low, nil
	case "new":
		return high, nil
	}
	schema, err := strconv.Atoi(dir)
	if err != nil || schema < low || schema > high {
		return 0, fmt.Errorf("the directory %s is neither old, new, back nor a schema from %d to %d", dir, low, high)
	}
	return schema, nil
}
