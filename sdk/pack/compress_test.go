package pack

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestCompress holds the compressor to the bytes that it makes, in whatever pieces it
// is fed: devices compress again what deltas make, and must get to the digests of
// packages that others have built. If this fails because the module was raised, deltas
// of packages from before it are of no use any more: give them another version.
func TestCompress(t *testing.T) {
	var content []byte
	source := rand.NewChaCha8([32]byte{1})
	upTo := func(n uint64) int { return int(source.Uint64() % n) } // the same on all machines
	for i := 0; len(content) < 1<<20; i++ {
		content = fmt.Appendf(content, "line %d of %d\n", i, upTo(1000))
		if i%50 == 0 {
			content = append(content, bytes.Repeat([]byte{byte(upTo(256))}, upTo(600))...)
			for range upTo(300) {
				content = append(content, byte(upTo(256)))
			}
		}
	}
	for name, piece := range map[string]func() int{
		"whole": func() int { return len(content) },
		"large": func() int { return 100_000 },
		"any":   func() int { return 1 + upTo(5000) },
		"tiny":  func() int { return 1 + upTo(8) },
	} {
		var got bytes.Buffer
		zw, err := Compress(&got)
		if err != nil {
			t.Fatal(err)
		}
		for rest := content; len(rest) > 0; {
			n := min(piece(), len(rest))
			if _, err := zw.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := zw.Close(); err != nil {
			t.Fatal(err)
		}
		const want = "sha256:e055151651c4d35e301e88894288bf46b97a514ae7bec63dd673cfe5e004159a"
		if digest := DigestOf(got.Bytes()); digest != want {
			t.Errorf("%s: %s, want %s", name, digest, want)
		}
	}
}
