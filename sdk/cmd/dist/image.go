package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"
)

// A descriptor points to a blob (OCI image specification 1.1).
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    *platform         `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

const (
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// nobody is whom the backend runs as in the image, and its data is of.
const nobody = 65532

// image makes the image of the backend, for all architectures: an archive of an OCI
// image layout, which skopeo, podman and docker load. There is nothing in it but the
// program and a directory for its data.
func (d *distribution) image(archs []string) error {
	layout := tree{"oci-layout": {mode: 0o644, data: []byte(`{"imageLayoutVersion":"1.0.0"}`)}}
	var manifests []descriptor
	for _, a := range architectures {
		if !slices.Contains(archs, a.debian) {
			continue
		}
		manifest, err := d.imageFor(a, layout)
		if err != nil {
			return err
		}
		manifests = append(manifests, manifest)
	}
	index, err := layout.blob(typeIndex, map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": manifests})
	if err != nil {
		return err
	}
	index.Annotations = map[string]string{"org.opencontainers.image.ref.name": d.version}
	top, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": typeIndex, "manifests": []descriptor{index}})
	if err != nil {
		return err
	}
	layout.add("index.json", 0o644, top)
	data, err := layout.tar("", d.time)
	if err != nil {
		return err
	}
	return d.write(fmt.Sprintf("tranquil-backend_%s_oci.tar", d.debianVersion()), data)
}

// imageFor adds the image for one architecture to a layout.
func (d *distribution) imageFor(a architecture, layout tree) (descriptor, error) {
	layer, err := d.layer(a)
	if err != nil {
		return descriptor{}, err
	}
	zipped, err := d.zip(layer)
	if err != nil {
		return descriptor{}, err
	}
	p := platform{Architecture: a.goarch, OS: "linux"}
	if a.goarm != "" {
		p.Variant = "v" + a.goarm
	}
	config, err1 := layout.blob(typeConfig, map[string]any{
		"created": d.time.Format(time.RFC3339), "architecture": p.Architecture, "os": p.OS, "variant": p.Variant,
		"config": map[string]any{
			"User": fmt.Sprintf("%d:%[1]d", nobody), "WorkingDir": "/data", "Volumes": map[string]any{"/data": struct{}{}},
			"Entrypoint": []string{"/usr/bin/tranquil-backend"}, "Cmd": []string{"all", "--data", "/data"},
			"ExposedPorts": map[string]any{"1883/tcp": struct{}{}, "8080/tcp": struct{}{}, "8081/tcp": struct{}{}, "9443/tcp": struct{}{}, "5683/udp": struct{}{}, "5685/udp": struct{}{}},
			"Labels":       map[string]string{"org.opencontainers.image.version": d.version, "org.opencontainers.image.title": "tranquil-backend"},
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{digest(layer)}},
		"history": []map[string]any{{"created": d.time.Format(time.RFC3339), "created_by": "dist"}},
	})
	manifest, err2 := layout.blob(typeManifest, map[string]any{
		"schemaVersion": 2, "mediaType": typeManifest, "config": config, "layers": []descriptor{layout.raw(typeLayer, zipped)},
	})
	manifest.Platform = &p
	return manifest, errors.Join(err1, err2)
}

// layer is the file system of the image.
func (d *distribution) layer(a architecture) ([]byte, error) {
	binary, err := d.compile(backend, a)
	if err != nil {
		return nil, err
	}
	files := tree{}
	if err := files.addFile("usr/bin/tranquil-backend", 0o755, binary); err != nil {
		return nil, err
	}
	files.add("etc/passwd", 0o644, fmt.Appendf(nil, "tranquil:x:%d:%[1]d::/data:/sbin/nologin\n", nobody))
	files["data"] = entry{mode: 0o700 | dirMode, owner: nobody}
	files["tmp"] = entry{mode: 0o777 | dirMode, owner: nobody}
	return files.tar("", d.time)
}

// blob adds a document to a layout.
func (t tree) blob(mediaType string, v any) (descriptor, error) {
	data, err := json.Marshal(v)
	return t.raw(mediaType, data), err
}

func (t tree) raw(mediaType string, data []byte) descriptor {
	t.add(fmt.Sprintf("blobs/sha256/%x", sha256.Sum256(data)), 0o644, data)
	return descriptor{MediaType: mediaType, Digest: digest(data), Size: len(data)}
}

func digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }
