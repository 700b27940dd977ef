package delta

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
)

// FuzzApply applies what anyone may send, in bounded memory, and gets no more than
// was promised.
func FuzzApply(f *testing.F) {
	base := append(noise(1, 5000), program(30, 0)...)
	gz := layer(f, "a", string(base))
	for _, target := range [][]byte{base[1000:], append(bytes.Clone(base), base...), code(3000, 5), program(30, 40), nil} {
		var b bytes.Buffer
		if err := Make(&b, file(f, base), file(f, target), 0, scratch(f)); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
		b.Reset()
		if err := Make(&b, file(f, gz), file(f, layer(f, "a", string(target))), MaxSize, scratch(f)); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Add([]byte(magic))
	plain, wrapped := file(f, base), file(f, gz)
	dir := f.TempDir()
	make := func(int64) (*os.File, error) { return os.CreateTemp(dir, "scratch-*") }
	debug.SetGCPercent(20)
	f.Fuzz(func(t *testing.T, b []byte) {
		path := filepath.Join(t.TempDir(), "delta")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		delta, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer delta.Close()
		for _, from := range []*os.File{plain, wrapped} {
			h, _, err := decodeHeader(delta, int64(len(b)))
			if err == nil && h.target > 8<<20 {
				continue // it may well make so much
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := &counter{}
			err = Apply(got, delta, from, make)
			runtime.ReadMemStats(&after)
			if err == nil && !h.wrap && got.n != h.target || !h.wrap && got.n > h.target {
				t.Errorf("%d bytes of %d: %v", got.n, h.target, err)
			}
			if used := after.TotalAlloc - before.TotalAlloc; used > Memory {
				t.Errorf("%d bytes of memory", used)
			}
		}
	})
}

type counter struct{ n int64 }

func (c *counter) Write(b []byte) (int, error) {
	c.n += int64(len(b))
	return len(b), nil
}

var _ io.Writer = (*counter)(nil)

// FuzzMake makes deltas of anything, and they lead there.
func FuzzMake(f *testing.F) {
	f.Add([]byte("some text, and more of it"), []byte("some other text, and more of it"))
	f.Add(noise(1, 200), append(noise(2, 20), noise(1, 200)...))
	f.Add([]byte{}, []byte{0})
	f.Fuzz(func(t *testing.T, base, target []byte) {
		thereAndBack(t, base, target, false)
		if len(base)+len(target) < 1<<16 {
			thereAndBack(t, layer(t, "a", string(base), "b", string(target)), layer(t, "b", string(target), "a", string(target)), true)
		}
	})
}
