package trust

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// offlineNotice is how long before it expires people hear of what they have to
// sign anew.
const offlineNotice = 30 * day

// Standings tell how the roles stand, and what somebody has to do.
func (r *Repository) Standings(now time.Time) []Standing {
	r.mu.Lock()
	defer r.mu.Unlock()
	all, lost := r.roles(now), r.lost()
	for _, role := range slices.Sorted(maps.Keys(lost)) {
		if !slices.ContainsFunc(all, func(s Standing) bool { return s.Role == role }) {
			all = append(all, Standing{Role: role})
		}
	}
	for i, s := range all {
		if names := lost[s.Role]; names != nil {
			slices.Sort(names)
			all[i].Problem = strings.Join(names, ", ") + " is lost or damaged: " + remedy(s.Role)
		}
	}
	return all
}

func remedy(role string) string {
	if role == Root || role == Targets {
		return "restart the file server, and tranquil trust publish DIR"
	}
	return "publish it again, or have the list signed anew"
}

// lost are files by role that devices will ask for, and which are not there as
// they were.
func (r *Repository) lost() map[string][]string {
	lost := map[string][]string{}
	note := func(name string, newest func(version, of int64) bool) {
		if role, version, err := ParseFile(name); err == nil && (role == Root || newest(version, r.version(role))) {
			lost[role] = append(lost[role], name)
		}
	}
	for name := range r.damaged {
		note(name, func(version, of int64) bool { return version > of })
	}
	for name, digest := range r.files {
		if b, err := r.Read(name); err != nil || pack.DigestOf(b) != digest {
			note(name, func(version, of int64) bool { return version == of })
		}
	}
	for name, meta := range r.current().snapshot.Meta {
		if meta == nil {
			continue
		}
		if name = File(strings.TrimSuffix(name, ".json"), meta.Version); !r.damaged[name] {
			note(name, func(version, of int64) bool { return version > of })
		}
	}
	return lost
}

func (r *Repository) roles(now time.Time) []Standing {
	if r.root == nil {
		return []Standing{{Role: Root, Problem: "there is no root: tranquil trust init"}}
	}
	signed := r.root.Signed
	all := []Standing{r.stand(now, Root, signed.Version, signed.Expires, signed.Roles[Root], verify(r.root, Root, r.root))}
	all = append(all, r.targetsStanding(now))
	if t := r.targets[Targets]; t != nil && t.Signed.Delegations != nil {
		for _, d := range t.Signed.Delegations.Roles {
			all = append(all, r.authorStanding(now, t, d))
		}
	}
	return append(all, r.onlineStandings(now)...)
}

// stand describes a role that offline keys sign.
func (r *Repository) stand(now time.Time, role string, version int64, expires time.Time, k *metadata.Role, flaw error) Standing {
	s := Standing{Role: role, Version: version, Expires: expires, Keys: k.KeyIDs, Threshold: k.Threshold}
	left := expires.Sub(now)
	switch {
	case flaw != nil:
		s.Problem = "its keys were replaced, or its signatures are not enough: have it signed anew"
	case left < 0:
		s.Problem = "it has expired, devices refuse what depends on it: have it signed anew"
	case left < offlineNotice:
		s.Problem = fmt.Sprintf("it expires in %d days: have it signed anew", int(left/day))
	}
	return s
}

func (r *Repository) targetsStanding(now time.Time) Standing {
	t := r.targets[Targets]
	if t == nil {
		return Standing{Role: Targets, Problem: "it was not published: tranquil trust publish"}
	}
	return r.stand(now, Targets, t.Signed.Version, t.Signed.Expires, r.root.Signed.Roles[Targets], verify(r.root, Targets, t))
}

func (r *Repository) authorStanding(now time.Time, t *metadata.Metadata[metadata.TargetsType], d metadata.DelegatedRole) Standing {
	s := Standing{Role: d.Name, Keys: d.KeyIDs, Threshold: d.Threshold}
	if m := r.targets[d.Name]; m != nil {
		s = r.stand(now, d.Name, m.Signed.Version, m.Signed.Expires, &metadata.Role{KeyIDs: d.KeyIDs, Threshold: d.Threshold}, verify(t, d.Name, m))
		s.Packages = slices.Sorted(maps.Keys(m.Signed.Targets))
	}
	for _, path := range d.Paths {
		s.Components = append(s.Components, strings.TrimSuffix(path, "/*"))
	}
	return s
}

// Listed are the packages of a component that devices would install by what was
// published; signed tells whether it has an author at all.
func (r *Repository) Listed(component string) (packages []Package, signed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	targets := r.targets[Targets]
	if r.root == nil || targets == nil {
		return nil, false
	}
	d, err := delegationOf(targets, component)
	if err != nil {
		return nil, false
	}
	list := r.targets[d.Name]
	if list == nil || verify(targets, d.Name, list) != nil {
		return nil, true
	}
	return slices.DeleteFunc(packagesOf(list), func(p Package) bool { return p.Component != component }), true
}

// onlineStandings describe what the file server signs, if this is its
// repository.
func (r *Repository) onlineStandings(now time.Time) (all []Standing) {
	c := r.current()
	for _, o := range []struct {
		role    string
		version int64
		expires time.Time
		good    time.Duration
	}{
		{Snapshot, c.snapshot.Version, c.snapshot.Expires, SnapshotGood},
		{Timestamp, c.timestamp.Version, c.timestamp.Expires, TimestampGood},
	} {
		if o.version == 0 {
			continue
		}
		k := r.root.Signed.Roles[o.role]
		s := Standing{Role: o.role, Version: o.version, Expires: o.expires, Keys: k.KeyIDs, Threshold: k.Threshold}
		switch left := o.expires.Sub(now); {
		case left < 0:
			s.Problem = "it has expired, devices refuse every package: the file server does not sign"
		case left < o.good/4:
			s.Problem = fmt.Sprintf("it expires in %s: the file server does not sign", left.Round(time.Minute))
		}
		all = append(all, s)
	}
	return all
}

// online is what the file server has signed last.
type online struct {
	snapshot  metadata.SnapshotType
	timestamp metadata.TimestampType
	keys      []string // that signed the timestamp
}

// current reads that; versions are 0 if there is nothing that could be read.
func (r *Repository) current() (c online) {
	if b, err := os.ReadFile(filepath.Join(r.dir, File(Timestamp, 0))); err == nil {
		if m, err := parse[metadata.TimestampType](b); err == nil {
			c.timestamp = m.Signed
			for _, s := range m.Signatures {
				c.keys = append(c.keys, s.KeyID)
			}
		}
	}
	meta := c.timestamp.Meta[Snapshot+".json"]
	if meta == nil {
		return c
	}
	if b, err := os.ReadFile(filepath.Join(r.dir, File(Snapshot, meta.Version))); err == nil {
		if m, err := parse[metadata.SnapshotType](b); err == nil {
			c.snapshot = m.Signed
		}
	}
	return c
}
