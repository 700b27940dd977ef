package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"oras.land/oras-go/v2/errdef"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

type pullCmd struct {
	Reference string `arg:"" help:"Component, with a version or a digest if it is not to be the newest: application/greeter, application/greeter:2.1.0, application/greeter@sha256:…"`
	URL       string `arg:"" optional:"" help:"File server or OCI registry, as in https://packages.example.org; default: --files."`
	Output    string `short:"o" default:"." help:"File to write, with an extension, or a directory for a file named type.component.package.ext, made if it is not there."`
	Layout    bool   `help:"Write an OCI image layout directory instead of a single file."`
	Insecure  bool   `help:"Send the token unencrypted to a host that is not this one."`
}

// parse splits the reference; without a version or digest, which is "".
func (c *pullCmd) parse() (component, version string, err error) {
	component, version, at := strings.Cut(c.Reference, "@")
	if at {
		return component, version, errors.Join(pack.CheckComponent(component), pack.CheckDigest(version))
	}
	component, version, _ = strings.Cut(c.Reference, ":")
	err = pack.CheckComponent(component)
	if version != "" {
		err = errors.Join(err, pack.CheckVersion(version))
	}
	return component, version, err
}

func (c *pullCmd) Run(s *session) error {
	component, reference, err := c.parse()
	if err != nil {
		return err
	}
	if !c.Layout {
		if c.Output, err = fileOutput(c.Output); err != nil {
			return err
		}
	}
	from, err := s.shop(component, cmp.Or(c.URL, s.Files), c.Insecure)
	if err != nil {
		return err
	}
	t, err := c.pull(s, from, reference)
	switch {
	case errors.Is(err, errdef.ErrNotFound):
		return fmt.Errorf("%s does not have %s", from.Reference.Registry, c.Reference)
	case err != nil:
		return fmt.Errorf("cannot pull package: %w", err)
	case s.JSON:
		return s.printJSON(t)
	}
	fmt.Fprintf(s.out, "%s\n%s %s %s\n", t.Path, component, t.Version, t.Digest)
	return nil
}

// pull fetches a package, and what is said about it, and checks every byte.
func (c *pullCmd) pull(s *session, from shop, reference string) (t transfer, err error) {
	if reference == "" {
		if reference, err = from.newest(s.ctx); err != nil {
			return t, err
		}
	}
	manifest, err := from.manifest(s.ctx, reference)
	if err != nil {
		return t, err
	}
	of := pack.Descriptor{MediaType: pack.MediaTypeManifest, Digest: pack.DigestOf(manifest), Size: int64(len(manifest))}
	referrers, err := from.about(s.ctx, of)
	if err != nil {
		return t, fmt.Errorf("what refers to it: %w", err)
	}
	bar := s.bar("pulling")
	defer bar.clear()
	total := pack.Announced(manifest)
	for _, b := range referrers {
		total += pack.Announced(b)
	}
	progress := func(n int64) { t.Bytes += n; bar.show(t.Bytes, total) }
	blob := func(d pack.Descriptor) (io.ReadCloser, error) { return from.blob(s.ctx, d, progress) }
	var p *pack.Package
	if t.Path = c.Output; c.Layout {
		p, err = pack.Save(c.Output, manifest, referrers, blob)
	} else {
		p, t.Path, err = pack.SaveFile(c.Output, manifest, referrers, blob)
	}
	if err != nil {
		return t, err
	}
	t.Version, t.Digest, t.Referrers = p.Manifest.Version, p.Digest, len(referrers)
	t.Reference = from.named(t.Version)
	return t, nil
}
