package fetch

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/tranquil-iot/tranquil/agent/internal/content"
	"github.com/tranquil-iot/tranquil/sdk/delta"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// layerOf packs a file as packages have it.
func layerOf(t *testing.T, b []byte) []byte {
	t.Helper()
	var layer bytes.Buffer
	zw, err := pack.Compress(&layer)
	if err != nil {
		t.Fatal(err)
	}
	tw := tar.NewWriter(zw)
	err = tw.WriteHeader(&tar.Header{Name: "program", Mode: 0o755, Size: int64(len(b))})
	if err == nil {
		_, err = tw.Write(b)
	}
	if err := errors.Join(err, tw.Close(), zw.Close()); err != nil {
		t.Fatal(err)
	}
	return layer.Bytes()
}

// A change is two versions of a layer, and the delta between them.
type change struct {
	base, target, delta []byte
}

// newChange makes a change whose delta has fresh bytes and some more.
func newChange(t *testing.T, fresh int) change {
	t.Helper()
	old, _ := randomBlob(40_000 + fresh)
	c := change{base: layerOf(t, old[fresh:]), target: layerOf(t, old)}
	var d bytes.Buffer
	dir := t.TempDir()
	scratch := func(int64) (*os.File, error) { return os.CreateTemp(dir, "scratch-*") }
	if err := delta.Make(&d, onDisk(t, c.base), onDisk(t, c.target), delta.MaxSize, scratch); err != nil {
		t.Fatal(err)
	}
	c.delta = d.Bytes()
	return c
}

