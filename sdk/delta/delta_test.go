package delta

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// scratch makes files that are gone with the test.
func scratch(t testing.TB) Scratch {
	dir := t.TempDir()
	return func(int64) (*os.File, error) { return os.CreateTemp(dir, "scratch-*") }
}

func file(t testing.TB, b []byte) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "file-*")
	if err == nil {
		_, err = f.Write(b)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// thereAndBack makes a delta, applies it, and returns its bytes.
func thereAndBack(t testing.TB, base, target []byte, layer bool) []byte {
	t.Helper()
	var delta, got bytes.Buffer
	var unpacked int64
	if layer {
		unpacked = MaxSize
	}
	if err := Make(&delta, file(t, base), file(t, target), unpacked, scratch(t)); err != nil {
		t.Fatal(err)
	}
	if err := Apply(&got, file(t, delta.Bytes()), file(t, base), scratch(t)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), target) {
		t.Fatalf("%d bytes came out that are not the %d of the target", got.Len(), len(target))
	}
	return delta.Bytes()
}

// noise is the same each time, and cannot be compressed.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// code looks like a program whose addresses have all moved by so much.
func code(n int, moved uint32) []byte {
	b := noise(7, n)
	for i := 0; i+16 <= n; i += 16 {
		binary.LittleEndian.PutUint32(b[i:], uint32(i/3)+moved)
	}
	return b
}

// program has n functions that refer to each other in three ways, and in the middle of
// them a gap of so many bytes.
func program(n, gap int) []byte {
	const size = 32
	at := func(i int) int {
		if i >= n/2 {
			return i*size + gap
		}
		return i * size
	}
	b := noise(8, n*size+gap)
	for i := range n {
		from, to := at(i), at(i*7919%n)
		f := b[from:]
		copy(f, noise(byte(i%256), size))
		binary.LittleEndian.PutUint32(f, uint32(to))
		binary.LittleEndian.PutUint32(f[9:], uint32(to-from-13))
		binary.LittleEndian.PutUint32(f[16:], 0xeb<<24|uint32(to-from-24)>>2&0xffffff)
	}
	return b
}

func TestMake(t *testing.T) {
	old := noise(1, 300_000)
	edit := func(f func(b []byte) []byte) []byte { return f(bytes.Clone(old)) }
	for name, tt := range map[string]struct {
		base, target []byte
		most         int // bytes of the delta
	}{
		"same":               {old, old, 100},
		"empty":              {old, nil, 100},
		"of nothing":         {nil, old, len(old) + 1000},
		"both empty":         {nil, nil, 100},
		"short":              {[]byte("abc"), []byte("abd"), 100},
		"another":            {old, noise(2, 300_000), 301_000},
		"one byte":           {old, edit(func(b []byte) []byte { b[1000]++; return b }), 150},
		"inserted":           {old, edit(func(b []byte) []byte { return append(append(b[:5000:5000], "new"...), old[5000:]...) }), 150},
		"removed":            {old, edit(func(b []byte) []byte { return append(b[:5000], b[5100:]...) }), 150},
		"cut":                {old, old[:150_001], 150},
		"longer":             {old, append(old[:len(old):len(old)], "the end"...), 150},
		"turned round":       {old, append(old[200_000:len(old):len(old)], old[:200_000]...), 200},
		"addresses move":     {code(300_000, 0), code(300_000, 1000), 1500},
		"more in the middle": {program(10_000, 0), program(10_000, 652), 3800},
		"zeros":              {make([]byte, 100_000), make([]byte, 200_000), 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := len(thereAndBack(t, tt.base, tt.target, false)); got > tt.most {
				t.Errorf("the delta has %d bytes, want at most %d", got, tt.most)
			}
		})
	}
}

// TestFormat applies a delta that was made when the format was new: a device with this
// version does the same for ever. Other deltas may be made now, but not of another format.
func TestFormat(t *testing.T) {
	d, err := os.ReadFile(filepath.Join("testdata", "format2.delta"))
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	if err := Apply(&got, file(t, d), file(t, program(200, 0)), scratch(t)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), program(200, 652)) {
		t.Error("something else came out")
	}
}

// TestWide compares files that are larger than what is looked at together.
func TestWide(t *testing.T) {
	const span = 64 << 10
	old := noise(3, 10*span+1000)
	now := append(old[5000:7*span:7*span], old[7*span+5000:]...)
	var delta, got bytes.Buffer
	open := func(b []byte) content {
		c := content{plain{bytes.NewReader(b)}, int64(len(b)), nil}
		c.parts, _ = wholly(c)
		return c
	}
	w, err := newWriter(scratch(t))
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	err = compare(w, open(old), open(now), span)
	if err := errors.Join(err, w.finish(&delta, header{base: int64(len(old)), target: int64(len(now))})); err != nil {
		t.Fatal(err)
	}
	if err := Apply(&got, file(t, delta.Bytes()), file(t, old), scratch(t)); err != nil || !bytes.Equal(now, got.Bytes()) {
		t.Fatalf("%v: %d bytes came out", err, got.Len())
	}
	if delta.Len() > 1000 {
		t.Errorf("the delta has %d bytes", delta.Len())
	}
}

