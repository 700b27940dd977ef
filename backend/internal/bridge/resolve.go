package bridge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// resolve finds the package of the version, and the artifact for the device. What
// the device cannot have ends here, with nothing touched.
func (r *run) resolve(ctx context.Context) error {
	if r.packages == nil {
		return failure{cause: "this bridge has no file server to take packages from: configure bridge.packages"}
	}
	w := r.wants[r.j.Component]
	if w.state == "saved" {
		return failure{cause: "this device cannot go back to a saved state: it has no agent that would save any"}
	}
	if file := r.j.Goal.Package; file != "" && pack.CheckDigest(file) != nil {
		if _, err := pack.ParseFileName(file); err != nil {
			return failure{cause: fmt.Sprintf("package %.80q is neither a digest nor a file name: %v", file, err)}
		}
	}
	p, err := r.packages.find(ctx, r.j.Component, r.j.Goal.Version, r.j.Goal.Package)
	if errors.Is(err, fs.ErrNotExist) {
		return failure{cause: fmt.Sprintf("the file server has no package %s of %s: push it first", strings.TrimSpace(r.j.Goal.Version+" "+r.j.Goal.Package), r.j.Component)}
	}
	if err != nil {
		return fmt.Errorf("cannot find the package: %w", err)
	}
	if v := r.j.Goal.Version; v != "" && v != p.Manifest.Version {
		return failure{cause: fmt.Sprintf("package %s is version %s, not %s", r.j.Goal.Package, p.Manifest.Version, v)}
	}
	r.j.To, r.j.Schema, r.j.Away = p.Manifest.Version, p.Manifest.Schema(), int64(time.Duration(p.Manifest.Downtime)/time.Second)
	if sameVersion(r.j.From, r.j.To) && r.j.Goal.Attempt == 0 {
		return failure{result: resultUnchanged}
	}
	image, err := p.Image(w.means.platform)
	if err != nil {
		return failure{cause: err.Error() + `: name one with "platform" beside the version, or add an artifact for any`}
	}
	r.j.Blob, r.j.Size = image.Digest, image.Size
	if err := r.requirements(p); err != nil {
		return err
	}
	return r.stateStays(ctx, p)
}

// requirements refuses a package whose needs other components of the device do not
// meet.
func (r *run) requirements(p *pack.Package) error {
	for _, name := range slices.Sorted(maps.Keys(p.Manifest.Requires)) {
		has := ""
		if t := r.named(name); t != nil {
			has = t.view.version
		}
		ok, err := pack.Satisfies(has, p.Manifest.Requires[name])
		if has == "" || err != nil || !ok {
			return failure{cause: fmt.Sprintf("package %s requires %s %s, and the device has %q: update that first", r.j.To, name, p.Manifest.Requires[name], has)}
		}
	}
	return nil
}

// stateStays refuses a package that has the state in another schema than what is
// installed: the device knows no transforms, and its state would be lost or
// misread.
func (r *run) stateStays(ctx context.Context, p *pack.Package) error {
	if r.j.From == "" {
		return nil // there is no state yet
	}
	was, known := schemaOf(r.base, r.j.Component, r.j.From)
	if version := strings.TrimPrefix(r.j.From, "v"); !known && pack.CheckVersion(version) == nil { // else no package has it
		from, err := r.packages.find(ctx, r.j.Component, version, "")
		if err == nil {
			was, known = from.Manifest.Schema(), true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot find the package that is installed: %w", err)
		}
	}
	switch {
	case known && was == r.j.Schema:
		return nil
	case !known && r.j.Schema == 0 && len(p.Transforms) == 0:
		return nil // nobody speaks of state
	case known:
		return failure{cause: fmt.Sprintf("package %s has its state in schema %s, the installed %s in schema %s, and this device has no agent that could transform it", r.j.To, schemaName(r.j.Schema), r.j.From, schemaName(was))}
	}
	return failure{cause: fmt.Sprintf("package %s has its state in schema %s, and nobody knows in which the installed %s has it: push its package, so that they can be compared; this device has no agent that could transform it", r.j.To, schemaName(r.j.Schema), r.j.From)}
}

func schemaName(schema int) string {
	if schema == 0 {
		return "none"
	}
	return fmt.Sprint(schema)
}

// schemaOf is the schema that an update of the bridge's own has left, as the twin
// has it.
func schemaOf(reported map[string]any, component, version string) (schema int, known bool) {
	components, _ := reported["components"].(map[string]any)
	c, _ := components[component].(map[string]any)
	number, known := c["schema"].(float64)
	return int(number), known && sameVersion(version, orEmpty(c["version"]))
}

func orEmpty(v any) string {
	s, _ := v.(string)
	return s
}

// sameVersion compares what a device says with a package's version: some begin
// with v, or end with metadata of the build.
func sameVersion(device, version string) bool {
	device, _, _ = strings.Cut(strings.TrimPrefix(device, "v"), "+")
	return device == version && version != ""
}
