package files

import (
	"io"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// TestShop publishes from within the process: blobs, package and what refers to it are there as after a push, once.
func TestShop(t *testing.T) {
	s := start(t, t.TempDir())
	dir, p := build(t, variation{version: "1.0.0", file: "application.sensor-adapter.sensor_adapter_v1.tar", body: "one", sbom: true})
	for range 2 {
		l, err := pack.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Publish(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
	if all := s.Packages(); len(all) != 1 || all[0].Digest != p.Digest {
		t.Errorf("%+v", all)
	}
	blob, err := s.Open(t.Context(), "/v2/"+component+"/blobs/"+p.Artifacts[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	if n, err := io.Copy(io.Discard, pack.NewVerifyReader(blob, p.Artifacts[0].Descriptor)); err != nil || n == 0 {
		t.Error(n, err)
	}
	if about := s.catalog.about(component, p.Digest); len(about) != 1 {
		t.Errorf("%d refer to it", len(about))
	}
	if err := s.Withdraw(t.Context(), component, "1.0.0"); err != nil || len(s.Packages()) != 0 {
		t.Error(err)
	}
	if err := s.Withdraw(t.Context(), component, "1.0.0"); err == nil {
		t.Error("it is withdrawn twice")
	}
}
