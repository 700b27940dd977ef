package transformtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/big"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// A State is a component's state: the content of each file by its slash path.
type State map[string]string

// ReadState reads the files of a directory.
func ReadState(dir string) (State, error) {
	state := State{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		state[filepath.ToSlash(rel)] = string(content)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot read state: %w", err)
	}
	return state, nil
}

// Write makes the files in a directory, which is made if it is missing.
func (s State) Write(dir string) error {
	for name, content := range s {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("cannot write state: %s leads out of it", name)
		}
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return fmt.Errorf("cannot write state: %w", err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			return fmt.Errorf("cannot write state: %w", err)
		}
	}
	return os.MkdirAll(dir, 0o755)
}

// Size returns the bytes of all files.
func (s State) Size() (n int64) {
	for _, content := range s {
		n += int64(len(content))
	}
	return n
}

// Diff returns what differs between two states, file by file as diff -u does,
// or "". JSON on one line is shown with a line for each value.
func Diff(want, got State) string {
	var b strings.Builder
	names := maps.Clone(want)
	maps.Copy(names, got)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		a, inWant := want[name]
		z, inGot := got[name]
		switch {
		case !inGot:
			fmt.Fprintf(&b, "%s is missing, %d bytes\n", name, len(a))
		case !inWant:
			fmt.Fprintf(&b, "%s should not be there, %d bytes\n", name, len(z))
		case a != z:
			b.WriteString(diffFile(name, a, z))
		}
	}
	return b.String()
}

// sqlite is how a database begins.
const sqlite = "SQLite format 3\x00"

// maxShown bounds the length of one file's difference.
const maxShown = 8 << 10

func diffFile(name, want, got string) string {
	if strings.HasPrefix(want, sqlite) && strings.HasPrefix(got, sqlite) {
		return fmt.Sprintf("%s differs: a database comes back with its rows, but seldom with its bytes: "+
			"let the transform be lossy, and put what comes back into NAME/back\n", name)
	}
	if strings.ContainsRune(want+got, 0) {
		return fmt.Sprintf("%s differs: %d bytes wanted, %d bytes got\n", name, len(want), len(got))
	}
	a, z := pretty(want), pretty(got)
	if a == z {
		a, z = want, got // they differ in white space
	}
	text := string(diff.Diff("want/"+name, []byte(shown.Replace(a)), "got/"+name, []byte(shown.Replace(z))))
	_, text, _ = strings.Cut(text, "\n") // "diff want/… got/…"
	if len(text) > maxShown {
		text = text[:maxShown] + "\n…\n"
	}
	return text
}

// shown makes seen what two lines may differ in that look the same.
var shown = strings.NewReplacer("\r", `\r`, byteOrderMark, `\ufeff`)

// pretty indents JSON documents, one or one per line.
func pretty(content string) string {
	var b bytes.Buffer
	d := json.NewDecoder(strings.NewReader(content))
	for {
		var doc json.RawMessage
		if err := d.Decode(&doc); errors.Is(err, io.EOF) && b.Len() > 0 {
			return b.String()
		} else if err != nil {
			return content
		}
		if err := json.Indent(&b, doc, "", "  "); err != nil {
			return content
		}
		b.WriteByte('\n')
	}
}

// canonical returns the state with its JSON rewritten: the order of members,
// white space and how numbers are written are no part of what a component
// remembers. Only files that one of the edges writes as JSON are looked at; of an
// edge in mode tree, which has no format for each file, those with such a name.
func (s State) canonical(edges []Edge) State {
	c := State{}
	for name, content := range s {
		if isJSON(name, edges) {
			content = reformat(content)
		}
		c[name] = content
	}
	return c
}

func isJSON(name string, edges []Edge) bool {
	for _, e := range edges {
		if e.Mode == host.Tree && slices.Contains([]string{".json", ".ndjson", ".jsonl"}, path.Ext(name)) {
			return true
		}
		if e.Mode == host.Tree || e.Format != "json" && e.Format != "ndjson" {
			continue
		}
		if len(e.Files) == 0 {
			return true
		}
		for _, pattern := range e.Files {
			if ok, _ := path.Match(pattern, name); ok {
				return true
			}
		}
	}
	return false
}

func reformat(content string) string {
	var b bytes.Buffer
	d := json.NewDecoder(strings.NewReader(content))
	d.UseNumber()
	e := json.NewEncoder(&b)
	for {
		var doc any
		if err := d.Decode(&doc); errors.Is(err, io.EOF) {
			return b.String()
		} else if err != nil {
			return content
		}
		if err := e.Encode(exact(doc)); err != nil {
			return content
		}
	}
}

// maxDigits bounds the numbers that exact works out.
const maxDigits = 400

// exact writes every number of a document in full, so that 1e3 and 1000.0 are
// the same. Longer ones than any component has stay as they are.
func exact(doc any) any {
	switch doc := doc.(type) {
	case map[string]any:
		for name, value := range doc {
			doc[name] = exact(value)
		}
	case []any:
		for i, value := range doc {
			doc[i] = exact(value)
		}
	case json.Number:
		_, exponent, _ := strings.Cut(strings.ToLower(doc.String()), "e")
		if n, err := strconv.Atoi(exponent); exponent != "" && (err != nil || max(n, -n) > maxDigits) {
			return doc
		}
		if r, ok := new(big.Rat).SetString(doc.String()); ok {
			digits, _ := r.FloatPrec()
			return json.RawMessage(r.FloatString(digits))
		}
	}
	return doc
}
