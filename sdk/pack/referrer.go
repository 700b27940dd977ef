package pack

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Media types of what refers to a package (OCI image spec 1.1, in-toto 1.0).
const (
	MediaTypeIndex      = "application/vnd.oci.image.index.v1+json"
	MediaTypeCycloneDX  = "application/vnd.cyclonedx+json"
	MediaTypeSPDX       = "application/spdx+json"
	MediaTypeProvenance = "application/vnd.in-toto+json"

	mediaTypeEmpty = "application/vnd.oci.empty.v1+json" // of the config of what has none
	emptyConfig    = "{}"
)

// A Referrer is what somebody says about a package, beside it: an OCI manifest
// whose subject is the package's. It changes nothing of the package, and nothing
// that a device does.
type Referrer struct {
	Digest       string            `json:"digest"` // of the manifest
	Size         int64             `json:"size"`   // of the manifest, bytes
	ArtifactType string            `json:"artifactType"`
	Subject      Descriptor        `json:"subject"`
	Config       Descriptor        `json:"config"`
	Layers       []Descriptor      `json:"layers"`
	Annotations  map[string]string `json:"annotations,omitempty"`
}

// ParseReferrer reads a manifest that refers to another. It may come from anyone,
// and hold what it likes.
func ParseReferrer(manifest []byte) (*Referrer, error) {
	m, err := decodeAnyManifest(manifest)
	if err != nil {
		return nil, err
	}
	if m.Subject == nil {
		return nil, errors.New("the manifest is neither a package, nor does it refer to one (subject)")
	}
	r := &Referrer{
		Digest: DigestOf(manifest), Size: int64(len(manifest)), ArtifactType: m.ArtifactType,
		Subject: m.Subject.descriptor(), Config: m.Config.descriptor(), Annotations: m.Annotations,
	}
	if r.ArtifactType == "" {
		r.ArtifactType = m.Config.MediaType // OCI distribution spec 1.1, "Listing Referrers"
	}
	for _, layer := range m.Layers {
		r.Layers = append(r.Layers, layer.descriptor())
	}
	return r, r.check()
}

func (r *Referrer) check() error {
	if len(r.Layers) > maxReferrerLayers {
		return fmt.Errorf("more than %d layers", maxReferrerLayers)
	}
	if r.ArtifactType == "" || len(r.ArtifactType) > maxText {
		return errors.New("the manifest has no artifact type")
	}
	if err := checkDescriptor(r.Subject, MaxManifestSize); err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	for i, d := range r.Blobs() {
		if err := checkDescriptor(d, MaxArtifactSize); err != nil {
			return fmt.Errorf("blob %d: %w", i+1, err)
		}
	}
	return nil
}

// Descriptor returns the descriptor of the referrer's manifest.
func (r *Referrer) Descriptor() Descriptor {
	return Descriptor{MediaType: MediaTypeManifest, Digest: r.Digest, Size: r.Size}
}

// Blobs returns every blob of the referrer but its manifest: the config, then
// the layers.
func (r *Referrer) Blobs() []Descriptor { return append([]Descriptor{r.Config}, r.Layers...) }

// decodeAnyManifest reads an OCI image manifest, of whatever it is.
func decodeAnyManifest(b []byte) (*ociManifest, error) {
	if len(b) > MaxManifestSize {
		return nil, fmt.Errorf("package manifest is larger than %d bytes", MaxManifestSize)
	}
	var m ociManifest
	if err := decodeOpen(b, &m); err != nil {
		return nil, fmt.Errorf("cannot read package manifest: %w", err)
	}
	if m.SchemaVersion != 2 || m.MediaType != MediaTypeManifest {
		return nil, errors.New("not an OCI image manifest")
	}
	return &m, nil
}

// IsPackage reports whether an OCI manifest says that it is a package.
func IsPackage(manifest []byte) bool {
	m, err := decodeAnyManifest(manifest)
	return err == nil && m.ArtifactType == ArtifactType
}

// Announced is how many bytes the blobs have that a manifest of whatever kind lists,
// 0 if it cannot be read: enough to tell how far a transfer is.
func Announced(manifest []byte) (bytes int64) {
	m, err := decodeAnyManifest(manifest)
	if err != nil {
		return 0
	}
	for _, d := range append(m.Layers, m.Config) {
		bytes += max(d.Size, 0)
	}
	return bytes
}

// An Attachment becomes a referrer of a package when that is built.
type Attachment struct {
	Type    string                            // media type, and artifact type of the manifest
	Content func(of *Package) ([]byte, error) // the same package makes the same bytes
}

// attach writes the blobs of a referrer.
func (w *layoutWriter) attach(p *Package, a Attachment) (*Referrer, error) {
	content, err := a.Content(p)
	if err != nil {
		return nil, err
	}
	layer, err := w.bytes(a.Type, content)
	if err != nil {
		return nil, err
	}
	config, err := w.bytes(mediaTypeEmpty, []byte(emptyConfig))
	if err != nil {
		return nil, err
	}
	subject := newDescriptor(p.Descriptor(), nil)
	manifest, err := json.Marshal(ociManifest{
		SchemaVersion: 2, MediaType: MediaTypeManifest, ArtifactType: a.Type,
		Config: newDescriptor(config, nil), Layers: []ociDescriptor{newDescriptor(layer, nil)}, Subject: &subject,
	})
	if err != nil {
		return nil, err
	}
	if _, err := w.bytes(MediaTypeManifest, manifest); err != nil {
		return nil, err
	}
	return ParseReferrer(manifest)
}
