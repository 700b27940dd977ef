package engine

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestUnpacked: an artifact that unpacks to more than its package says is refused before
// anything of it is unpacked, whoever has let it pass.
func TestUnpacked(t *testing.T) {
	p := build(t, "20ms")
	w, e := newWorld(t, p)
	a := p["2.0.0"].Package.Artifacts[0]
	blob, err := p["2.0.0"].Blob(a.Descriptor)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	if err := w.content.Receive(a.Digest, a.Size, func(_ int64, to io.Writer) error { _, err := io.Copy(to, blob); return err }); err != nil {
		t.Fatal(err)
	}
	if got, err := e.unpacked(t.Context(), a); got != a.Unpacked || got == 0 || err != nil {
		t.Errorf("%d, %v; want %d", got, err, a.Unpacked)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := e.unpacked(ended, a); !errors.Is(err, context.Canceled) {
		t.Errorf("when it is cancelled: %v", err)
	}
	a.Unpacked = 1
	if _, err := e.unpacked(t.Context(), a); err == nil || !strings.Contains(err.Error(), "not what the package says") {
		t.Errorf("of one that lies: %v", err)
	}
}
