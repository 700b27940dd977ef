package trust

import (
	"cmp"
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// A Signed is metadata that offline keys have signed, or are about to.
type Signed struct {
	Name    string // of its file
	Data    []byte
	Missing int // signatures that it still needs: Cosign adds them
}

// A Founding is who begins a repository.
type Founding struct {
	Root      []crypto.PublicKey
	Threshold int // of Root's signatures
	Targets   crypto.PublicKey
	Online    crypto.PublicKey // the file server's
}

// Found makes the first root and targets metadata. keys sign what they may.
func Found(f Founding, keys []Key, now time.Time) ([]Signed, error) {
	root := metadata.Root(until(now, OfflineValidity))
	for role, of := range map[string][]crypto.PublicKey{Root: f.Root, Targets: {f.Targets}, Snapshot: {f.Online}, Timestamp: {f.Online}} {
		threshold := 1
		if role == Root {
			threshold = f.Threshold
		}
		all, err := tufKeys(of)
		if err == nil {
			err = withKeys(&root.Signed, role, all, threshold)
		}
		if err != nil {
			return nil, err
		}
	}
	first, err := signRoot(root, root.Signed.Roles[Root], keys)
	if err != nil {
		return nil, err
	}
	targets := metadata.Targets(until(now, OfflineValidity))
	second, err := signTargets(targets, Targets, root.Signed.Roles[Targets], keys)
	return []Signed{first, second}, err
}

// signRoot has a root signed by the keys of its own and those of the version
// before.
func signRoot(m *metadata.Metadata[metadata.RootType], before *metadata.Role, keys []Key) (Signed, error) {
	own := m.Signed.Roles[Root]
	if err := sign(m, slices.Concat(own.KeyIDs, before.KeyIDs), keys); err != nil {
		return Signed{}, err
	}
	b, err := encode(m)
	return Signed{File(Root, m.Signed.Version), b, max(lacks(m, own), lacks(m, before))}, err
}

func signTargets(m *metadata.Metadata[metadata.TargetsType], role string, by *metadata.Role, keys []Key) (Signed, error) {
	if err := sign(m, by.KeyIDs, keys); err != nil {
		return Signed{}, err
	}
	b, err := encode(m)
	return Signed{File(role, m.Signed.Version), b, lacks(m, by)}, err
}

// lacks counts the signatures that a role still wants.
func lacks[T metadata.Roles](m *metadata.Metadata[T], by *metadata.Role) int {
	missing := by.Threshold
	for _, s := range m.Signatures {
		if slices.Contains(by.KeyIDs, s.KeyID) {
			missing--
		}
	}
	return max(missing, 0)
}

// A Change of a role: of its keys, its threshold, or what an author may sign
// for. The zero Change only renews it.
type Change struct {
	Add       []crypto.PublicKey
	Remove    []string // key ids, or the beginning of one
	Threshold int      // 0: as before
	Component []string // of an author: may sign for these as well
}

// Amend makes the next version of the metadata that names the keys of a role:
// the root for [Root], [Targets] and [Online], targets for an author, who may be
// new. keys sign what they may. The file is not added to the repository.
func (r *Repository) Amend(role string, c Change, keys []Key, now time.Time) (Signed, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.root == nil || r.targets[Targets] == nil {
		return Signed{}, fmt.Errorf("there is no root in %s: tranquil trust init", r.dir)
	}
	switch role {
	case Root, Targets, Online:
		return r.amendRoot(role, c, keys, now)
	case Snapshot, Timestamp:
		return Signed{}, fmt.Errorf("the keys of %s are those of %s", role, Online)
	}
	return r.amendAuthor(role, c, keys, now)
}

func (r *Repository) amendRoot(role string, c Change, keys []Key, now time.Time) (Signed, error) {
	if len(c.Component) > 0 {
		return Signed{}, fmt.Errorf("%s signs for no components", role)
	}
	b, err := r.Read(File(Root, r.root.Signed.Version))
	if err != nil {
		return Signed{}, err
	}
	m, err := parse[metadata.RootType](b)
	if err != nil {
		return Signed{}, err
	}
	m.ClearSignatures()
	m.Signed.Version++
	m.Signed.Expires = until(now, OfflineValidity)
	roles := []string{role}
	if role == Online {
		roles = []string{Snapshot, Timestamp}
	}
	for _, name := range roles {
		old := m.Signed.Roles[name]
		next, err := c.keys(old.KeyIDs, m.Signed.Keys)
		if err == nil {
			err = withKeys(&m.Signed, name, next, c.threshold(old.Threshold))
		}
		if err != nil {
			return Signed{}, err
		}
	}
	return signRoot(m, r.root.Signed.Roles[Root], keys)
}

func (c Change) threshold(before int) int {
	if c.Threshold != 0 {
		return c.Threshold
	}
	return before
}

// keys are those of before, less and more.
func (c Change) keys(before []string, known map[string]*metadata.Key) (next []*metadata.Key, err error) {
	for _, prefix := range c.Remove {
		if !slices.ContainsFunc(before, func(id string) bool { return strings.HasPrefix(id, prefix) }) {
			return nil, fmt.Errorf("%s is none of the keys", prefix)
		}
	}
	for _, id := range before {
		if !slices.ContainsFunc(c.Remove, func(prefix string) bool { return strings.HasPrefix(id, prefix) }) {
			next = append(next, known[id])
		}
	}
	added, err := tufKeys(c.Add)
	return append(next, added...), err
}

func (r *Repository) amendAuthor(name string, c Change, keys []Key, now time.Time) (Signed, error) {
	if err := CheckAuthor(name); err != nil {
		return Signed{}, err
	}
	b, err := r.Read(File(Targets, r.version(Targets)))
	if err != nil {
		return Signed{}, err
	}
	m, err := parse[metadata.TargetsType](b)
	if err != nil {
		return Signed{}, err
	}
	m.ClearSignatures()
	m.Signed.Version++
	m.Signed.Expires = until(now, OfflineValidity)
	if m.Signed.Delegations == nil {
		m.Signed.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{}}
	}
	if err := delegate(m.Signed.Delegations, name, c); err != nil {
		return Signed{}, err
	}
	if err := checkDelegations(&m.Signed); err != nil {
		return Signed{}, err
	}
	return signTargets(m, Targets, r.root.Signed.Roles[Targets], keys)
}

