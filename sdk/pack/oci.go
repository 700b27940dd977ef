package pack

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// Annotations of a package. Those of the manifest and of an artifact are
// plain text; files, params and limits of a transform are JSON.
const (
	AnnotationFile = "io.tranquil.file" // on the manifest: the package's FileName

	AnnotationOS       = "io.tranquil.os"
	AnnotationArch     = "io.tranquil.arch"
	AnnotationVariant  = "io.tranquil.variant"
	AnnotationUnpacked = "io.tranquil.unpacked"

	AnnotationFrom   = "io.tranquil.transform.from"
	AnnotationTo     = "io.tranquil.transform.to"
	AnnotationMode   = "io.tranquil.transform.mode"
	AnnotationFiles  = "io.tranquil.transform.files"
	AnnotationFormat = "io.tranquil.transform.format"
	AnnotationSchema = "io.tranquil.transform.schema"
	// AnnotationSchemaDigest stands for a schema that is a layer.
	AnnotationSchemaDigest = "io.tranquil.transform.schema.digest"
	AnnotationSplit        = "io.tranquil.transform.split"
	AnnotationLossy        = "io.tranquil.transform.lossy"
	AnnotationParams       = "io.tranquil.transform.params"
	AnnotationLimits       = "io.tranquil.transform.limits"

	annotationRef = "org.opencontainers.image.ref.name" // on the index: the version
)

// The structs below are the image spec's JSON. They are our own, since their
// order of fields decides over the bytes, and so over the digest, of a package.

type ociDescriptor struct {
	MediaType    string            `json:"mediaType"`
	ArtifactType string            `json:"artifactType,omitempty"`
	Digest       string            `json:"digest"`
	Size         int64             `json:"size"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

type ociManifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        ociDescriptor     `json:"config"`
	Layers        []ociDescriptor   `json:"layers"`
	Subject       *ociDescriptor    `json:"subject,omitempty"` // what it refers to
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type ociIndex struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Manifests     []ociDescriptor `json:"manifests"`
}

const (
	layoutFile    = "oci-layout"
	layoutContent = `{"imageLayoutVersion":"1.0.0"}`
	indexFile     = "index.json"
)

func (d ociDescriptor) descriptor() Descriptor {
	return Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
}

func newDescriptor(d Descriptor, annotations map[string]string) ociDescriptor {
	for key, value := range annotations {
		if value == "" {
			delete(annotations, key)
		}
	}
	return ociDescriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size, Annotations: annotations}
}

func (a Artifact) layer() ociDescriptor {
	return newDescriptor(a.Descriptor, map[string]string{
		AnnotationOS:       a.OS,
		AnnotationArch:     a.Arch,
		AnnotationVariant:  a.Variant,
		AnnotationUnpacked: strconv.FormatInt(a.Unpacked, 10),
	})
}

func artifactOf(layer ociDescriptor) (Artifact, error) {
	a := Artifact{
		Descriptor: layer.descriptor(),
		OS:         layer.Annotations[AnnotationOS],
		Arch:       layer.Annotations[AnnotationArch],
		Variant:    layer.Annotations[AnnotationVariant],
	}
	if s, ok := layer.Annotations[AnnotationUnpacked]; ok {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return Artifact{}, fmt.Errorf("%s: %.40q is not a number of bytes", AnnotationUnpacked, s)
		}
		a.Unpacked = n
	}
	return a, nil
}

func (t Transform) layer() ociDescriptor {
	annotations := map[string]string{
		AnnotationFrom:   strconv.Itoa(t.From),
		AnnotationTo:     strconv.Itoa(t.To),
		AnnotationMode:   t.Mode,
		AnnotationFormat: t.Format,
		AnnotationSplit:  t.Split,
		AnnotationSchema: string(t.Schema),

		AnnotationSchemaDigest: t.SchemaBlob.Digest,
	}
	if len(t.Files) > 0 {
		annotations[AnnotationFiles] = mustJSON(t.Files)
	}
	if len(t.Params) > 0 {
		annotations[AnnotationParams] = mustJSON(t.Params)
	}
	if t.Limits != (TransformLimits{}) {
		annotations[AnnotationLimits] = mustJSON(t.Limits)
	}
	if t.Lossy {
		annotations[AnnotationLossy] = "true"
	}
	return newDescriptor(t.Descriptor, annotations)
}

func transformOf(layer ociDescriptor) (Transform, error) {
	t := Transform{
		Descriptor: layer.descriptor(),
		Mode:       layer.Annotations[AnnotationMode],
		Format:     layer.Annotations[AnnotationFormat],
		Split:      layer.Annotations[AnnotationSplit],
	}
	for key, value := range layer.Annotations {
		var err error
		switch key {
		case AnnotationFrom:
			t.From, err = strconv.Atoi(value)
		case AnnotationTo:
			t.To, err = strconv.Atoi(value)
		case AnnotationLossy:
			t.Lossy, err = strconv.ParseBool(value)
		case AnnotationSchema:
			t.Schema = json.RawMessage(value)
		case AnnotationSchemaDigest:
			t.SchemaBlob.Digest, err = value, CheckDigest(value) // the layer says the rest
		case AnnotationFiles:
			err = decodeStrict([]byte(value), &t.Files)
		case AnnotationParams:
			err = decodeStrict([]byte(value), &t.Params)
		case AnnotationLimits:
			err = decodeStrict([]byte(value), &t.Limits)
		}
		if err != nil {
			return Transform{}, fmt.Errorf("%s: cannot read %.80q", key, value)
		}
	}
	t.setDefaults()
	return t, nil
}

// setDefaults fills in what an author may leave out.
func (t *Transform) setDefaults() {
	if t.Mode == "" {
		t.Mode = ModeFilter
	}
	if t.Format == "" {
		t.Format = FormatBytes
	}
}

// mustJSON encodes what is made of strings and numbers, which cannot fail.
func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}
