package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// TestCosts: a module that serves several transforms is fetched once, and one that was
// there before not at all.
func TestCosts(t *testing.T) {
	blob := func(name string, size int64) pack.Descriptor {
		return pack.Descriptor{Digest: pack.DigestOf([]byte(name)), Size: size}
	}
	edge := func(from, to int, module string) pack.Transform {
		return pack.Transform{Descriptor: blob(module, 1000), From: from, To: to}
	}
	old := &pack.Package{Transforms: []pack.Transform{edge(1, 2, "old"), edge(2, 1, "old")}}
	now := &pack.Package{
		Size: 1, Digest: pack.DigestOf(nil), Config: blob("config", 10), Artifacts: []pack.Artifact{{Descriptor: blob("artifact", 100), OS: "linux"}},
		Transforms: []pack.Transform{edge(1, 2, "old"), edge(2, 3, "new"), edge(3, 2, "new")},
	}
	want := []cost{{Platform: "linux/any", Bytes: 1111, Of: 2111}}
	if d := cmp.Diff(want, costsOf(old, now)); d != "" {
		t.Error(d)
	}
}
