package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// A shop is where a component's packages live: type/name at a file server, or at
// any OCI registry.
type shop struct{ *remote.Repository }

// shop finds it. The token is sent only where it stays secret, or if insecure.
func (s *session) shop(component, server string, insecure bool) (shop, error) {
	if server == "" {
		return shop{}, errors.New("no file server: give a URL, --files or $TRANQUIL_FILES")
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" {
		return shop{}, fmt.Errorf("%q is not the URL of a file server: want http(s)://host:port", server)
	}
	if u.Scheme == "http" && s.Token != "" && !isLoopback(u.Hostname()) && !insecure {
		return shop{}, fmt.Errorf("would send the token unencrypted to %s: use https, or --insecure to do it all the same", u.Host)
	}
	repo, err := remote.NewRepository(u.Host + "/" + component)
	if err != nil {
		return shop{}, fmt.Errorf("cannot use %s: %w", server, err)
	}
	repo.PlainHTTP = u.Scheme == "http"
	repo.Client = bearer{s.Token}
	if secret := u.Scheme == "https" || isLoopback(u.Hostname()) || insecure; s.Token == "" && secret {
		repo.Client = stored()
	}
	return shop{repo}, nil
}

// stored shows what docker login and oras login have stored, where a registry asks.
func stored() remote.Client {
	store, err := credentials.NewStoreFromDocker(credentials.StoreOptions{})
	if err != nil {
		return bearer{}
	}
	return &auth.Client{Client: http.DefaultClient, Credential: credentials.Credential(store), Cache: auth.NewCache()}
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// bearer is an HTTP client that shows a token with every request.
type bearer struct{ token string }

func (b bearer) Do(req *http.Request) (*http.Response, error) {
	if b.token != "" {
		req.Header.Set("Authorization", "Bearer "+b.token)
	}
	return http.DefaultClient.Do(req)
}

// named is how people and other tools write a package that is there.
func (p shop) named(version string) string { return fmt.Sprintf("%s:%s", p.Reference, version) }

// put brings a blob there unless it is there already, and tells how many bytes
// that took.
func (p shop) put(ctx context.Context, l *pack.Layout, d pack.Descriptor, progress func(int64)) (int64, error) {
	known, err := p.Blobs().Exists(ctx, describeOCI(d))
	if err != nil || known {
		progress(d.Size)
		return 0, err
	}
	blob, err := l.Blob(d)
	if err != nil {
		return 0, err
	}
	defer blob.Close()
	return d.Size, p.Blobs().Push(ctx, describeOCI(d), &counted{blob, progress})
}

// refer brings what is said about a package there: its blobs, then the manifest.
func (p shop) refer(ctx context.Context, l *pack.Layout, r *pack.Referrer, progress func(int64)) (sent int64, err error) {
	if known, err := p.Manifests().Exists(ctx, describeOCI(r.Descriptor())); err != nil || known {
		return 0, err
	}
	for _, d := range r.Blobs() {
		n, err := p.put(ctx, l, d, progress)
		if err != nil {
			return sent, err
		}
		sent += n
	}
	b, err := l.ReadBlob(r.Descriptor(), pack.MaxManifestSize)
	if err != nil {
		return sent, err
	}
	return sent + r.Size, p.Manifests().Push(ctx, describeOCI(r.Descriptor()), bytes.NewReader(b))
}

// manifest fetches that of a version or digest.
func (p shop) manifest(ctx context.Context, reference string) ([]byte, error) {
	d, r, err := p.Manifests().FetchReference(ctx, reference)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if d.Size > pack.MaxManifestSize {
		return nil, fmt.Errorf("its manifest has %d bytes", d.Size)
	}
	return content.ReadAll(r, d) // checks size and digest
}

// about fetches the manifests that refer to a package.
func (p shop) about(ctx context.Context, of pack.Descriptor) (all [][]byte, err error) {
	found, err := registry.Referrers(ctx, p, describeOCI(of), "")
	if err != nil {
		return nil, err
	}
	for _, d := range found {
		b, err := p.manifest(ctx, d.Digest.String())
		if err != nil {
			return nil, err
		}
		if _, err := pack.ParseReferrer(b); err == nil { // others than ours may be anything
			all = append(all, b)
		}
	}
	return all, nil
}

// blob opens a blob that is there.
func (p shop) blob(ctx context.Context, d pack.Descriptor, progress func(int64)) (io.ReadCloser, error) {
	r, err := p.Blobs().Fetch(ctx, describeOCI(d))
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{&counted{r, progress}, r}, nil
}

// newest is the highest version that is there; one before a release only if there
// is no other.
func (p shop) newest(ctx context.Context) (best string, err error) {
	err = p.Tags(ctx, "", func(tags []string) error {
		for _, v := range tags {
			if pack.CheckVersion(v) == nil && better(v, best) {
				best = v
			}
		}
		return nil
	})
	if err == nil && best == "" {
		err = errors.New("there is no version")
	}
	return best, err
}

func better(v, best string) bool {
	release := func(v string) bool { return v != "" && !strings.Contains(v, "-") }
	if release(v) != release(best) {
		return release(v)
	}
	return pack.CompareVersions(v, best) > 0
}

// counted tells how many bytes were read.
type counted struct {
	io.Reader
	progress func(int64)
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.progress(int64(n))
	return n, err
}

func describeOCI(d pack.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: digest.Digest(d.Digest), Size: d.Size}
}