// delegate changes the delegation to an author, or adds it.
func delegate(all *metadata.Delegations, name string, c Change) error {
	at := slices.IndexFunc(all.Roles, func(d metadata.DelegatedRole) bool { return d.Name == name })
	if at < 0 {
		all.Roles = append(all.Roles, metadata.DelegatedRole{Name: name, Threshold: 1, Terminating: true})
		at = len(all.Roles) - 1
	}
	d := &all.Roles[at]
	keys, err := c.keys(d.KeyIDs, all.Keys)
	if err != nil {
		return err
	}
	d.KeyIDs, d.Threshold = nil, c.threshold(d.Threshold)
	for _, key := range keys {
		id, err := key.ID()
		if err != nil {
			return err
		}
		all.Keys[id] = key
		if !slices.Contains(d.KeyIDs, id) {
			d.KeyIDs = append(d.KeyIDs, id)
		}
	}
	if d.Threshold < 1 || d.Threshold > len(d.KeyIDs) {
		return fmt.Errorf("a threshold of %d needs as many keys, %s has %d", d.Threshold, name, len(d.KeyIDs))
	}
	for id := range all.Keys {
		if !slices.ContainsFunc(all.Roles, func(d metadata.DelegatedRole) bool { return slices.Contains(d.KeyIDs, id) }) {
			delete(all.Keys, id)
		}
	}
	return extend(all, d, c.Component)
}

