package pack

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func edge(from, to int) Transform { return Transform{From: from, To: to} }

func TestChain(t *testing.T) {
	ladder := []Transform{edge(1, 2), edge(2, 3), edge(3, 4), edge(4, 3), edge(3, 2), edge(1, 3)}
	for _, test := range []struct {
		from, to int
		want     []Transform // nil: no way
	}{
		{2, 2, []Transform{}},
		{1, 2, []Transform{edge(1, 2)}},
		{1, 4, []Transform{edge(1, 3), edge(3, 4)}}, // the short way
		{4, 2, []Transform{edge(4, 3), edge(3, 2)}},
		{2, 1, nil},
		{9, 1, nil},
	} {
		got, err := Chain(ladder, test.from, test.to)
		if (err != nil) != (test.want == nil) {
			t.Errorf("%d → %d: error %v", test.from, test.to, err)
		}
		if diff := cmp.Diff(fmt.Sprint(test.want), fmt.Sprint(got)); diff != "" {
			t.Errorf("%d → %d:\n%s", test.from, test.to, diff)
		}
	}
}

func TestArtifact(t *testing.T) {
	on := func(os, arch, variant string) Artifact { return Artifact{OS: os, Arch: arch, Variant: variant} }
	all := &Package{Artifacts: []Artifact{
		on("linux", "arm", "v6"), on("linux", "arm", "v7"), on("linux", "arm", ""), on("linux", "amd64", ""),
		on("linux", "", ""), on("", "", ""),
	}}
	for _, test := range []struct {
		has          *Package
		device, want Platform
		fails        bool
	}{
		{has: all, device: Platform{"linux", "arm", "v7"}, want: Platform{"linux", "arm", "v7"}},
		{has: all, device: Platform{"linux", "arm", "v8"}, want: Platform{"linux", "arm", "v7"}},
		{has: all, device: Platform{"linux", "arm", "v6"}, want: Platform{"linux", "arm", "v6"}},
		{has: all, device: Platform{"linux", "arm", "v5"}, want: Platform{"linux", "arm", ""}},
		{has: all, device: Platform{"linux", "arm", ""}, want: Platform{"linux", "arm", ""}},
		{has: all, device: Platform{"linux", "riscv64", ""}, want: Platform{"linux", "", ""}},
		{has: all, device: Platform{"darwin", "arm64", ""}, want: Platform{}},
		{has: &Package{Artifacts: all.Artifacts[:2]}, device: Platform{"linux", "arm", "v5"}, fails: true},
		{has: &Package{Artifacts: all.Artifacts[:4]}, device: Platform{"linux", "386", ""}, fails: true},
		{has: &Package{Artifacts: []Artifact{on("linux", "amd64", "v2")}}, device: Platform{"linux", "amd64", "v3"}, fails: true},
	} {
		got, err := test.has.Artifact(test.device)
		if (err != nil) != test.fails || got.Platform() != test.want {
			t.Errorf("%s: got %s, %v; want %s", test.device, got.Platform(), err, test.want)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	ascending := []string{"", "not a version", "0.9.0", "1.0.0-rc.1", "1.0.0-rc.2", "1.0.0", "1.2.0", "1.10.0", "2.0.0"}
	for i, a := range ascending {
		for j, b := range ascending {
			if got, want := CompareVersions(a, b), min(1, max(-1, i-j)); got != want {
				t.Errorf("%q against %q: got %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestSatisfies(t *testing.T) {
	for _, test := range []struct {
		version, constraint string
		want, fails         bool
	}{
		{"1.2.3", ">=1.2", true, false},
		{"1.1.9", ">=1.2", false, false},
		{"2.0.3", "^2, !=2.0.3", false, false},
		{"", ">=1.2", false, false},
		{"1.2.3", "newest", false, true},
	} {
		got, err := Satisfies(test.version, test.constraint)
		if got != test.want || (err != nil) != test.fails {
			t.Errorf("%s meets %s: got %v, %v", test.version, test.constraint, got, err)
		}
	}
}

// TestImage: raw artifacts are for devices without an agent, and for no others.
func TestImage(t *testing.T) {
	raw := Artifact{Descriptor: Descriptor{MediaType: MediaTypeRaw}}
	onARM := raw
	onARM.OS, onARM.Arch = "linux", "arm"
	packed := Artifact{Descriptor: Descriptor{MediaType: MediaTypeArtifact}}
	for _, test := range []struct {
		has          []Artifact
		device       string
		image, agent string // media type and platform, "" if there is none
	}{
		{[]Artifact{raw}, "", MediaTypeRaw + " any/any", MediaTypeRaw + " any/any"},
		{[]Artifact{packed}, "", MediaTypeArtifact + " any/any", MediaTypeArtifact + " any/any"},
		{[]Artifact{packed, raw, onARM}, "", MediaTypeRaw + " any/any", MediaTypeArtifact + " any/any"},
		{[]Artifact{packed, raw, onARM}, "linux/arm", MediaTypeRaw + " linux/arm", MediaTypeArtifact + " any/any"},
		{[]Artifact{onARM}, "any/amd64", "", ""},
	} {
		p := &Package{Artifacts: test.has}
		device, err := ParsePlatform(test.device)
		if err != nil {
			t.Fatal(err)
		}
		show := func(a Artifact, err error) string {
			if err != nil {
				return ""
			}
			return a.MediaType + " " + a.Platform().String()
		}
		if got := show(p.Image(device)); got != test.image {
			t.Errorf("%q of %v: image %s, want %s", test.device, test.has, got, test.image)
		}
		if got := show(p.Artifact(device)); got != test.agent {
			t.Errorf("%q of %v: artifact %s, want %s", test.device, test.has, got, test.agent)
		}
	}
	for _, bad := range []string{"Linux", "linux/arm/v7/x", "a b"} {
		if _, err := ParsePlatform(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}
