package trust_test

import (
	"log/slog"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/trust"
	"github.com/tranquil-iot/tranquil/sdk/trust/trusttest"
)

// FuzzMetadata has any bytes stand in for any file: a device neither breaks nor
// trusts a package that nobody has signed for, and recovers.
func FuzzMetadata(f *testing.F) {
	w := trusttest.New(f)
	snapshot, _ := w.Newest(trust.Snapshot)
	names := []string{"timestamp.json", snapshot, "2.targets.json", "1.alice.json", "2.root.json", "1.root.json"}
	for i, name := range names {
		b, found := w.Get(name)
		if !found {
			b = w.FirstRoot()
		}
		f.Add(uint8(i), b)
		f.Add(uint8(i), []byte(`{"signed":{"_type":"targets","targets":{"a":null}},"signatures":[]}`))
		f.Add(uint8(i), []byte(`{"signed":{"_type":"root","roles":{"root":null},"keys":{"a":null}},"signatures":[null]}`))
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		name := names[int(which)%len(names)]
		d := newDevice(t, w)
		w.Serve(name, b)
		if _, err := d.Verify(t.Context(), trusttest.PackageOf("6.6.6")); err == nil {
			t.Error("trusted")
		}
		w.Behave()
		d.trusts(t, w.Good)
		if c, err := trust.Open(trust.Config{Dir: t.TempDir(), Root: b, Fetch: w.Fetch, Clock: w.Clock()}); err == nil {
			if _, err := c.Verify(t.Context(), trusttest.PackageOf("6.6.6")); err == nil {
				t.Error("trusted")
			}
		}
		r, err := trust.OpenRepository(t.TempDir(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Add(name, b)
		r.Standings(w.Now)
	})
}

// FuzzKey reads keys, which people copy about.
func FuzzKey(f *testing.F) {
	key, err := trust.NewKey()
	if err != nil {
		f.Fatal(err)
	}
	b, err := trust.EncodeKey(key, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\ne30=\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = trust.DecodeKey(b, func() ([]byte, error) { return []byte("secret"), nil })
		_, _ = trust.DecodePublicKey(b)
	})
}
