package pack

import (
	"encoding/json"

	"github.com/tranquil-iot/tranquil/sdk/settings"
)

// Media types of a package (OCI image spec 1.1).
const (
	ArtifactType       = "application/vnd.tranquil.package.v1"
	MediaTypeManifest  = "application/vnd.oci.image.manifest.v1+json"
	MediaTypeConfig    = "application/vnd.tranquil.component.v1+json"
	MediaTypeArtifact  = "application/vnd.tranquil.artifact.v1.tar+gzip"
	MediaTypeRaw       = "application/vnd.tranquil.artifact.v1" // one file as it is, for devices that are written it
	MediaTypeTransform = "application/wasm"
	MediaTypeSchema    = "application/vnd.tranquil.schema.v1+json" // a JSON Schema that is too long for an annotation
)

// A Manifest is the component manifest, the config blob of a package. It says
// all that a device must know before it fetches anything large.
type Manifest struct {
	Type    string `json:"type"`    // "application": which updater is asked
	Name    string `json:"name"`    // "sensor-adapter"
	Version string `json:"version"` // semantic version 2.0.0, without "v"
	Epoch   int    `json:"epoch,omitempty"`

	// Requires names other components and the versions of them that must be
	// installed: {"firmware/base": ">=1.2"}.
	Requires map[string]string `json:"requires,omitempty"`
	// Downtime the author expects; an update whose rehearsal predicts more
	// than MaxDowntime is refused before anything stops.
	Downtime    Duration `json:"downtime,omitempty"`
	MaxDowntime Duration `json:"maxDowntime,omitempty"`

	// Dependants are what the component depends on, and how.
	Dependants []Dependant `json:"dependants,omitempty"`

	Probe    Probe           `json:"probe"`
	State    *State          `json:"state,omitempty"` // nil: the component has no state
	Settings json.RawMessage `json:"settings,omitempty"`
}

// Component returns the name of the component, as in
// "application/sensor-adapter".
func (m Manifest) Component() string { return m.Type + "/" + m.Name }

// Schema returns the state schema of this version, 0 if it has no state.
func (m Manifest) Schema() int {
	if m.State == nil {
		return 0
	}
	return m.State.Schema
}

// Probe says when a started component counts as healthy.
type Probe struct {
	Deadline  Duration `json:"deadline,omitempty"`  // healthy within; 0: 30 s
	Probation Duration `json:"probation,omitempty"` // and stays so for; 0: 1 s
}

// State describes the state of this version.
type State struct {
	Schema int `json:"schema"` // positive; versions of one schema share it
}

// An Artifact is the component for one platform.
type Artifact struct {
	Descriptor
	OS       string `json:"os,omitempty"`       // "linux"; "" any
	Arch     string `json:"arch,omitempty"`     // "arm", "amd64"; "" any
	Variant  string `json:"variant,omitempty"`  // "v7"
	Unpacked int64  `json:"unpacked,omitempty"` // bytes on disk, 0 if unknown
}

// A Transform is one edge of the schema graph.
type Transform struct {
	Descriptor                   // of the Wasm module
	From       int               `json:"from"` // state schemas
	To         int               `json:"to"`
	Mode       string            `json:"mode"`                // "filter" (default) or "tree"
	Files      []string          `json:"files,omitempty"`     // path.Match globs the filter applies to; none: every file; the rest is kept
	Format     string            `json:"format"`              // of the result: "json", "ndjson", "sqlite", "tar", "bytes" (default)
	Split      string            `json:"split,omitempty"`     // "lines": the transform of a file is that of its lines, joined; only what changed is transformed
	Schema     json.RawMessage   `json:"schema,omitempty"`    // JSON Schema of the result, or of each line of ndjson
	SchemaBlob Descriptor        `json:"schemaBlob,omitzero"` // in its place: the layer that has a long one
	Lossy      bool              `json:"lossy,omitempty"`     // the way From → To forgets something the way back would need
	Params     map[string]string `json:"params,omitempty"`    // for the transform
	Limits     TransformLimits   `json:"limits,omitzero"`     // of one run of it, below what a device grants
}

// A Descriptor names a blob by digest.
type Descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"` // "sha256:<64 hex digits>"
	Size      int64  `json:"size"`   // bytes
}

// Duration is a time.Duration written as in "1m30s".
type Duration = settings.Duration
