package pack

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Modes of a transform.
const (
	ModeFilter = "filter" // one file on stdin, its new content on stdout
	ModeTree   = "tree"   // the whole state as a tar stream, in and out
)

// Formats of what a transform in filter mode returns.
const (
	FormatJSON   = "json"
	FormatNDJSON = "ndjson"
	FormatSQLite = "sqlite" // a database whose pages are all where they should be
	FormatTar    = "tar"
	FormatBytes  = "bytes"
)

// SplitLines promises that for whole lines a and b the transform of a followed
// by b is the transform of a followed by that of b.
const SplitLines = "lines"

var (
	namePattern  = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	paramPattern = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
)

// CheckComponent reports whether s names a component: "application/sensor-adapter".
func CheckComponent(s string) error {
	kind, name, _ := strings.Cut(s, "/")
	if checkName(kind) != nil || checkName(name) != nil {
		return fmt.Errorf("%.80q is not a component: want type/name of lower-case letters, digits and hyphens", s)
	}
	return nil
}

func checkName(s string) error {
	if len(s) > maxName || !namePattern.MatchString(s) {
		return fmt.Errorf("%.80q is not a name: use up to %d of a-z, 0-9, and single hyphens between them", s, maxName)
	}
	return nil
}

// check reports every rule of the format that p breaks: those of single parts,
// or if they are fine, those of the whole.
func (p *Package) check() error {
	if len(p.Artifacts) > maxArtifacts || len(p.Transforms) > maxTransforms {
		return fmt.Errorf("more than %d artifacts or %d transforms", maxArtifacts, maxTransforms)
	}
	errs := []error{p.Manifest.check()}
	if len(p.Artifacts) == 0 {
		errs = append(errs, errors.New("artifact: there is none"))
	}
	platforms := map[string]bool{}
	for i, a := range p.Artifacts {
		errs = append(errs, inField(fmt.Sprintf("artifact %d", i+1), a.check(platforms)))
	}
	for i, t := range p.Transforms {
		errs = append(errs, inField(fmt.Sprintf("transform %d", i+1), t.check()))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return errors.Join(p.checkFile(), p.checkSchemas(), checkGraph(p.Transforms, p.Manifest.Schema()))
}

func (p *Package) checkFile() error {
	f, err := ParseFileName(p.File)
	if err != nil {
		return fmt.Errorf("file: %w", err)
	}
	if f.Component() != p.Manifest.Component() {
		return fmt.Errorf("file: %s names component %s, not %.80q", p.File, f.Component(), p.Manifest.Component())
	}
	return nil
}

func (m *Manifest) check() error {
	errs := []error{
		inField("type", checkName(m.Type)),
		inField("name", checkName(m.Name)),
		inField("version", CheckVersion(m.Version)),
		inField("downtime", checkDuration(m.Downtime)),
		inField("maxDowntime", checkDuration(m.MaxDowntime)),
		inField("probe deadline", checkDuration(m.Probe.Deadline)),
		inField("probe probation", checkDuration(m.Probe.Probation)),
		m.checkRequires(),
		m.checkDependants(),
	}
	if m.Epoch < 0 || m.Epoch > maxSchema {
		errs = append(errs, fmt.Errorf("epoch: %d is negative or too large", m.Epoch))
	}
	if m.MaxDowntime > 0 && m.MaxDowntime < m.Downtime {
		errs = append(errs, errors.New("maxDowntime: is less than downtime"))
	}
	if m.State != nil && (m.State.Schema < 1 || m.State.Schema > maxSchema) {
		errs = append(errs, fmt.Errorf("state schema: %d is not a positive number", m.State.Schema))
	}
	if len(m.Settings) > maxSettings {
		errs = append(errs, fmt.Errorf("settings: more than %d bytes", maxSettings))
	}
	if len(m.Settings) > 0 && m.Settings[0] != '{' {
		errs = append(errs, errors.New("settings: is not an object"))
	}
	return errors.Join(errs...)
}

func (m *Manifest) checkRequires() error {
	if len(m.Requires) > maxEntries {
		return fmt.Errorf("requires: more than %d components", maxEntries)
	}
	for _, component := range slices.Sorted(maps.Keys(m.Requires)) {
		if err := CheckComponent(component); err != nil {
			return fmt.Errorf("requires: %w", err)
		}
		if err := checkConstraint(m.Requires[component]); err != nil {
			return fmt.Errorf("requires %s: %w", component, err)
		}
	}
	return nil
}

func (a Artifact) check(platforms map[string]bool) error {
	platform := a.Platform().String()
	if a.MediaType == MediaTypeRaw {
		platform = "raw " + platform
	}
	if platforms[platform] {
		return fmt.Errorf("there is one for %s already", platform)
	}
	platforms[platform] = true
	for _, s := range []string{a.OS, a.Arch, a.Variant} {
		if s != "" && checkName(s) != nil {
			return fmt.Errorf("%.80q is not a platform: write os = \"linux\", arch = \"arm\", variant = \"v7\"", s)
		}
	}
	if a.Variant != "" && a.Arch == "" {
		return errors.New("has a variant but no arch")
	}
	if a.Unpacked < 0 {
		return errors.New("has a negative unpacked size")
	}
	return checkDescriptor(a.Descriptor, MaxArtifactSize)
}

func (t Transform) check() error {
	if t.From < 1 || t.To < 1 || t.From > maxSchema || t.To > maxSchema {
		return fmt.Errorf("from %d to %d: state schemas are positive numbers", t.From, t.To)
	}
	if t.From == t.To {
		return fmt.Errorf("from and to are both %d", t.From)
	}
	switch t.Mode {
	case ModeFilter:
	case ModeTree:
		if len(t.Files) > 0 {
			return errors.New("files: mode tree transforms the whole state")
		}
	default:
		return fmt.Errorf("mode %.80q is unknown: use %s or %s", t.Mode, ModeFilter, ModeTree)
	}
	switch t.Format {
	case FormatJSON, FormatNDJSON, FormatSQLite, FormatTar, FormatBytes:
	default:
		return fmt.Errorf("format %.80q is unknown: use %s, %s, %s, %s or %s", t.Format, FormatJSON, FormatNDJSON, FormatSQLite, FormatTar, FormatBytes)
	}
	return cmp.Or(t.checkSplit(), t.checkSchema(), t.checkFiles(), t.checkParams(), t.Limits.check(), checkDescriptor(t.Descriptor, MaxTransformSize))
}

func (t Transform) checkSplit() error {
	switch {
	case t.Split == "":
		return nil
	case t.Split != SplitLines:
		return fmt.Errorf("split %.80q is unknown: use %s, or leave it out", t.Split, SplitLines)
	case t.Mode != ModeFilter:
		return errors.New("split: only a filter's files can be split")
	case t.Format != FormatNDJSON && t.Format != FormatBytes:
		return fmt.Errorf("split: the result must be %s or %s, since it is joined of parts", FormatNDJSON, FormatBytes)
	}
	return nil
}

// checkSchema leaves it to the sandbox whether a schema makes sense.
func (t Transform) checkSchema() error {
	switch {
	case len(t.Schema) == 0 && t.SchemaBlob == Descriptor{}:
		return nil
	case len(t.Schema) > maxInline:
		return fmt.Errorf("schema: more than %d bytes have to be a layer", maxInline)
	case t.Format != FormatJSON && t.Format != FormatNDJSON:
		return fmt.Errorf("schema: is for results in %s or %s", FormatJSON, FormatNDJSON)
	}
	if len(t.Schema) == 0 {
		return inField("schema", checkDescriptor(t.SchemaBlob, MaxSchemaSize))
	}
	return inField("schema", checkJSON(t.Schema))
}

func (t Transform) checkFiles() error {
	if len(t.Files) > maxEntries {
		return fmt.Errorf("files: more than %d globs", maxEntries)
	}
	for _, glob := range t.Files {
		if _, err := path.Match(glob, "x"); err != nil || glob == "" || len(glob) > maxText {
			return fmt.Errorf("files: %.80q is not a valid glob", glob)
		}
		if path.IsAbs(glob) || path.Clean(glob) != glob || strings.HasPrefix(glob, "..") {
			return fmt.Errorf("files: %.80q must be relative to the state directory, with no part . or .. in it", glob)
		}
	}
	return nil
}

func (t Transform) checkParams() error {
	if len(t.Params) > maxEntries {
		return fmt.Errorf("params: more than %d", maxEntries)
	}
	sum := 0
	for name, value := range t.Params {
		if sum += len(name) + len(value); sum > maxParams {
			return fmt.Errorf("params: more than %d bytes together", maxParams)
		}
		if !paramPattern.MatchString(name) {
			return fmt.Errorf("params: %.80q is not a name of a-z, 0-9 and _", name)
		}
		if len(value) > maxParam || strings.ContainsRune(value, 0) {
			return fmt.Errorf("params: %s is longer than %d bytes or has a zero byte", name, maxParam)
		}
	}
	return nil
}

// minMemory is less than any transform can do with, bytes.
const minMemory = 64 << 10

func (l TransformLimits) check() error {
	if l.Memory < 0 || l.Output < 0 || l.CPU < 0 || l.Wall < 0 || 0 < l.Memory && l.Memory < minMemory {
		return fmt.Errorf("limits: none can be negative, and memory is at least %d bytes", minMemory)
	}
	return nil
}

// checkGraph reports transforms that no device could use, and ways forward
// that have no way back and are not declared lossy.
func checkGraph(transforms []Transform, schema int) error {
	if schema == 0 && len(transforms) > 0 {
		return errors.New("transform: the package declares no [state] schema")
	}
	var errs []error
	edges := map[[2]int]bool{}
	for i, t := range transforms {
		var err error
		_, forth := Chain(transforms, t.From, schema)
		_, onward := Chain(transforms, t.To, schema)
		_, back := Chain(transforms, t.To, t.From)
		switch {
		case edges[[2]int{t.From, t.To}]:
			err = errors.New("is given twice")
		case forth != nil || onward != nil:
			err = fmt.Errorf("does not lead to the package's schema %d", schema)
		case back != nil && !t.Lossy:
			err = errors.New("has no way back: add one, or declare lossy = true")
		}
		edges[[2]int{t.From, t.To}] = true
		if err != nil {
			errs = append(errs, fmt.Errorf("transform %d: from %d to %d %w", i+1, t.From, t.To, err))
		}
	}
	return errors.Join(errs...)
}

func checkDescriptor(d Descriptor, maxSize int64) error {
	if d.Size < 0 || d.Size > maxSize {
		return fmt.Errorf("size %d is not between 0 and %d bytes", d.Size, maxSize)
	}
	return CheckDigest(d.Digest)
}

func checkDuration(d Duration) error {
	if d < 0 || d > maxDuration {
		return errors.New("is negative or longer than 30 days")
	}
	return nil
}

func inField(field string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return nil
}