// layer packs files in that order, as packages have them.
func layer(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	zw, err := pack.Compress(&b)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(zw)
	for i := 0; i < len(files); i += 2 {
		if err := tw.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(tw, files[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestMakeOfLayers(t *testing.T) {
	a, b, c := string(noise(4, 100_000)), string(noise(5, 100_000)), string(noise(6, 100_000))
	base := layer(t, "a", a, "b", b, "lib/c-1.2.so", c)
	for name, tt := range map[string]struct {
		target []byte
		most   int
	}{
		"same":                {base, 100},
		"one is new":          {layer(t, "a", a, "b", b, "c", "something", "lib/c-1.2.so", c), 300},
		"one is gone":         {layer(t, "a", a, "lib/c-1.2.so", c), 150},
		"one has changed":     {layer(t, "a", a, "b", b[:500]+"here"+b[500:], "lib/c-1.2.so", c), 300},
		"another order":       {layer(t, "b", b, "a", a, "lib/c-1.2.so", c), 200},
		"one has moved":       {layer(t, "a", a, "b", b, "opt/c-1.3.so", c[:9]+"x"+c[9:]), 300},
		"all is new":          {layer(t, "x", string(noise(9, 1000))), 1500},
		"an entry without it": {layer(t, "a", "", "b", b, "lib/c-1.2.so", c), 300},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := len(thereAndBack(t, base, tt.target, true)); got > tt.most {
				t.Errorf("the delta has %d bytes, want at most %d", got, tt.most)
			}
		})
	}
}

// TestNone asks for deltas that no device could apply.
func TestNone(t *testing.T) {
	good := layer(t, "a", "content")
	var other bytes.Buffer // by the standard library, or another level: other bytes of the same content
	zw, _ := pack.Compress(&other)
	zw.Write([]byte("no tar at all"))
	zw.Close()
	foreign := bytes.Clone(good)
	foreign[9] = 3 // the operating system in the header of gzip
	for name, target := range map[string][]byte{
		"no gzip": []byte("no gzip"), "no tar": other.Bytes(), "compressed by others": foreign, "cut": good[:len(good)-4], "empty": nil,
	} {
		if err := Make(io.Discard, file(t, good), file(t, target), MaxSize, scratch(t)); !errors.Is(err, ErrNone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Make(io.Discard, file(t, good), file(t, layer(t, "a", strings.Repeat("bomb", 1<<20))), 1<<20, scratch(t)); !errors.Is(err, ErrNone) {
		t.Errorf("a layer that is more than the disk has room for: %v", err)
	}
}

// TestDamage changes each byte of a delta, and cuts it everywhere: there is an error,
// or other bytes, which the digest tells; never more than were promised.
func TestDamage(t *testing.T) {
	base := code(400, 0)
	target := append(append(bytes.Clone(base[100:]), "something new"...), code(300, 5)...)
	delta := thereAndBack(t, base, target, false)
	dir, from := t.TempDir(), file(t, base)
	try := func(name string, b []byte) {
		path := filepath.Join(dir, "delta")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var got bytes.Buffer
		if err := Apply(&got, f, from, scratch(t)); err == nil && len(b) < len(delta) {
			t.Errorf("%s: no error", name)
		}
		if got.Len() > len(target)*300 { // a damaged size may be larger
			t.Errorf("%s: %d bytes", name, got.Len())
		}
	}
	for i := range delta {
		b := bytes.Clone(delta)
		b[i] ^= 0x15
		try(fmt.Sprint("byte ", i), b)
		try(fmt.Sprint("cut at ", i), delta[:i])
	}
	if err := Apply(io.Discard, file(t, delta), file(t, base[1:]), scratch(t)); !errors.Is(err, ErrFormat) {
		t.Errorf("another base: %v", err)
	}
}

// TestScratchFails has the disk be full.
func TestScratchFails(t *testing.T) {
	full := errors.New("disk full")
	base, target := layer(t, "a", "old"), layer(t, "a", "new")
	var delta bytes.Buffer
	if err := Make(&delta, file(t, base), file(t, target), MaxSize, scratch(t)); err != nil {
		t.Fatal(err)
	}
	none := func(int64) (*os.File, error) { return nil, full }
	if err := Apply(io.Discard, file(t, delta.Bytes()), file(t, base), none); !errors.Is(err, full) {
		t.Errorf("apply: %v", err)
	}
	if err := Make(io.Discard, file(t, base), file(t, target), MaxSize, none); err == nil {
		t.Error("make: no error")
	}
}

// TestMemory holds what is allocated, in all, against what is declared, for a target
// many times as large.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("NOT TESTED: the memory that applying takes")
	}
	old := bytes.Repeat(noise(3, 2<<20), 3)
	var words []byte
	for i := range 1 << 18 {
		words = fmt.Appendf(words, "word %d, ", i*i)
	}
	now := bytes.Repeat(append(words, old[1000:]...), 2)
	var delta bytes.Buffer
	if err := Make(&delta, file(t, old), file(t, now), 0, scratch(t)); err != nil {
		t.Fatal(err)
	}
	d, base := file(t, delta.Bytes()), file(t, old)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := Apply(io.Discard, d, base, scratch(t)); err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	used := after.TotalAlloc - before.TotalAlloc
	t.Logf("%d KiB for %d MiB", used>>10, len(now)>>20)
	if used > Memory {
		t.Errorf("%d bytes, declared are %d", used, Memory)
	}
}