// extend has an author sign for more components, which must have no other.
func extend(all *metadata.Delegations, d *metadata.DelegatedRole, components []string) error {
	for _, component := range components {
		if err := pack.CheckComponent(component); err != nil {
			return err
		}
		path := component + "/*"
		for _, other := range all.Roles {
			if other.Name != d.Name && slices.Contains(other.Paths, path) {
				return fmt.Errorf("%s has an author already, %s", component, other.Name)
			}
		}
		if !slices.Contains(d.Paths, path) {
			d.Paths = append(d.Paths, path)
		}
	}
	if len(d.Paths) == 0 {
		return errors.New("an author needs a component to sign for")
	}
	return nil
}

// Endorse makes the next version of an author's metadata: what it lists already,
// and packages; those of a version that is listed take its place only if they are
// the same. keys sign if they may.
func Endorse(a Author, packages []Package, keys []Key, now time.Time) (Signed, error) {
	m := metadata.Targets(until(now, OfflineValidity))
	m.Signed.Version = a.Version + 1
	for _, p := range slices.Concat(a.Packages, packages) {
		if err := cmp.Or(pack.CheckComponent(p.Component), pack.CheckVersion(p.Version), pack.CheckDigest(p.Digest)); err != nil {
			return Signed{}, err
		}
		sum, err := hex.DecodeString(strings.TrimPrefix(p.Digest, "sha256:"))
		if err != nil {
			return Signed{}, err
		}
		if old := m.Signed.Targets[p.path()]; old != nil && packageOf(p.path(), old) != p {
			return Signed{}, fmt.Errorf("%s lists another package as %s, %s: raise the version", a.Name, p.path(), packageOf(p.path(), old).Digest)
		}
		m.Signed.Targets[p.path()] = &metadata.TargetFiles{Length: p.Size, Hashes: metadata.Hashes{"sha256": sum}, Path: p.path()}
	}
	return signTargets(m, a.Name, &metadata.Role{KeyIDs: a.Keys, Threshold: a.Threshold}, keys)
}

// Cosign adds signatures to a root or targets that others have signed.
func (r *Repository) Cosign(name string, b []byte, keys []Key) (Signed, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	role, _, err := ParseFile(name)
	switch {
	case err != nil:
		return Signed{}, err
	case r.root == nil:
		return Signed{}, fmt.Errorf("there is no root in %s to go by", r.dir)
	case role == Root:
		m, err := parse[metadata.RootType](b)
		if err != nil {
			return Signed{}, err
		}
		return signRoot(m, r.root.Signed.Roles[Root], keys)
	case role == Targets:
		m, err := parse[metadata.TargetsType](b)
		if err != nil {
			return Signed{}, err
		}
		return signTargets(m, Targets, r.root.Signed.Roles[Targets], keys)
	}
	return Signed{}, fmt.Errorf("%s is no metadata of operators", name)
}

// Cosign adds signatures to metadata of an author that others have signed.
func (a Author) Cosign(b []byte, keys []Key) (Signed, error) {
	m, err := parse[metadata.TargetsType](b)
	if err != nil {
		return Signed{}, err
	}
	return signTargets(m, a.Name, &metadata.Role{KeyIDs: a.Keys, Threshold: a.Threshold}, keys)
}

// Listed is what metadata of an author lists, whoever has signed it.
func Listed(b []byte) ([]Package, error) {
	m, err := parse[metadata.TargetsType](b)
	if err != nil {
		return nil, err
	}
	return packagesOf(m), nil
}

// Signers are the ids of the keys that sign a change of a role: those of the
// root, for an author those of targets.
func (r *Repository) Signers(role string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.root == nil:
		return nil
	case role == Root || role == Targets || role == Online:
		return r.root.Signed.Roles[Root].KeyIDs
	}
	return r.root.Signed.Roles[Targets].KeyIDs
}