func onDisk(t *testing.T, b []byte) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "blob-*")
	if err == nil {
		_, err = f.Write(b)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// hint is what a server says about it.
func (c change) hint() hint {
	return hint{Base: pack.DigestOf(c.base), Digest: pack.DigestOf(c.delta), Size: int64(len(c.delta)), Memory: delta.Memory, Scratch: 1 << 20, Format: delta.Format}
}

func hintPath(target, base string) string {
	return "/deltas/" + component + "/" + target + "?base=" + base + "&format=2"
}

// served is what a server has of it.
func (c change) served(h hint) map[string][]byte {
	b, _ := json.Marshal(h)
	return map[string][]byte{
		hintPath(pack.DigestOf(c.target), pack.DigestOf(c.base)): b,
		blobPath(h.Digest): c.delta,
	}
}

// based are bases that are in a store.
type based struct {
	*content.Store
	bases []pack.Descriptor
}

func (b based) Bases(string) []pack.Descriptor { return b.bases }

// keep puts blobs into a store, as bases.
func keep(t *testing.T, s *content.Store, blobs ...[]byte) based {
	t.Helper()
	b := based{Store: s}
	for _, blob := range blobs {
		d := pack.Descriptor{Digest: pack.DigestOf(blob), Size: int64(len(blob))}
		err := s.Receive(d.Digest, d.Size, func(have int64, w io.Writer) error {
			_, err := w.Write(blob[have:])
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		b.bases = append(b.bases, d)
	}
	return b
}

// TestDelta makes a blob of what is here, over both transports, and fetches nothing
// else.
func TestDelta(t *testing.T) {
	c := newChange(t, 3000)
	digest := pack.DigestOf(c.target)
	each(t, c.served(c.hint()), func(t *testing.T, s served) {
		store := openStore(t, t.TempDir())
		f, err := New(Config{URL: s.url, Store: store, Deltas: keep(t, store, c.base), Patience: ample, Stall: ample / 2})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var last int64
		err = f.Blob(t.Context(), component, digest, int64(len(c.target)), func(done, total int64) {
			if done < last || total != int64(len(c.target)) {
				t.Errorf("progress %d of %d after %d", done, total, last)
			}
			last = done
		})
		if err != nil {
			t.Fatal(err)
		}
		checkBlob(t, store, digest, c.target)
		if last != int64(len(c.target)) {
			t.Errorf("progress ends at %d of %d", last, len(c.target))
		}
		if store.Has(pack.DigestOf(c.delta)) {
			t.Error("the delta is still there")
		}
	})
}

// TestDeltaUseless has the delta be of no use, in many ways: the blob comes whole, and
// the same delta is not fetched again.
func TestDeltaUseless(t *testing.T) {
	c := newChange(t, 3000)
	other := newChange(t, 5000) // of other lengths
	edit := func(f func(h *hint)) hint {
		h := c.hint()
		f(&h)
		return h
	}
	none := pack.DigestOf([]byte("none"))
	for name, tt := range map[string]struct {
		hint  hint
		delta []byte
		spoil bool // the base on the disk
	}{
		"of something else":     {edit(func(h *hint) { h.Base = none }), nil, false},
		"too much memory":       {edit(func(h *hint) { h.Memory = delta.Memory + 1 }), nil, false},
		"more disk than said":   {edit(func(h *hint) { h.Scratch = 1000 }), nil, false},
		"no scratch at all":     {edit(func(h *hint) { h.Scratch = -1 }), nil, false},
		"as large as the blob":  {edit(func(h *hint) { h.Size = int64(len(c.target)) }), nil, false},
		"no size":               {edit(func(h *hint) { h.Size = 0 }), nil, false},
		"another size":          {edit(func(h *hint) { h.Size++ }), nil, false},
		"no digest":             {edit(func(h *hint) { h.Digest = "x" }), nil, false},
		"not there":             {edit(func(h *hint) { h.Digest = none }), nil, false},
		"another delta":         {c.hint(), other.delta, false},
		"no delta":              {c.hint(), []byte(strings.Repeat("tqdelta1", 500)), false},
		"the base is spoiled":   {c.hint(), nil, true},
		"it makes other bytes":  {c.hint(), changedAt(c.delta, len(c.delta)-100), false},
		"the server says so":    {hint{}, nil, false},
		"a delta of other size": {c.hint(), c.delta[:len(c.delta)-1], false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			digest := pack.DigestOf(c.target)
			served := c.served(tt.hint)
			if tt.delta != nil {
				h := tt.hint
				h.Digest, h.Size = pack.DigestOf(tt.delta), int64(len(tt.delta))
				served = change{c.base, c.target, tt.delta}.served(h)
			}
			served[blobPath(digest)] = c.target
			s := &httpServer{content: served}
			store := openStore(t, t.TempDir())
			bases := keep(t, store, c.base)
			if tt.spoil {
				spoilBlob(t, store, pack.DigestOf(c.base))
			}
			var notices []string
			f, err := New(Config{
				URL: s.start(t), Store: store, Deltas: bases, Patience: ample, Stall: ample / 2,
				Notice: func(_ context.Context, text string) { notices = append(notices, text) },
			})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for range 2 {
				if err := f.Blob(t.Context(), component, digest, int64(len(c.target)), nil); err != nil {
					t.Fatal(err)
				}
				checkBlob(t, store, digest, c.target)
				if err := store.Delete(digest); err != nil {
					t.Fatal(err)
				}
			}
			if tt.delta != nil && (len(notices) != 1 || !strings.Contains(notices[0], "had to come whole")) {
				t.Errorf("of a delta that came and was of no use people hear: %q", notices)
			}
			if asked := len(s.offsets()); asked > 5 { // hint, delta, blob; hint, blob
				t.Errorf("%d requests", asked)
			}
		})
	}
}

func changedAt(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1
	return b
}

func spoilBlob(t *testing.T, s *content.Store, digest string) {
	t.Helper()
	path, err := s.Path(digest)
	if err == nil {
		err = os.Chmod(path, 0o600)
	}
	if err == nil {
		err = os.WriteFile(path, []byte("spoiled"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestDeltaEveryPoint has something go wrong after each block of a delta, and after
// each stretch of what it makes: the blob is right in the end, and of the delta hardly
// anything comes twice.
func TestDeltaEveryPoint(t *testing.T) {
	const blocks = 12
	c := newChange(t, (blocks-1)<<10)
	digest := pack.DigestOf(c.target)
	size, scale := int64(len(c.target)), float64(len(c.target))/float64(len(c.delta))
	for name, tt := range map[string]struct {
		begin func(r *rig, block int64)
		want  error // nil: it goes on with the whole blob
		whole bool  // the delta comes again, or the blob does
	}{
		"the agent ends":               {func(r *rig, b int64) { r.endAt = int64(float64(b<<10) * scale) }, context.Canceled, false},
		"the agent ends as it applies": {func(r *rig, b int64) { r.killAt = size / blocks * b }, context.Canceled, false},
		"the link is cut":              {func(r *rig, b int64) { r.cutAt = int64(float64(b<<10) * scale) }, ErrUnreachable, false},
		"the disk is full":             {func(r *rig, b int64) { r.room = b << 10 }, syscall.ENOSPC, true},
		"the delta is another":         {func(r *rig, b int64) { r.swapAt = int64(float64(b<<10) * scale) }, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for at := int64(1); at < blocks; at++ {
				r := newRig(t, c.target)
				r.more, r.bases = c.served(c.hint()), []pack.Descriptor{{Digest: pack.DigestOf(c.base), Size: int64(len(c.base))}}
				keep(t, openStore(t, r.dir), c.base)
				tt.begin(r, at)
				err := r.download(t, digest)
				if !errors.Is(err, tt.want) {
					t.Fatalf("after block %d: %v, want %v", at, err, tt.want)
				}
				if (err == nil) != openStore(t, r.dir).Has(digest) {
					t.Fatalf("after block %d: %v, but is there a blob? %v", at, err, err != nil)
				}
				r.mend()
				if err := r.download(t, digest); err != nil {
					t.Fatalf("after block %d: %v when all is well again", at, err)
				}
				checkBlob(t, openStore(t, r.dir), digest, c.target)
				if most := blocks + 10; !tt.whole && r.asked > most {
					t.Errorf("after block %d: %d blocks, want at most %d", at, r.asked, most)
				}
			}
		})
	}
}

// TestDeltaWhole forbids that much comes whole when the delta is of no use.
func TestDeltaWhole(t *testing.T) {
	c := newChange(t, 3000)
	digest, size := pack.DigestOf(c.target), int64(len(c.target))
	h := c.hint()
	bad := []byte(strings.Repeat("useless", 100))
	h.Digest, h.Size = pack.DigestOf(bad), int64(len(bad))
	served := change{c.base, c.target, bad}.served(h)
	served[blobPath(digest)] = c.target
	s := &httpServer{content: served}
	store := openStore(t, t.TempDir())
	m, err := OpenMetered(t.TempDir()+"/metered.json", []Link{{Interface: "lo", Budget: 1 << 30, Whole: size - 1}})
	if err != nil {
		t.Fatal(err)
	}
	open := func() *Fetcher {
		f, err := New(Config{URL: s.start(t), Store: store, Deltas: keep(t, store, c.base), Dial: m.Dial, Whole: m.Whole, Patience: ample})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(f.Close)
		return f
	}
	err = open().Blob(t.Context(), component, digest, size, nil)
	if !errors.Is(err, ErrBudget) || !strings.Contains(err.Error(), "metered.whole") {
		t.Errorf("got %v", err)
	}
	m.links[0].Whole = size
	if err := open().Blob(t.Context(), component, digest, size, nil); err != nil {
		t.Error(err)
	}
	checkBlob(t, store, digest, c.target)
}

// TestDeltaIsNoWayToRemove: whatever a server calls a delta, what was here stays.
func TestDeltaIsNoWayToRemove(t *testing.T) {
	c := newChange(t, 3000)
	digest := pack.DigestOf(c.target)
	kept := layerOf(t, []byte("the artifact of another version"))
	for name, named := range map[string][]byte{"the base": c.base, "a blob that is kept": kept, "the target": c.target} {
		t.Run(name, func(t *testing.T) {
			h := c.hint()
			h.Digest, h.Size = pack.DigestOf(named), int64(len(c.target)-1)
			served := c.served(h)
			served[blobPath(digest)] = c.target
			s := &httpServer{content: served}
			store := openStore(t, t.TempDir())
			bases := keep(t, store, c.base)
			keep(t, store, kept)
			f, err := New(Config{URL: s.start(t), Store: store, Deltas: bases, Patience: ample, Stall: ample / 2})
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := f.Blob(t.Context(), component, digest, int64(len(c.target)), nil); err != nil {
				t.Fatal(err)
			}
			for _, b := range [][]byte{c.base, kept, c.target} {
				checkBlob(t, store, pack.DigestOf(b), b)
			}
		})
	}
}
