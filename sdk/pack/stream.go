package pack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
)

// A Stream reads the single-file form of a package from its beginning to its
// end, as it arrives: the order of the members (SPEC.md, section 5) brings the
// manifest first. What refers to the package comes after its layers, and is not
// read. If the source can seek, what nobody wants is not read.
type Stream struct {
	Package  *Package
	Manifest []byte // the OCI manifest, whose digest is the package's
	Config   []byte

	source io.Reader
	tar    *tar.Reader
	layers map[string]Descriptor // that are yet to come, by member name
	member Descriptor            // the present layer
	at     int64                 // where it begins, if the source can seek
}

// NewStream reads up to the layers. ErrDigest marks bytes that are not what
// the manifest says; other errors say that this is no package, or come from r.
func NewStream(r io.Reader) (*Stream, error) {
	s := &Stream{source: r, tar: tar.NewReader(r), layers: map[string]Descriptor{}}
	index, err := s.small(indexFile, MaxManifestSize)
	if err != nil {
		return nil, err
	}
	listed, err := parseIndex(index)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", indexFile, err)
	}
	mark, err := s.small(layoutFile, maxText)
	if err != nil {
		return nil, err
	}
	if err := checkMark(mark); err != nil {
		return nil, err
	}
	if s.Manifest, err = s.blob(listed[0], MaxManifestSize); err != nil {
		return nil, err
	}
	config, err := ConfigOf(s.Manifest)
	if err != nil {
		return nil, err
	}
	if s.Config, err = s.blob(config, MaxConfigSize); err != nil {
		return nil, err
	}
	if s.Package, err = Parse(s.Manifest, s.Config); err != nil {
		return nil, err
	}
	for _, b := range s.Package.Blobs() {
		s.layers[blobName(b.Digest)] = b
	}
	delete(s.layers, blobName(config.Digest))
	return s, nil
}

// Next goes on to the next layer; io.EOF says that there is none. The layers
// before it need not have been read.
func (s *Stream) Next() (Descriptor, error) {
	if len(s.layers) == 0 {
		return Descriptor{}, io.EOF
	}
	if seeker, can := s.source.(io.Seeker); can && s.member.Digest != "" {
		if _, err := seeker.Seek(s.at, io.SeekStart); err != nil { // where the tar reader believes to be
			return Descriptor{}, err
		}
	}
	header, err := s.next()
	if err != nil {
		return Descriptor{}, err
	}
	d, known := s.layers[header.Name]
	if !known || header.Size != d.Size {
		return Descriptor{}, fmt.Errorf("member %.80q does not belong here, or has another size than the manifest says", header.Name)
	}
	delete(s.layers, header.Name)
	s.member = d
	if seeker, can := s.source.(io.Seeker); can {
		s.at, err = seeker.Seek(0, io.SeekCurrent)
	}
	return d, err
}

// From returns the present layer from an offset on. It can be called again only
// if the source can seek. The bytes are not checked.
func (s *Stream) From(offset int64) (io.Reader, error) {
	if offset < 0 || offset > s.member.Size {
		return nil, fmt.Errorf("a layer of %d bytes has none at %d", s.member.Size, offset)
	}
	if seeker, can := s.source.(io.Seeker); can {
		_, err := seeker.Seek(s.at+offset, io.SeekStart)
		return io.LimitReader(s.source, s.member.Size-offset), err
	}
	_, err := io.CopyN(io.Discard, s.tar, offset)
	return s.tar, err
}

// next goes on to the next member that is a file.
func (s *Stream) next() (*tar.Header, error) {
	for range maxMembers {
		header, err := s.tar.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("the package file ends before its last blob: %w", io.ErrUnexpectedEOF)
		case err != nil:
			return nil, fmt.Errorf("not a package file: %w", err)
		case header.Typeflag == tar.TypeReg:
			return header, nil
		case header.Typeflag != tar.TypeDir:
			return nil, fmt.Errorf("member %.80q is neither a file nor a directory", header.Name)
		}
	}
	return nil, fmt.Errorf("more than %d members", maxMembers)
}

// small reads a member that has to be the next one.
func (s *Stream) small(name string, limit int64) ([]byte, error) {
	header, err := s.next()
	if err != nil {
		return nil, err
	}
	if header.Name != name || header.Size > limit {
		return nil, fmt.Errorf("want %s of at most %d bytes next, found %.80q: is not a package file", name, limit, header.Name)
	}
	return io.ReadAll(s.tar)
}

func (s *Stream) blob(d Descriptor, limit int64) ([]byte, error) {
	if err := checkDescriptor(d, limit); err != nil {
		return nil, err
	}
	b, err := s.small(blobName(d.Digest), limit)
	if err != nil {
		return nil, err
	}
	return b, verifyBytes(b, d)
}
