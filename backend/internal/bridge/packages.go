package bridge

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// Packages opens what the file server has at a path, such as
// /v2/firmware/modem/manifests/2.0.0. The error is fs.ErrNotExist if there is no
// such thing.
type Packages func(ctx context.Context, path string) (io.ReadCloser, error)

// RemotePackages reads those of a file server, or of any OCI registry, at an
// address such as https://files.example.org.
func RemotePackages(address string) Packages {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = time.Minute
	client := &http.Client{Transport: transport}
	return func(ctx context.Context, path string) (io.ReadCloser, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(address, "/")+path, nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Accept", pack.MediaTypeManifest+", */*")
		answer, err := client.Do(r)
		if err != nil {
			return nil, err
		}
		switch answer.StatusCode {
		case http.StatusOK:
			return answer.Body, nil
		case http.StatusNotFound:
			err = fs.ErrNotExist
		default:
			err = fmt.Errorf("the file server answers %s", answer.Status)
		}
		return nil, errors.Join(err, answer.Body.Close())
	}
}

// read reads what is at a path, if it is not longer than limit.
func (p Packages) read(ctx context.Context, path string, limit int64) ([]byte, error) {
	r, err := p(ctx, path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return b, err
}

// find reads the description of a package by its version or, if file is not "",
// by its digest or file name.
func (p Packages) find(ctx context.Context, component, version, file string) (*pack.Package, error) {
	reference := cmp.Or(file, version)
	if file != "" && pack.CheckDigest(file) != nil {
		b, err := p.read(ctx, "/packages/"+file, pack.MaxManifestSize)
		if err != nil {
			return nil, err
		}
		var found struct{ Digest string }
		if err := json.Unmarshal(b, &found); err != nil {
			return nil, fmt.Errorf("cannot read the answer of the file server: %w", err)
		}
		reference = found.Digest
	}
	at := "/v2/" + component
	manifest, err := p.read(ctx, at+"/manifests/"+reference, pack.MaxManifestSize)
	if err != nil {
		return nil, err
	}
	config, err := pack.ConfigOf(manifest)
	if err != nil {
		return nil, err
	}
	b, err := p.read(ctx, at+"/blobs/"+config.Digest, pack.MaxConfigSize)
	if err != nil {
		return nil, err
	}
	found, err := pack.Parse(manifest, b)
	switch {
	case err != nil:
		return nil, err
	case found.Manifest.Component() != component:
		return nil, fmt.Errorf("the package is for %s, not for %s", found.Manifest.Component(), component)
	case pack.CheckDigest(reference) == nil && found.Digest != reference:
		return nil, fmt.Errorf("the file server has given another package than %s", reference)
	}
	return found, nil
}
