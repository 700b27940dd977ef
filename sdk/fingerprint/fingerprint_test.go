package fingerprint

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"math/rand/v2"
	"testing"
)

// TestPrint: a content has one fingerprint, and any other content another one:
// a bit changed, blocks in another order, something more or less.
func TestPrint(t *testing.T) {
	p := newPrinter(NewKey())
	content := make([]byte, 3*BlockSize+100)
	rand.NewChaCha8([32]byte{}).Read(content)
	seen := map[Print]string{}
	note := func(name string, content []byte) Print {
		t.Helper()
		got, err := p.Of(bytes.NewReader(content), 0, int64(len(content)))
		if err != nil {
			t.Fatal(err)
		}
		if other, is := seen[got]; is {
			t.Errorf("%s is like %s", name, other)
		}
		seen[got] = name
		return got
	}
	whole := note("it", content)
	if again, err := p.Of(bytes.NewReader(append([]byte("in front"), content...)), 8, int64(len(content))); err != nil || again != whole {
		t.Errorf("at another offset: %x, %v; want %x", again, err, whole)
	}
	for _, at := range []int{0, BlockSize - 1, BlockSize, 2*BlockSize + 7, len(content) - 1} {
		other := bytes.Clone(content)
		other[at] ^= 1
		note("a bit changed", other)
	}
	a, b, rest := content[:BlockSize], content[BlockSize:2*BlockSize], content[2*BlockSize:]
	note("blocks swapped", bytes.Join([][]byte{b, a, rest}, nil))
	note("a block twice", bytes.Join([][]byte{a, a, b, rest}, nil))
	note("a block less", bytes.Join([][]byte{a, rest}, nil))
	note("an end less", content[:3*BlockSize])
	note("a zero more", append(bytes.Clone(content), 0))
	p = newPrinter(NewKey())
	note("it, with another key", content)
	if _, err := p.Of(bytes.NewReader(content), 1, int64(len(content))); err == nil {
		t.Error("bytes that are not there")
	}
}

func TestText(t *testing.T) {
	type both struct {
		Key   Key
		Print Print
	}
	in := both{NewKey(), Print{1, 2, 3}}
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out both
	if err := json.Unmarshal(data, &out); err != nil || out != in {
		t.Errorf("%v, %v", out, err)
	}
	if json.Unmarshal([]byte(`{"Key":"00"}`), &out) == nil {
		t.Error("a key that is too short")
	}
}

// BenchmarkPrint compares with SHA-256.
func BenchmarkPrint(b *testing.B) {
	block := make([]byte, BlockSize)
	p := newPrinter(NewKey())
	b.Run("gmac", func(b *testing.B) {
		b.SetBytes(BlockSize)
		for all := (Print{}); b.Loop(); {
			all = p.Add(all, block)
		}
	})
	b.Run("sha256", func(b *testing.B) {
		b.SetBytes(BlockSize)
		h := sha256.New()
		for b.Loop() {
			h.Write(block)
		}
	})
}
