package pack

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tranquil-iot/tranquil/sdk/settings"
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

	dir  string
	file *settings.File
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
}

// ReadRecipe reads the tranquil.toml in dir.
func ReadRecipe(dir string) (*Recipe, error) {
	r := &Recipe{dir: dir}
	file, err := settings.Read(filepath.Join(dir, RecipeFile), r)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("no %s in %s: write one, or name the directory that has it", RecipeFile, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read recipe: %w", err)
	}
	r.file = file
	return r, nil
}

// Place names the file, and the line of its key, of each problem with r.
func (r *Recipe) Place(err error) error { return r.file.Place(err) }

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
		object, err := json.Marshal(r.Settings) // sorts its keys
		if err != nil {
			return Manifest{}, settings.In("settings", fmt.Errorf("cannot write as JSON: %w", err))
		}
		m.Settings = object
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
		return nil, r.Place(err)
	}
	p := &Package{Manifest: m, File: r.fileName(m)}
	for _, a := range r.Artifacts {
		outline := Descriptor{Digest: DigestOf(nil)}
		if a.Raw {
			outline.MediaType = MediaTypeRaw
		}
		p.Artifacts = append(p.Artifacts, Artifact{Descriptor: outline, OS: a.OS, Arch: a.Arch, Variant: a.Variant})
	}
	if p.Transforms, err = r.edges(); err != nil {
		return nil, r.Place(err)
	}
	return p, r.Place(errors.Join(p.check(), r.checkPaths()))
}

// edges returns the transforms without their modules.
func (r *Recipe) edges() ([]Transform, error) {
	var edges []Transform
	var errs []error
	for i, t := range r.Transforms {
		edge := Transform{
			Descriptor: Descriptor{Digest: DigestOf(nil)}, From: t.From, To: t.To, Mode: t.Mode,
			Files: t.Files, Format: t.Format, Split: t.Split, Lossy: t.Lossy, Params: t.Params, Limits: t.Limits,
		}
		edge.setDefaults()
		err := errors.Join(r.addSchema(&edge, t), r.checkGiven(i, t.Limits), checkStars(t.Files))
		errs = append(errs, settings.In(transformKey(i), err))
		edges = append(edges, edge)
	}
	return edges, errors.Join(errs...)
}

// checkStars refuses what elsewhere stands for directories of any depth, and would
// be one star here.
func checkStars(files []string) error {
	for _, glob := range files {
		if strings.Contains(glob, "**") {
			return settings.In("files", fmt.Errorf("%.80q: a star stands for a part of one name, so name a pattern for each depth, as in \"*.json\", \"*/*.json\"", glob))
		}
	}
	return nil
}

// transformKey is that of the i-th [[transform]].
func transformKey(i int) string { return fmt.Sprintf("transform %d", i+1) }

// checkGiven refuses limits that are zero because somebody wrote so.
func (r *Recipe) checkGiven(i int, l TransformLimits) error {
	var given []string
	for _, key := range []string{"memory", "cpu", "wall", "output"} {
		if r.file.Has(transformKey(i) + " limits " + key) {
			given = append(given, key)
		}
	}
	return settings.In("limits", l.Check(given...))
}

// CheckTransforms says what [Recipe.Build] would say of the transforms; their
// modules, and the rest of the package, may still be missing.
func (r *Recipe) CheckTransforms() error {
	edges, err := r.edges()
	if err != nil {
		return r.Place(err)
	}
	var errs []error
	for i, t := range edges {
		errs = append(errs, settings.In(transformKey(i), t.check()))
	}
	schema := 0
	if r.State != nil {
		schema = r.State.Schema
	}
	if err := errors.Join(errs...); err != nil {
		return r.Place(err)
	}
	return r.Place(checkGraph(edges, schema))
}

// checkPaths reports files that the recipe names but that are not there.
func (r *Recipe) checkPaths() error {
	var errs []error
	for i, a := range r.Artifacts {
		errs = append(errs, settings.In(fmt.Sprintf("artifact %d", i+1), r.checkPath("path", a.Path)))
	}
	for i, t := range r.Transforms {
		errs = append(errs, settings.In(transformKey(i), r.checkPath("module", t.Module)))
	}
	return errors.Join(errs...)
}

func (r *Recipe) checkPath(key, path string) error {
	if path == "" {
		return settings.In(key, errors.New("is missing"))
	}
	_, err := os.Stat(r.path(path))
	if errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("there is no %s", r.path(path))
	}
	return settings.In(key, err)
}

// path resolves a path of the recipe.
func (r *Recipe) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(r.dir, filepath.FromSlash(name))
}
