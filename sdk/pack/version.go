package pack

import (
	"fmt"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// CheckVersion reports whether v is a semantic version 2.0.0 that a package
// may have: all three numbers, no leading "v", and no build metadata, since
// versions that differ only in that have no order and "+" is not allowed in
// an OCI tag.
func CheckVersion(v string) error {
	if len(v) > maxVersion {
		return fmt.Errorf("version is longer than %d characters", maxVersion)
	}
	parsed, err := semver.StrictNewVersion(v)
	if err != nil {
		return fmt.Errorf("version %q is not a semantic version like 2.0.1 or 2.1.0-rc.1", v)
	}
	if parsed.Metadata() != "" {
		return fmt.Errorf("version %q has build metadata: leave out the part from + on", v)
	}
	return nil
}

// CompareVersions returns -1, 0 or +1 as a is below, equal to or above b in
// semantic versioning's order. What is no version is below every version, so
// a component that is not installed ("") is below all of its packages.
func CompareVersions(a, b string) int {
	va, errA := semver.StrictNewVersion(a)
	vb, errB := semver.StrictNewVersion(b)
	switch {
	case errA != nil && errB != nil:
		return strings.Compare(a, b)
	case errA != nil:
		return -1
	case errB != nil:
		return 1
	}
	return va.Compare(vb)
}

// Satisfies reports whether version meets a constraint of Manifest.Requires,
// such as ">=1.2" or "^2, !=2.0.3". A pre-release meets only constraints that
// name one.
func Satisfies(version, constraint string) (bool, error) {
	c, err := parseConstraint(constraint)
	if err != nil {
		return false, err
	}
	v, err := semver.StrictNewVersion(version)
	if err != nil {
		return false, nil // not installed, or nothing that can be compared
	}
	return c.Check(v), nil
}

func checkConstraint(s string) error {
	_, err := parseConstraint(s)
	return err
}

func parseConstraint(s string) (*semver.Constraints, error) {
	if len(s) > maxVersion {
		return nil, fmt.Errorf("version constraint is longer than %d characters", maxVersion)
	}
	c, err := semver.NewConstraint(s)
	if err != nil {
		return nil, fmt.Errorf("%q is not a version constraint like \">=1.2\"", s)
	}
	return c, nil
}
