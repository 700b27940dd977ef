package pack

import (
	"errors"
	"fmt"
)

// A Package is what a package's manifest and config say: all but the blobs.
type Package struct {
	Digest     string      `json:"digest"`   // of the manifest bytes: the identity of the package
	Size       int64       `json:"size"`     // of the manifest bytes
	File       string      `json:"file"`     // FileName under which it was built
	Manifest   Manifest    `json:"manifest"` // what the config blob holds
	Config     Descriptor  `json:"config"`
	Artifacts  []Artifact  `json:"artifacts"`
	Transforms []Transform `json:"transforms,omitempty"`
}

// Descriptor returns the descriptor of the package's manifest.
func (p *Package) Descriptor() Descriptor {
	return Descriptor{MediaType: MediaTypeManifest, Digest: p.Digest, Size: p.Size}
}

// Blobs returns every blob of the package but its manifest, each once: the
// config, the artifacts, the transforms, their schemas.
func (p *Package) Blobs() []Descriptor {
	all := []Descriptor{p.Config}
	for _, a := range p.Artifacts {
		all = append(all, a.Descriptor)
	}
	for _, t := range p.Transforms {
		all = append(all, t.Descriptor)
	}
	return once(append(all, p.schemas()...))
}

// once drops blobs that were there before.
func once(all []Descriptor) (single []Descriptor) {
	seen := map[string]bool{}
	for _, d := range all {
		if !seen[d.Digest] {
			seen[d.Digest] = true
			single = append(single, d)
		}
	}
	return single
}

// ConfigOf returns the descriptor of the config blob that an OCI manifest
// names, for whoever fetches a package: manifest, then config, then [Parse].
func ConfigOf(manifest []byte) (Descriptor, error) {
	m, err := decodeManifest(manifest)
	if err != nil {
		return Descriptor{}, err
	}
	return m.Config.descriptor(), nil
}

// Parse reads a package from the bytes of its OCI manifest and of its config
// blob. Both may come from anyone: everything is checked, and a package that
// breaks a rule of SPEC.md is refused.
func Parse(manifest, config []byte) (*Package, error) {
	m, err := decodeManifest(manifest)
	if err != nil {
		return nil, err
	}
	p := &Package{
		Digest: DigestOf(manifest),
		Size:   int64(len(manifest)),
		File:   m.Annotations[AnnotationFile],
		Config: m.Config.descriptor(),
	}
	if err := verifyBytes(config, p.Config); err != nil {
		return nil, fmt.Errorf("cannot read package config: %w", err)
	}
	if err := decodeStrict(config, &p.Manifest); err != nil {
		return nil, fmt.Errorf("cannot read package config: %w", err)
	}
	if p.File == "" {
		p.File = DefaultFileName(p.Manifest).String()
	}
	if err := p.addLayers(m.Layers); err != nil {
		return nil, fmt.Errorf("cannot read package manifest: %w", err)
	}
	if err := p.check(); err != nil {
		return nil, fmt.Errorf("package breaks the format: %w", err)
	}
	return p, nil
}

// decodeManifest reads an OCI manifest and checks it as far as one can before
// the config is known.
func decodeManifest(b []byte) (*ociManifest, error) {
	m, err := decodeAnyManifest(b)
	if err != nil {
		return nil, err
	}
	switch {
	case m.ArtifactType != ArtifactType:
		return nil, fmt.Errorf("OCI artifact type %.80q is not a Tranquil package", m.ArtifactType)
	case m.Config.MediaType != MediaTypeConfig:
		return nil, fmt.Errorf("config has media type %.80q, want %s", m.Config.MediaType, MediaTypeConfig)
	}
	if err := checkDescriptor(m.Config.descriptor(), MaxConfigSize); err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	return m, nil
}

func (p *Package) addLayers(layers []ociDescriptor) error {
	if len(layers) > maxLayers {
		return fmt.Errorf("more than %d layers", maxLayers)
	}
	schemas := map[string]Descriptor{}
	for i, layer := range layers {
		var err error
		switch layer.MediaType {
		case MediaTypeArtifact, MediaTypeRaw:
			var a Artifact
			a, err = artifactOf(layer)
			p.Artifacts = append(p.Artifacts, a)
		case MediaTypeTransform:
			var t Transform
			t, err = transformOf(layer)
			p.Transforms = append(p.Transforms, t)
		case MediaTypeSchema:
			if _, twice := schemas[layer.Digest]; twice {
				err = errors.New("the schema is a layer already")
			}
			schemas[layer.Digest] = layer.descriptor()
		default:
			err = fmt.Errorf("unknown media type %.80q", layer.MediaType)
		}
		if err != nil {
			return fmt.Errorf("layer %d: %w", i+1, err)
		}
	}
	return p.joinSchemas(schemas)
}
