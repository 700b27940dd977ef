package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// RecipeFile is the name of the recipe in an author's directory.
const RecipeFile = "tranquil.toml"

// A Recipe is what an author writes, in TOML, to have a package built. Paths
// are relative to the recipe's directory.
type Recipe struct {
	Type        string            `toml:"type"`
	Name        string            `toml:"name"`
	Version     string            `toml:"version"`
	File        string            `toml:"file"` // last part of the FileName; "": name_v1_2_3.tar
	Epoch       int               `toml:"epoch"`
	Downtime    Duration          `toml:"downtime"`
	MaxDowntime Duration          `toml:"maxDowntime"`
	Requires    map[string]string `toml:"requires"`
	Probe       RecipeProbe       `toml:"probe"`
	State       *RecipeState      `toml:"state"`
	Settings    map[string]any    `toml:"settings"` // becomes Manifest.Settings
	Dependants  []Dependant       `toml:"dependant"`
	Artifacts   []RecipeArtifact  `toml:"artifact"`
	Transforms  []RecipeTransform `toml:"transform"`

	// Attachments are for referrers, such as an SBOM; no recipe has them.
	Attachments []Attachment `toml:"-"`

	dir string
}

// RecipeProbe is the table [probe]: see [Probe].
type RecipeProbe struct {
	Deadline  Duration `toml:"deadline"`
	Probation Duration `toml:"probation"`
}

// RecipeState is the table [state]: see [State].
type RecipeState struct {
	Schema int `toml:"schema"`
}

// RecipeArtifact is one [[artifact]]: a file or a directory for one platform.
type RecipeArtifact struct {
	Path    string `toml:"path"`
	OS      string `toml:"os"`
	Arch    string `toml:"arch"`
	Variant string `toml:"variant"`
	Raw     bool   `toml:"raw"` // a file that stays as it is, for devices that are written it
}

// RecipeTransform is one [[transform]]: see [Transform].
type RecipeTransform struct {
	From   int               `toml:"from"`
	To     int               `toml:"to"`
	Module string            `toml:"module"` // path of the .wasm file
	Mode   string            `toml:"mode"`
	Files  []string          `toml:"files"`
	Format string            `toml:"format"`
	Split  string            `toml:"split"`
	Schema string            `toml:"schema"` // path of a JSON Schema
	Lossy  bool              `toml:"lossy"`
	Params map[string]string `toml:"params"`
	Limits TransformLimits   `toml:"limits"`

	// In place of Module, the name of a ready-made transform, which the
	// command line resolves; and its param, in the form that is best to write.
	Transform  string `toml:"transform"`
	Program    string `toml:"program"`    // of jq
	Migrations string `toml:"migrations"` // directory of SQL for sqlite

	Line int `toml:"-"` // of the recipe, where it begins; 0 if that is not known
}

// ReadRecipe reads the tranquil.toml in dir. Errors name its lines.
func ReadRecipe(dir string) (*Recipe, error) {
	text, err := os.ReadFile(filepath.Join(dir, RecipeFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no %s in %s: write one, or name the directory that has it", RecipeFile, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read recipe: %w", err)
	}
	r := &Recipe{dir: dir}
	dec := toml.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(r); err != nil {
		return nil, fmt.Errorf("cannot read %s:\n%w", filepath.Join(dir, RecipeFile), withLines(err))
	}
	r.locate(text)
	return r, nil
}

// locate notes where each [[transform]] begins; those of an array in one line
// have no place of their own.
func (r *Recipe) locate(text []byte) {
	var lines []int
	var p unstable.Parser
	p.Reset(text)
	for p.NextExpression() {
		e := p.Expression()
		if key := e.Key(); e.Kind == unstable.ArrayTable && key.Next() && key.IsLast() && string(key.Node().Data) == "transform" {
			lines = append(lines, p.Shape(key.Node().Raw).Start.Line)
		}
	}
	if len(lines) != len(r.Transforms) {
		return
	}
	for i, line := range lines {
		r.Transforms[i].Line = line
	}
}

// withLines turns the decoder's errors into one line each, with its place.
func withLines(err error) error {
	if missing, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		var errs []error
		for _, e := range missing.Errors {
			line, _ := e.Position()
			errs = append(errs, fmt.Errorf("line %d: unknown key %q", line, strings.Join(e.Key(), ".")))
		}
		return errors.Join(errs...)
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, column := e.Position()
		return fmt.Errorf("line %d, column %d: %s", line, column, strings.TrimPrefix(e.Error(), "toml: "))
	}
	return err
}

// manifest returns the component manifest that r describes.
func (r *Recipe) manifest() (Manifest, error) {
	m := Manifest{
		Type: r.Type, Name: r.Name, Version: r.Version, Epoch: r.Epoch,
		Requires: r.Requires, Downtime: r.Downtime, MaxDowntime: r.MaxDowntime,
		Probe: Probe(r.Probe), Dependants: r.Dependants,
	}
	if r.State != nil {
		m.State = &State{Schema: r.State.Schema}
	}
	if len(r.Settings) > 0 {
		settings, err := json.Marshal(r.Settings) // sorts its keys
		if err != nil {
			return Manifest{}, fmt.Errorf("settings: cannot write as JSON: %w", err)
		}
		m.Settings = settings
	}
	return m, nil
}

// fileName returns the name of the package as one file.
func (r *Recipe) fileName(m Manifest) string {
	f := DefaultFileName(m)
	if r.File != "" {
		f.File = r.File
	}
	return f.String()
}

// outline returns the package that r describes with the blobs still missing,
// so that mistakes in it are told before large files are read.
func (r *Recipe) outline() (*Package, error) {
	m, err := r.manifest()
	if err != nil {
		return nil, err
	}
	empty := Descriptor{Digest: DigestOf(nil)}
	p := &Package{Manifest: m, File: r.fileName(m)}
	for _, a := range r.Artifacts {
		outline := empty
		if a.Raw {
			outline.MediaType = MediaTypeRaw
		}
		p.Artifacts = append(p.Artifacts, Artifact{Descriptor: outline, OS: a.OS, Arch: a.Arch, Variant: a.Variant})
	}
	for _, t := range r.Transforms {
		edge := Transform{
			Descriptor: empty, From: t.From, To: t.To, Mode: t.Mode,
			Files: t.Files, Format: t.Format, Split: t.Split, Lossy: t.Lossy, Params: t.Params, Limits: t.Limits,
		}
		edge.setDefaults()
		if err := r.addSchema(&edge, t); err != nil {
			return nil, fmt.Errorf("transform %d: %w", len(p.Transforms)+1, err)
		}
		p.Transforms = append(p.Transforms, edge)
	}
	return p, errors.Join(p.check(), r.checkPaths())
}

// checkPaths reports files that the recipe names but that are not there.
func (r *Recipe) checkPaths() error {
	var errs []error
	for i, a := range r.Artifacts {
		errs = append(errs, r.checkPath(fmt.Sprintf("artifact %d", i+1), "path", a.Path))
	}
	for i, t := range r.Transforms {
		errs = append(errs, r.checkPath(fmt.Sprintf("transform %d", i+1), "module", t.Module))
	}
	return errors.Join(errs...)
}

func (r *Recipe) checkPath(what, key, path string) error {
	if path == "" {
		return fmt.Errorf("%s: %s is missing", what, key)
	}
	if _, err := os.Stat(r.path(path)); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// path resolves a path of the recipe.
func (r *Recipe) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(r.dir, filepath.FromSlash(name))
}
