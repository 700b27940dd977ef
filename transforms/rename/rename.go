// Package rename is a ready-made state transform in tree mode: it renames files
// and directories.
package rename

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
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
var Filter = transform.Archive(tree)

func tree(in *tar.Reader, out *tar.Writer, e transform.Edge) error {
	rules, err := rulesOf(e.Params)
	if err != nil {
		return err
	}
	taken := map[string]string{}
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return transform.Refuse("no tar archive: %v", err)
		}
		if err := one(in, out, header, rules, taken); err != nil {
			return err
		}
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

func one(in io.Reader, out *tar.Writer, header *tar.Header, rules []*rule, taken map[string]string) error {
	name := header.Name
	isDir := strings.HasSuffix(name, "/")
	for _, r := range rules {
		if renamed, ok := r.apply(name); ok {
			name = renamed
			break
		}
	}
	clean := path.Clean(name)
	if before, ok := taken[clean]; ok {
		if isDir && strings.HasSuffix(before, "/") {
			return nil // two directories become one
		}
		return transform.Refuse("%s and %s would both be %s", before, header.Name, clean)
	}
	taken[clean] = header.Name
	header.Name = name
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(out, in)
	return err
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
