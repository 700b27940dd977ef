package pack

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"
)

// TestVerifyArtifact: a layer has what is declared, and of one with more no more is
// read.
func TestVerifyArtifact(t *testing.T) {
	var layer bytes.Buffer
	zw, err := Compress(&layer)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(zw)
	for _, size := range []int{1000, 200_000_000} {
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("f", size%7+1), Mode: 0o644, Size: int64(size)}); err != nil {
			t.Fatal(err)
		}
		if _, err := tw.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []interface{ Close() error }{tw, zw} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	const all = 200_001_000
	for _, test := range []struct {
		declared int64
		media    string
		want     int64
		err      string
		whole    bool // it is read to its end
	}{
		{all, MediaTypeArtifact, all, "", true},
		{0, MediaTypeArtifact, all, "", true},
		{1, MediaTypeArtifact, 0, "unpacks to more than 1 bytes", false},
		{all - 1, MediaTypeArtifact, 1000, "unpacks to more than", false},
		{all + 1, MediaTypeArtifact, all, "declares 200001001", true},
		{7, MediaTypeRaw, int64(layer.Len()), "", false},
	} {
		r := bytes.NewReader(layer.Bytes())
		a := Artifact{Descriptor: Descriptor{MediaType: test.media, Size: int64(layer.Len())}, Unpacked: test.declared}
		got, err := VerifyArtifact(r, a)
		if got != test.want || test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("declared %d: %d, %v", test.declared, got, err)
		}
		if (r.Len() == 0) != test.whole {
			t.Errorf("declared %d: %d of %d bytes are not read", test.declared, r.Len(), layer.Len())
		}
	}
}
