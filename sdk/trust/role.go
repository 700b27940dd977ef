package trust

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// Names of the roles that every repository has. Online is no role of TUF: it
// stands for snapshot and timestamp, which have the same keys.
const (
	Root      = "root"
	Targets   = "targets"
	Snapshot  = "snapshot"
	Timestamp = "timestamp"
	Online    = "online"
)

// For how long what a role has signed is good.
const (
	day             = 24 * time.Hour
	OfflineValidity = 365 * day // root, targets and authors
	SnapshotGood    = 7 * day
	TimestampGood   = 2 * day
)

// Bounds on what a device reads.
const (
	MaxSize    = 1 << 20 // bytes of one file
	maxRoots   = 256     // new root files in one go
	maxAuthors = 1000    // delegations
)

var roleForm = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// CheckAuthor refuses a name that no author can have: it is one of those above,
// or not of the form that component names have.
func CheckAuthor(name string) error {
	if slices.Contains([]string{Root, Targets, Snapshot, Timestamp, Online}, name) {
		return fmt.Errorf("%q is a role of its own and cannot be an author", name)
	}
	if len(name) > 63 || !roleForm.MatchString(name) {
		return fmt.Errorf("%.80q is no author: want a-z, 0-9 and single hyphens, at most 63", name)
	}
	return nil
}

// File is the name of a role's metadata: "3.root.json", or "timestamp.json",
// which has no version since nobody knows it before.
func File(role string, version int64) string {
	if role == Timestamp {
		return role + ".json"
	}
	return strconv.FormatInt(version, 10) + "." + role + ".json"
}

// ParseFile is the reverse of [File]; the version of timestamp.json is 0.
func ParseFile(name string) (role string, version int64, err error) {
	if name == Timestamp+".json" {
		return Timestamp, 0, nil
	}
	number, rest, _ := strings.Cut(name, ".")
	role, ok := strings.CutSuffix(rest, ".json")
	version, err = strconv.ParseInt(number, 10, 64)
	top := slices.Contains([]string{Root, Targets, Snapshot}, role)
	if !ok || err != nil || version < 1 || strconv.FormatInt(version, 10) != number || !top && CheckAuthor(role) != nil {
		return "", 0, fmt.Errorf("%.100q is no name of metadata, as in 1.root.json", name)
	}
	return role, version, nil
}

// TargetPath is the path that a package has as a target.
func TargetPath(component, version string) string { return component + "/" + version }

// A Package is what is to be vouched for.
type Package struct {
	Component string // "application/greeter"
	Version   string
	Digest    string // of the manifest, "sha256:" and 64 hex digits
	Size      int64  // of the manifest, bytes
}

// Of describes p.
func Of(p *pack.Package) Package {
	return Package{p.Manifest.Component(), p.Manifest.Version, p.Digest, p.Size}
}

func (p Package) path() string { return TargetPath(p.Component, p.Version) }
