package transformtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
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
			files, err = readDirectory(path)
		case strings.HasSuffix(path, ".txtar"):
			files, err = readArchive(path)
		default:
			err = misnamed(path)
			if err == nil {
				continue
			}
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
		if _, twice := files[f.Name]; twice {
			return nil, fmt.Errorf("test case %s: %s is in it twice", path, f.Name)
		}
		files[f.Name] = string(f.Data)
	}
	return files, nil
}

// readDirectory reads a case that is a directory. What is a link there would be
// a file in the state.
func readDirectory(dir string) (State, error) {
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !entry.Type().IsRegular() {
			err = fmt.Errorf("test case %s: %s is neither a file nor a directory: no example can have that", dir, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return ReadState(dir)
}

// misnamed refuses what is a case but for its name, and would not be tested.
func misnamed(path string) error {
	if archive, err := txtar.ParseFile(path); err != nil || len(archive.Files) == 0 {
		return nil // something else
	}
	return fmt.Errorf("%s looks like a test case: name it %s.txtar", path, strings.TrimSuffix(path, filepath.Ext(path)))
}

// sort puts the files of a case where they belong.
func (c *Case) sort(files State, low, high int) error {
	for name, content := range files {
		dir, file, nested := strings.Cut(name, "/")
		if !nested {
			if name != "refused" {
				return fmt.Errorf("%s is in no state: put it into old, new or a directory named by its schema", name)
			}
			if c.Refused = strings.TrimSpace(content); c.Refused == "" {
				return errors.New("its file refused is empty: put a part of the reason into it")
			}
			continue
		}
		if !filepath.IsLocal(file) || path.Clean(file) != file {
			return fmt.Errorf("%s is no path in a state", name)
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
