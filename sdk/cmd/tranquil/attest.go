package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// builder is what made a package, as a URI.
const builder = "https://github.com/tranquil-iot/tranquil/sdk/cmd/tranquil"

// attachments are what is said about a package that is built.
func (c *buildCmd) attachments(s *session, recipe *pack.Recipe) (all []pack.Attachment, err error) {
	for _, path := range c.SBOM {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read SBOM: %w", err)
		}
		sbom, err := pack.ParseSBOM(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, pack.Attachment{Type: sbom.Type, Content: func(*pack.Package) ([]byte, error) { return b, nil }})
	}
	if !c.Provenance {
		return all, nil
	}
	sources, err := recipe.Sources()
	if err != nil {
		return nil, fmt.Errorf("cannot say what the package is built of: %w", err)
	}
	if commit := commitOf(s, c.Dir); commit != "" {
		sources = append(sources, pack.Resource{Digest: map[string]string{"gitCommit": commit}})
	}
	p := pack.Provenance{Builder: builder, Version: version, Sources: sources}
	return append(all, pack.Attachment{Type: pack.MediaTypeProvenance, Content: p.Statement}), nil
}

// commitOf is what a directory is of, if it is as it was committed; "" if not, or
// if nobody knows.
func commitOf(s *session, dir string) string {
	git := func(args ...string) (string, error) {
		out, err := exec.CommandContext(s.ctx, "git", append([]string{"-C", dir}, args...)...).Output()
		return strings.TrimSpace(string(out)), err
	}
	changes, err := git("status", "--porcelain", ".")
	if err != nil || changes != "" {
		return ""
	}
	commit, err := git("rev-parse", "HEAD")
	if err != nil {
		return ""
	}
	return commit
}

// A statement is what inspect tells of something that is said about a package.
type statement struct {
	*pack.Referrer
	SBOM       *pack.SBOM       `json:"sbom,omitempty"`
	Provenance *pack.Provenance `json:"provenance,omitempty"`
	Problem    string           `json:"problem,omitempty"` // why it cannot be read
}

// statementsOf reads what is said about a package.
func statementsOf(l *pack.Layout) (all []statement) {
	for _, r := range l.Referrers {
		st := statement{Referrer: r}
		if err := st.read(l); err != nil {
			st.Problem = err.Error()
		}
		all = append(all, st)
	}
	return all
}

func (st *statement) read(l *pack.Layout) error {
	kind := st.ArtifactType
	if kind != pack.MediaTypeCycloneDX && kind != pack.MediaTypeSPDX && kind != pack.MediaTypeProvenance || len(st.Layers) != 1 {
		return nil // nothing that is known here
	}
	b, err := l.ReadBlob(st.Layers[0], pack.MaxAttachmentSize)
	if err != nil {
		return err
	}
	if kind == pack.MediaTypeProvenance {
		v, err := pack.ParseProvenance(b, l.Package.Digest)
		st.Provenance = &v
		return err
	}
	sbom, err := pack.ParseSBOM(b)
	st.SBOM = &sbom
	return err
}

// String is what people see of it.
func (st statement) String() string {
	switch {
	case st.Problem != "":
		return "cannot be read: " + st.Problem
	case st.SBOM != nil:
		return fmt.Sprintf("%s, %d packages", st.SBOM.Format, st.SBOM.Packages)
	case st.Provenance != nil:
		words := []string{"by " + st.Provenance.Builder}
		if st.Provenance.Version != "" {
			words[0] += " " + st.Provenance.Version
		}
		for _, r := range st.Provenance.Sources {
			if commit := r.Digest["gitCommit"]; commit != "" {
				words = append(words, "commit "+commit)
			}
		}
		return strings.Join(words, ", ")
	}
	return ""
}

// kind names it in a word.
func (st statement) kind() string {
	switch {
	case st.SBOM != nil:
		return "SBOM"
	case st.Provenance != nil:
		return "provenance"
	}
	return "referrer"
}
