package pack

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
)

// onlyReads hides that its reader can seek.
type onlyReads struct{ io.Reader }

// counted counts what is read.
type counted struct {
	*bytes.Reader
	read int
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Reader.Read(b)
	c.read += n
	return n, err
}

// takeAll reads a package as it comes, layers from an offset on.
func takeAll(r io.Reader, offset int64) (*Stream, map[string][]byte, error) {
	s, err := NewStream(r)
	if err != nil {
		return nil, nil, err
	}
	layers := map[string][]byte{}
	for {
		d, err := s.Next()
		if err == io.EOF {
			return s, layers, nil
		}
		if err != nil {
			return nil, nil, err
		}
		from, err := s.From(min(offset, d.Size))
		if err != nil {
			return nil, nil, err
		}
		b, err := io.ReadAll(from)
		if err != nil {
			return nil, nil, err
		}
		layers[d.Digest] = b
	}
}

func TestStream(t *testing.T) {
	want, path := build(t, "testdata/example")
	whole := readFile(t, path)
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, offset := range []int64{0, 7, 1 << 40} {
		for name, r := range map[string]io.Reader{"seeks": bytes.NewReader(whole), "only reads": onlyReads{bytes.NewReader(whole)}} {
			s, layers, err := takeAll(r, offset)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if s.Package.Digest != want.Digest || DigestOf(s.Manifest) != want.Digest || DigestOf(s.Config) != want.Config.Digest {
				t.Errorf("%s: package %s, want %s", name, s.Package.Digest, want.Digest)
			}
			for _, d := range want.Blobs() {
				if d == want.Config {
					continue
				}
				blob, err := l.Blob(d)
				if err != nil {
					t.Fatal(err)
				}
				all, err := io.ReadAll(blob)
				if rest := all[min(offset, d.Size):]; err != nil || !bytes.Equal(layers[d.Digest], rest) {
					t.Errorf("%s: %s from %d: %d bytes, want %d, %v", name, d.Digest, offset, len(layers[d.Digest]), len(rest), err)
				}
				blob.Close()
			}
		}
	}
}

// TestStreamSkips reads no layer that nobody wants, if the source can seek.
func TestStreamSkips(t *testing.T) {
	_, path := build(t, "testdata/example")
	whole := readFile(t, path)
	c := &counted{Reader: bytes.NewReader(whole)}
	s, err := NewStream(c)
	if err != nil {
		t.Fatal(err)
	}
	head := c.read
	layers := 0
	for ; ; layers++ {
		if _, err := s.Next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if layers == 0 || c.read-head > layers*2*512 {
		t.Errorf("%d bytes were read for the headers of %d layers", c.read-head, layers)
	}
}

func TestStreamIsRefused(t *testing.T) {
	p, path := build(t, "testdata/example")
	whole := readFile(t, path)
	const trailer = 1024 + 511
	for size := 0; size < len(whole)-trailer; size += 256 {
		if _, _, err := takeAll(onlyReads{bytes.NewReader(whole[:size])}, 0); err == nil {
			t.Errorf("%d of %d bytes count as whole", size, len(whole))
		}
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	places, err := indexTar(f)
	if err != nil {
		t.Fatal(err)
	}
	for name, digest := range map[string]string{"manifest": p.Digest, "config": p.Config.Digest} {
		bad := bytes.Clone(whole)
		bad[places[blobName(digest)].offset] ^= 1
		if _, err := NewStream(bytes.NewReader(bad)); !errors.Is(err, ErrDigest) {
			t.Errorf("a %s that was altered: %v", name, err)
		}
	}
}

func FuzzStream(f *testing.F) {
	_, path := build(f, "testdata/example")
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, int64(0))
	f.Add(b[:2048], int64(3))
	f.Fuzz(func(t *testing.T, b []byte, offset int64) {
		one, _, err := takeAll(bytes.NewReader(b), offset)
		other, _, err2 := takeAll(onlyReads{bytes.NewReader(b)}, offset)
		if (err == nil) != (err2 == nil) || err == nil && one.Package.Digest != other.Package.Digest {
			t.Errorf("a source that seeks: %v; one that only reads: %v", err, err2)
		}
	})
}
