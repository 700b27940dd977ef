package pack

import (
	"cmp"
	"fmt"
	"runtime"
	"strconv"
	"strings"
)

// A Platform is what an artifact runs on, in the words of Go's GOOS and GOARCH
// and of the OCI image spec: linux, arm, v7.
type Platform struct{ OS, Arch, Variant string }

// Here is the platform that this program was built for. Of the variants of ARM those
// are meant that there are devices for.
func Here() Platform {
	variants := map[string]string{"arm": "v7", "arm64": "v8"}
	return Platform{OS: runtime.GOOS, Arch: runtime.GOARCH, Variant: variants[runtime.GOARCH]}
}

// String writes p as "linux/arm/v7"; what is not said is "any".
func (p Platform) String() string {
	s := cmp.Or(p.OS, "any") + "/" + cmp.Or(p.Arch, "any")
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// ParsePlatform reads "linux/arm/v7", "any/arm" or, for one that is not known, "".
func ParsePlatform(s string) (p Platform, err error) {
	parts := strings.Split(s, "/")
	for i, field := range []*string{&p.OS, &p.Arch, &p.Variant} {
		if i < len(parts) && parts[i] != "any" {
			*field = parts[i]
		}
		if *field != "" && checkName(*field) != nil || len(parts) > 3 {
			return Platform{}, fmt.Errorf("%.80q is not a platform: write it as in linux/arm/v7", s)
		}
	}
	return p, nil
}

// Platform returns what a runs on.
func (a Artifact) Platform() Platform { return Platform{OS: a.OS, Arch: a.Arch, Variant: a.Variant} }

// Artifact picks the artifact for a device that has an agent: of those that fit,
// one that is unpacked, or else one that is raw, for an updater that wants it so.
//
// An artifact fits if its OS and its architecture are the device's or unsaid,
// and its variant is unsaid or the device's or, on arm and arm64, a lower one:
// a v7 device runs v6 code. A device that does not know its own variant takes
// only artifacts that say none. Of those that fit, the most specific wins:
// first by OS, then by architecture, then by the highest variant.
func (p *Package) Artifact(device Platform) (Artifact, error) {
	if a, err := p.pick(device, func(a Artifact) bool { return a.MediaType != MediaTypeRaw }); err == nil {
		return a, nil
	}
	return p.pick(device, func(Artifact) bool { return true })
}

// Image picks the artifact for a device that is written it as it is, by the
// objects of LwM2M: of those that fit, as for Artifact, a raw one if there is one.
func (p *Package) Image(device Platform) (Artifact, error) {
	if a, err := p.pick(device, func(a Artifact) bool { return a.MediaType == MediaTypeRaw }); err == nil {
		return a, nil
	}
	return p.pick(device, func(Artifact) bool { return true })
}

func (p *Package) pick(device Platform, of func(Artifact) bool) (Artifact, error) {
	best := -1
	for i, a := range p.Artifacts {
		if of(a) && a.Platform().Fits(device) && (best < 0 || a.Platform().Compare(p.Artifacts[best].Platform()) > 0) {
			best = i
		}
	}
	if best < 0 {
		return Artifact{}, fmt.Errorf("package %s %s has no artifact for %s", p.Manifest.Component(), p.Manifest.Version, device)
	}
	return p.Artifacts[best], nil
}

// Fits reports whether what was made for p runs on a device; see [Package.Artifact].
func (p Platform) Fits(device Platform) bool {
	if p.OS != "" && p.OS != device.OS || p.Arch != "" && p.Arch != device.Arch {
		return false
	}
	if p.Variant == "" || p.Variant == device.Variant {
		return true
	}
	needs, has := variantNumber(p.Variant), variantNumber(device.Variant)
	return strings.HasPrefix(p.Arch, "arm") && needs > 0 && needs <= has
}

// Compare says which of two platforms that fit one device is the more specific: that
// of a positive result is p.
func (p Platform) Compare(other Platform) int {
	return cmp.Or(
		strings.Compare(p.OS, other.OS), // "" is below all
		strings.Compare(p.Arch, other.Arch),
		cmp.Compare(variantNumber(p.Variant), variantNumber(other.Variant)),
		strings.Compare(p.Variant, other.Variant),
	)
}

// variantNumber returns 7 for "v7", and 0 for what has no such form.
func variantNumber(variant string) int {
	digits, ok := strings.CutPrefix(variant, "v")
	n, err := strconv.Atoi(digits)
	if !ok || err != nil {
		return 0
	}
	return n
}
