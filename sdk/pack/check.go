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

	"github.com/tranquil-iot/tranquil/sdk/settings"
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
		errs = append(errs, settings.In("artifact", errors.New("there is none")))
	}
	platforms := map[string]bool{}
	for i, a := range p.Artifacts {
		errs = append(errs, settings.In(fmt.Sprintf("artifact %d", i+1), a.check(platforms)))
	}
	for i, t := range p.Transforms {
		errs = append(errs, settings.In(fmt.Sprintf("transform %d", i+1), t.check()))
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if p.Manifest.State == nil && len(p.Transforms) > 0 {
		return settings.In("transform", errors.New("the package declares no [state] schema"))
	}
	return errors.Join(p.checkFile(), p.checkSchemas(), checkGraph(p.Transforms, p.Manifest.Schema()))
}

func (p *Package) checkFile() error {
	f, err := ParseFileName(p.File)
	if err == nil && f.Component() != p.Manifest.Component() {
		err = fmt.Errorf("%s names component %s, not %.80q", p.File, f.Component(), p.Manifest.Component())
	}
	return settings.In("file", err)
}

func (m *Manifest) check() error {
	errs := []error{
		settings.In("type", checkName(m.Type)),
		settings.In("name", checkName(m.Name)),
		settings.In("version", CheckVersion(m.Version)),
		settings.In("downtime", checkDuration(m.Downtime)),
		settings.In("maxDowntime", checkDuration(m.MaxDowntime)),
		settings.In("probe deadline", checkDuration(m.Probe.Deadline)),
		settings.In("probe probation", checkDuration(m.Probe.Probation)),
		m.checkRequires(),
		m.checkDependants(),
	}
	if m.Epoch < 0 || m.Epoch > maxSchema {
		errs = append(errs, settings.In("epoch", fmt.Errorf("%d is not between 0 and %d", m.Epoch, maxSchema)))
	}
	if m.MaxDowntime > 0 && m.MaxDowntime < m.Downtime {
		errs = append(errs, settings.In("maxDowntime", fmt.Errorf("%v is less than downtime, %v", m.MaxDowntime, m.Downtime)))
	}
	if m.State != nil && (m.State.Schema < 1 || m.State.Schema > maxSchema) {
		errs = append(errs, settings.In("state schema", fmt.Errorf("%d is not a positive number", m.State.Schema)))
	}
	if len(m.Settings) > maxSettings {
		errs = append(errs, settings.In("settings", fmt.Errorf("more than %d bytes", maxSettings)))
	}
	if len(m.Settings) > 0 && m.Settings[0] != '{' {
		errs = append(errs, settings.In("settings", errors.New("is not an object")))
	}
	return errors.Join(errs...)
}

func (m *Manifest) checkRequires() error {
	if len(m.Requires) > maxEntries {
		return settings.In("requires", fmt.Errorf("more than %d components", maxEntries))
	}
	for _, component := range slices.Sorted(maps.Keys(m.Requires)) {
		if err := CheckComponent(component); err != nil {
			return settings.In("requires", err)
		}
		if err := checkConstraint(m.Requires[component]); err != nil {
			return settings.In("requires "+component, err)
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
			return settings.In("files", errors.New("mode tree transforms the whole state"))
		}
	default:
		return settings.In("mode", fmt.Errorf("%.80q is unknown: use %s or %s", t.Mode, ModeFilter, ModeTree))
	}
	switch t.Format {
	case FormatJSON, FormatNDJSON, FormatSQLite, FormatTar, FormatBytes:
	default:
		return settings.In("format", fmt.Errorf("%.80q is unknown: use %s, %s, %s, %s or %s", t.Format, FormatJSON, FormatNDJSON, FormatSQLite, FormatTar, FormatBytes))
	}
	return cmp.Or(t.checkSplit(), t.checkSchema(), t.checkFiles(), t.checkParams(), settings.In("limits", t.Limits.Check()), checkDescriptor(t.Descriptor, MaxTransformSize))
}

func (t Transform) checkSplit() error {
	switch {
	case t.Split == "":
		return nil
	case t.Split != SplitLines:
		return settings.In("split", fmt.Errorf("%.80q is unknown: use %s, or leave it out", t.Split, SplitLines))
	case t.Mode != ModeFilter:
		return settings.In("split", errors.New("only a filter's files can be split"))
	case t.Format != FormatNDJSON && t.Format != FormatBytes:
		return settings.In("split", fmt.Errorf("the result must be %s or %s, since it is joined of parts", FormatNDJSON, FormatBytes))
	}
	return nil
}

// checkSchema leaves it to the sandbox whether a schema makes sense.
func (t Transform) checkSchema() error {
	switch {
	case len(t.Schema) == 0 && t.SchemaBlob == Descriptor{}:
		return nil
	case len(t.Schema) > maxInline:
		return settings.In("schema", fmt.Errorf("more than %d bytes have to be a layer", maxInline))
	case t.Format != FormatJSON && t.Format != FormatNDJSON:
		return settings.In("schema", fmt.Errorf("is for results in %s or %s", FormatJSON, FormatNDJSON))
	}
	if len(t.Schema) == 0 {
		return settings.In("schema", checkDescriptor(t.SchemaBlob, MaxSchemaSize))
	}
	return settings.In("schema", checkJSON(t.Schema))
}

func (t Transform) checkFiles() error {
	if len(t.Files) > maxEntries {
		return settings.In("files", fmt.Errorf("more than %d globs", maxEntries))
	}
	for _, glob := range t.Files {
		if _, err := path.Match(glob, "x"); err != nil || glob == "" || len(glob) > maxText {
			return settings.In("files", fmt.Errorf("%.80q is not a valid glob", glob))
		}
		if path.IsAbs(glob) || path.Clean(glob) != glob || strings.HasPrefix(glob, "..") {
			return settings.In("files", fmt.Errorf("%.80q must be relative to the state directory, with no part . or .. in it", glob))
		}
	}
	return nil
}

func (t Transform) checkParams() error {
	if len(t.Params) > maxEntries {
		return settings.In("params", fmt.Errorf("more than %d", maxEntries))
	}
	sum := 0
	for name, value := range t.Params {
		if sum += len(name) + len(value); sum > maxParams {
			return fmt.Errorf("params: more than %d bytes together", maxParams)
		}
		if !paramPattern.MatchString(name) {
			return settings.In("params", fmt.Errorf("%.80q is not a name of a-z, 0-9 and _", name))
		}
		if len(value) > maxParam || strings.ContainsRune(value, 0) {
			return settings.In("params", fmt.Errorf("%s is longer than %d bytes or has a zero byte", name, maxParam))
		}
	}
	return nil
}

// checkGraph reports transforms that no device could use, and ways forward
// that have no way back and are not declared lossy. Schema 0 is one that is not
// known yet.
func checkGraph(transforms []Transform, schema int) error {
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
		case schema != 0 && (forth != nil || onward != nil):
			err = fmt.Errorf("does not lead to the package's schema %d", schema)
		case back != nil && !t.Lossy:
			err = errors.New("has no way back: add one, or declare lossy = true")
		}
		edges[[2]int{t.From, t.To}] = true
		if err != nil {
			errs = append(errs, settings.In(fmt.Sprintf("transform %d", i+1), fmt.Errorf("from %d to %d %w", t.From, t.To, err)))
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

func checkDuration(d Duration) error { return settings.Within(d, 0, maxDuration) }
