package pack

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// ErrDigest marks bytes that are not the ones their descriptor names.
var ErrDigest = errors.New("content does not match its digest")

const digestPrefix = "sha256:"

// DigestOf returns the digest of b in the form "sha256:<64 hex digits>".
func DigestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return digestPrefix + hex.EncodeToString(sum[:])
}

// CheckDigest reports whether s is a SHA-256 digest in its one canonical form,
// with lower-case digits: it is used in file names and URLs.
func CheckDigest(s string) error {
	digits, ok := strings.CutPrefix(s, digestPrefix)
	if !ok || len(digits) != 2*sha256.Size || strings.Trim(digits, "0123456789abcdef") != "" {
		return fmt.Errorf("%.80q is not a digest: want sha256: and 64 lower-case hex digits", s)
	}
	return nil
}

// verifyBytes reports whether b is what d names, with ErrDigest if not.
func verifyBytes(b []byte, d Descriptor) error {
	if int64(len(b)) != d.Size || DigestOf(b) != d.Digest {
		return fmt.Errorf("blob %s: %w", d.Digest, ErrDigest)
	}
	return nil
}

// NewVerifyReader returns a reader of r that ends in io.EOF only if exactly
// the content d names was read, and in ErrDigest otherwise. It never passes on
// more than d.Size bytes. What was read counts only after io.EOF was seen.
func NewVerifyReader(r io.Reader, d Descriptor) io.Reader {
	v := &verifyReader{source: r, want: d, left: d.Size, hash: sha256.New()}
	if d.Size < 0 {
		v.err = fmt.Errorf("blob %s has a negative size: %w", d.Digest, ErrDigest)
	}
	return v
}

type verifyReader struct {
	source io.Reader
	want   Descriptor
	left   int64
	hash   hash.Hash
	err    error
}

func (v *verifyReader) Read(p []byte) (int, error) {
	if v.err != nil {
		return 0, v.err
	}
	// One byte more than is left tells a longer source from a whole one.
	if int64(len(p)) > v.left+1 {
		p = p[:v.left+1]
	}
	n, err := v.source.Read(p)
	if int64(n) > v.left {
		v.err = fmt.Errorf("blob %s is longer than %d bytes: %w", v.want.Digest, v.want.Size, ErrDigest)
		return int(v.left), v.err
	}
	v.left -= int64(n)
	v.hash.Write(p[:n])
	if err == io.EOF {
		err = v.end()
	}
	v.err = err
	return n, err
}

// end judges the content when the source has ended.
func (v *verifyReader) end() error {
	if v.left > 0 {
		return fmt.Errorf("blob %s ends %d bytes early: %w", v.want.Digest, v.left, ErrDigest)
	}
	if got := digestPrefix + hex.EncodeToString(v.hash.Sum(nil)); got != v.want.Digest {
		return fmt.Errorf("blob %s: %w", v.want.Digest, ErrDigest)
	}
	return io.EOF
}
