package pack

import (
	"errors"
	"fmt"
	"io"
)

// Verify reads all of the package: every blob is there and is what its digest
// says, transforms are WebAssembly modules, artifacts can be unpacked and are
// as large as declared, and nothing else is in it. It reports all failures.
func (l *Layout) Verify() error {
	var errs []error
	for i, a := range l.Package.Artifacts {
		if err := l.verifyBlob(a.Descriptor, func(r io.Reader) error { _, err := VerifyArtifact(r, a); return err }); err != nil {
			errs = append(errs, fmt.Errorf("artifact %d (%s): %w", i+1, a.Platform(), err))
		}
	}
	for i, t := range l.Package.Transforms {
		if err := l.verifyBlob(t.Descriptor, checkModule); err != nil {
			errs = append(errs, fmt.Errorf("transform %d (%d → %d): %w", i+1, t.From, t.To, err))
		}
		if _, err := l.Schema(t); err != nil {
			errs = append(errs, fmt.Errorf("transform %d (%d → %d): %w", i+1, t.From, t.To, err))
		}
	}
	for _, r := range l.Referrers {
		for _, d := range r.Blobs() {
			if err := l.verifyBlob(d, func(io.Reader) error { return nil }); err != nil {
				errs = append(errs, fmt.Errorf("referrer %s: %w", r.Digest, err))
			}
		}
	}
	return errors.Join(append(errs, l.verifyNames())...)
}

// verifyBlob has look read a blob's content, and then checks its digest, which
// is the first thing wrong if both are.
func (l *Layout) verifyBlob(d Descriptor, look func(io.Reader) error) error {
	blob, err := l.Blob(d)
	if err != nil {
		return err
	}
	defer blob.Close()
	lookErr := look(blob)
	if _, err := io.Copy(io.Discard, blob); err != nil {
		return err
	}
	return lookErr
}

// VerifyArtifact reads the layer of an artifact and returns how many bytes it unpacks
// to. It reads no further than what is declared; that, and no fewer, it has to be.
func VerifyArtifact(r io.Reader, a Artifact) (unpacked int64, err error) {
	if a.MediaType == MediaTypeRaw {
		return a.Size, nil // its digest says all
	}
	limits := DefaultLimits
	if a.Unpacked != 0 {
		limits.Bytes = min(limits.Bytes, a.Unpacked)
	}
	unpacked, err = walkLayer(r, limits, discardEntry)
	if err == nil && a.Unpacked != 0 && unpacked != a.Unpacked {
		err = fmt.Errorf("unpacks to %d bytes, declares %d", unpacked, a.Unpacked)
	}
	return unpacked, err
}

func (l *Layout) verifyNames() error {
	known := map[string]bool{indexFile: true, layoutFile: true}
	for _, d := range l.blobs() {
		known[blobName(d.Digest)] = true
	}
	names, err := l.files.names()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if !known[name] {
			errs = append(errs, fmt.Errorf("%s belongs to nothing in the package", name))
		}
	}
	return errors.Join(errs...)
}
