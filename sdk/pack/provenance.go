package pack

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The statement's types: in-toto attestation framework v1, SLSA provenance v1.
const (
	statementType  = "https://in-toto.io/Statement/v1"
	provenanceType = "https://slsa.dev/provenance/v1"

	// BuildType names what a provenance of ours says of a build: SPEC.md,
	// section 9.
	BuildType = "https://github.com/tranquil-iot/tranquil/blob/main/sdk/pack/SPEC.md#9-referrers"
)

// A Resource is something that a build went by, or has made.
type Resource struct {
	Name   string            `json:"name,omitempty"`
	Digest map[string]string `json:"digest"` // by algorithm: "sha256", "gitCommit"; hex digits
}

// A Provenance says by what a package was built, and out of what. It tells no time
// and no machine, so that the same package built of the same has the same.
type Provenance struct {
	Subject []Resource `json:"subject"` // the package's file name, and the digest of its manifest
	Builder string     `json:"builder"` // URI
	Version string     `json:"version"` // of the builder
	Sources []Resource `json:"sources"` // recipe, transforms, schemas, and what else is known
}

// A statement is the JSON of both specifications, as far as it is used here.
type statement struct {
	Type          string     `json:"_type"`
	Subject       []Resource `json:"subject"`
	PredicateType string     `json:"predicateType"`
	Predicate     struct {
		BuildDefinition struct {
			BuildType            string     `json:"buildType"`
			ExternalParameters   Parameters `json:"externalParameters"`
			ResolvedDependencies []Resource `json:"resolvedDependencies"`
		} `json:"buildDefinition"`
		RunDetails struct {
			Builder struct {
				ID      string            `json:"id"`
				Version map[string]string `json:"version,omitempty"`
			} `json:"builder"`
		} `json:"runDetails"`
	} `json:"predicate"`
}

// Parameters are what a build was asked for.
type Parameters struct {
	Component string `json:"component"`
	Version   string `json:"version"`
}

// Statement returns the in-toto statement that the package p was built so.
func (v Provenance) Statement(p *Package) ([]byte, error) {
	s := statement{Type: statementType, PredicateType: provenanceType}
	s.Subject = []Resource{{p.File, map[string]string{"sha256": strings.TrimPrefix(p.Digest, digestPrefix)}}}
	build, run := &s.Predicate.BuildDefinition, &s.Predicate.RunDetails
	build.BuildType, build.ResolvedDependencies = BuildType, v.Sources
	build.ExternalParameters = Parameters{p.Manifest.Component(), p.Manifest.Version}
	run.Builder.ID = v.Builder
	if v.Version != "" {
		run.Builder.Version = map[string]string{"tranquil": v.Version}
	}
	return json.Marshal(s)
}

// ParseProvenance reads an in-toto statement about the package whose manifest has
// that digest; a builder of others may have made it.
func ParseProvenance(b []byte, digest string) (Provenance, error) {
	var s statement
	if len(b) > MaxAttachmentSize {
		return Provenance{}, fmt.Errorf("more than %d bytes", MaxAttachmentSize)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return Provenance{}, fmt.Errorf("cannot read provenance: %w", err)
	}
	if s.Type != statementType || s.PredicateType != provenanceType {
		return Provenance{}, errors.New("is no in-toto statement of SLSA provenance, version 1")
	}
	var version string
	if run := s.Predicate.RunDetails; len(run.Builder.Version) == 1 {
		for _, version = range run.Builder.Version {
		}
	}
	v := Provenance{s.Subject, s.Predicate.RunDetails.Builder.ID, version, s.Predicate.BuildDefinition.ResolvedDependencies}
	for _, subject := range s.Subject {
		if digestPrefix+subject.Digest["sha256"] == digest {
			return v, nil
		}
	}
	return v, fmt.Errorf("it is not about %s", digest)
}

// Sources are the files that the recipe names, with their digests; of directories
// only the layers in the package tell.
func (r *Recipe) Sources() ([]Resource, error) {
	paths := []string{RecipeFile}
	for _, a := range r.Artifacts {
		paths = append(paths, a.Path)
	}
	for _, t := range r.Transforms {
		paths = append(paths, t.Module, t.Schema)
	}
	var all []Resource
	seen := map[string]bool{"": true}
	for _, name := range paths {
		info, err := os.Stat(r.path(name))
		if seen[name] || err == nil && info.IsDir() {
			continue
		}
		seen[name] = true
		b, err := os.ReadFile(r.path(name))
		if err != nil {
			return nil, err
		}
		all = append(all, Resource{r.shown(name), map[string]string{"sha256": strings.TrimPrefix(DigestOf(b), digestPrefix)}})
	}
	return all, nil
}

// shown leaves out where on this machine a file is.
func (r *Recipe) shown(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Base(name)
	}
	return filepath.ToSlash(name)
}
