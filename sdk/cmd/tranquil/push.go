package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

type pushCmd struct {
	Package  string `arg:"" help:"Package file or layout directory."`
	URL      string `arg:"" optional:"" help:"File server or OCI registry, as in https://packages.example.org; default: --files."`
	Insecure bool   `help:"Send the token unencrypted to a host that is not this one."`
}

func (c *pushCmd) Run(s *session) error {
	l, err := pack.Open(c.Package)
	if err != nil {
		return err
	}
	defer l.Close()
	repo, err := c.repository(l.Package.Manifest, cmp.Or(c.URL, s.Files), s.Token)
	if err != nil {
		return err
	}
	m := l.Package.Manifest
	// Whatever goes wrong here the push will tell.
	if known, err := repo.Resolve(s.ctx, m.Version); err == nil && known.Digest.String() == l.Package.Digest {
		fmt.Fprintf(s.out, "%s:%s is there already\n%s\n", repo.Reference, m.Version, l.Package.Digest)
		return nil
	}
	if err := push(s.ctx, repo, l); err != nil {
		return fmt.Errorf("cannot push package: %w", err)
	}
	fmt.Fprintf(s.out, "pushed %s:%s\n%s\n", repo.Reference, m.Version, l.Package.Digest)
	return nil
}

// repository returns where a component's packages live: type/name at a server.
func (c *pushCmd) repository(m pack.Manifest, server, token string) (*remote.Repository, error) {
	if server == "" {
		return nil, errors.New("no file server: give a URL, --files or $TRANQUIL_FILES")
	}
	u, err := url.Parse(server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" {
		return nil, fmt.Errorf("%q is not the URL of a file server: want http(s)://host:port", server)
	}
	if u.Scheme == "http" && token != "" && !isLoopback(u.Hostname()) && !c.Insecure {
		return nil, fmt.Errorf("would send the token unencrypted to %s: use https, or --insecure to do it all the same", u.Host)
	}
	repo, err := remote.NewRepository(u.Host + "/" + m.Component())
	if err != nil {
		return nil, fmt.Errorf("cannot push to %s: %w", server, err)
	}
	repo.PlainHTTP = u.Scheme == "http"
	repo.Client = bearer{token}
	return repo, nil
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

// push uploads the blobs that the server does not have, and then the manifest,
// so that a package that can be seen is whole.
func push(ctx context.Context, repo *remote.Repository, l *pack.Layout) error {
	for _, d := range l.Package.Blobs() {
		if err := pushBlob(ctx, repo, l, d); err != nil {
			return fmt.Errorf("blob %s: %w", d.Digest, err)
		}
	}
	return repo.PushReference(ctx, describeOCI(l.Package.Descriptor()), bytes.NewReader(l.Manifest()), l.Package.Manifest.Version)
}

func pushBlob(ctx context.Context, repo *remote.Repository, l *pack.Layout, d pack.Descriptor) error {
	known, err := repo.Blobs().Exists(ctx, describeOCI(d))
	if err != nil || known {
		return err
	}
	blob, err := l.Blob(d)
	if err != nil {
		return err
	}
	defer blob.Close()
	return repo.Blobs().Push(ctx, describeOCI(d), blob)
}

func describeOCI(d pack.Descriptor) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: d.MediaType, Digest: digest.Digest(d.Digest), Size: d.Size}
}
