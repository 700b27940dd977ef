// Package rename is a ready-made state transform in tree mode: it renames files
// and directories.
package rename

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

// Filter is the transform. Its param "rules" has a rule on each line, OLD ->
// NEW. OLD is the slash path of a file, or of a directory with a slash at its
// end, which stands for all that is below it; it may have one *, for any
// characters but a slash, that comes back in NEW. The first rule that fits
// counts; files that none is for keep their names. Two files that would get
// one name are a refusal, and so is a rule that fits nothing and does not
// begin with a question mark.
func Filter(in io.Reader, out io.Writer, e transform.Edge) error {
	if e.File != "" {
		return errors.New("rename needs mode tree: it has to see the whole state")
	}
	return transform.Archive(filter)(in, out, e)
}

func filter(in *tar.Reader, out *tar.Writer, e transform.Edge) error {
	rules, err := rulesOf(e.Params)
	if err != nil {
		return err
	}
	t := tree{rules: rules, taken: map[string]string{}, modes: map[string]int64{}, implied: map[string]int64{}}
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return transform.Refuse("no tar archive: %v", err)
		}
		if err := t.one(in, out, header); err != nil {
			return err
		}
	}
	if err := t.addDirs(out); err != nil {
		return err
	}
	for _, r := range rules {
		if !r.used && !r.optional {
			return transform.Refuse("nothing is named as in the rule %s -> %s", r.old, r.new)
		}
	}
	return nil
}

// Check returns why no state could be transformed with these params.
func Check(params map[string]string) error {
	_, err := rulesOf(params)
	return err
}

func rulesOf(params map[string]string) ([]*rule, error) {
	rules, err := parse(params["rules"])
	if err != nil {
		return nil, fmt.Errorf("cannot read the param rules: %w", err)
	}
	return rules, nil
}

// A tree is a state while it is renamed.
type tree struct {
	rules   []*rule
	taken   map[string]string // old name by new
	modes   map[string]int64  // of the old directories
	implied map[string]int64  // directories that a new name needs: the mode of the one it comes from
}

func (t *tree) one(in io.Reader, out *tar.Writer, header *tar.Header) error {
	name := header.Name
	isDir := strings.HasSuffix(name, "/")
	if isDir {
		t.modes[path.Clean(name)] = header.Mode
	}
	for _, r := range t.rules {
		if renamed, ok := r.apply(name); ok {
			name = renamed
			break
		}
	}
	clean := path.Clean(name)
	if before, ok := t.taken[clean]; ok {
		if isDir && strings.HasSuffix(before, "/") {
			return nil // two directories become one
		}
		return transform.Refuse("%s and %s would both be %s", before, header.Name, clean)
	}
	t.taken[clean] = header.Name
	t.imply(path.Dir(path.Clean(header.Name)), path.Dir(clean))
	header.Name = name
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(out, in)
	return err
}

// imply notes that the directory to, and those above it, must be there for what
// comes from the directory from.
func (t *tree) imply(from, to string) {
	mode, ok := t.modes[from]
	if _, noted := t.implied[to]; to == "." || !ok || noted {
		return
	}
	t.implied[to] = mode
	t.imply(from, path.Dir(to))
}

// addDirs writes the directories that are new. One of them may have been an old
// one that came later, so this is for the end.
func (t *tree) addDirs(out *tar.Writer) error {
	for _, dir := range slices.Sorted(maps.Keys(t.implied)) {
		if _, ok := t.taken[dir]; ok {
			continue
		}
		if err := out.WriteHeader(&tar.Header{Name: dir + "/", Mode: t.implied[dir], Typeflag: tar.TypeDir}); err != nil {
			return err
		}
	}
	return nil
}

// A rule renames what fits.
type rule struct {
	old, new string
	optional bool
	used     bool
}

func parse(text string) ([]*rule, error) {
	var rules []*rule
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		line, optional := strings.CutPrefix(line, "?")
		old, renamed, ok := strings.Cut(line, "->")
		r := &rule{old: strings.TrimSpace(old), new: strings.TrimSpace(renamed), optional: optional}
		if !ok {
			return nil, fmt.Errorf("%q is not OLD -> NEW", line)
		}
		if err := r.check(); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		rules = append(rules, r)
	}
	if len(rules) == 0 {
		return nil, errors.New("there is none")
	}
	return rules, nil
}

func (r *rule) check() error {
	for _, name := range []string{r.old, r.new} {
		clean := strings.TrimSuffix(name, "/")
		if clean == "" || path.IsAbs(clean) || path.Clean(clean) != clean || strings.HasPrefix(clean, "..") {
			return fmt.Errorf("%q is no path inside the state", name)
		}
	}
	switch {
	case strings.HasSuffix(r.old, "/") != strings.HasSuffix(r.new, "/"):
		return errors.New("a directory stays a directory: both end with a slash, or none")
	case strings.Count(r.old, "*") > 1 || strings.Count(r.new, "*") > strings.Count(r.old, "*"):
		return errors.New("a rule has one * at most, which may come back once")
	}
	return nil
}

// apply returns the new name, if the rule fits.
func (r *rule) apply(name string) (string, bool) {
	subject, rest := name, ""
	if strings.HasSuffix(r.old, "/") {
		// As many directories as the rule has.
		n := strings.Count(r.old, "/")
		parts := strings.SplitAfterN(name, "/", n+1)
		if len(parts) <= n {
			return "", false
		}
		subject, rest = strings.Join(parts[:n], ""), parts[n]
	}
	before, after, wild := strings.Cut(r.old, "*")
	middle := ""
	if wild {
		if len(subject) < len(before)+len(after) || !strings.HasPrefix(subject, before) || !strings.HasSuffix(subject, after) {
			return "", false
		}
		middle = subject[len(before) : len(subject)-len(after)]
	} else if subject != r.old {
		return "", false
	}
	if strings.Contains(middle, "/") {
		return "", false
	}
	r.used = true
	return strings.Replace(r.new, "*", middle, 1) + rest, true
}
