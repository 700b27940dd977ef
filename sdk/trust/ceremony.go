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
	Missing int      // signatures that it still needs: Cosign adds them
	May     []string // ids of the keys that may sign it
	By      []string // those of them that have
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
	if own == nil {
		return Signed{}, fmt.Errorf("%w: a root without keys", ErrMalformed)
	}
	may := slices.Concat(before.KeyIDs, own.KeyIDs)
	if err := sign(m, may, keys); err != nil {
		return Signed{}, err
	}
	b, err := encode(m)
	return Signed{File(Root, m.Signed.Version), b, max(lacks(m, own), lacks(m, before)), may, signedBy(m, may)}, err
}

func signTargets(m *metadata.Metadata[metadata.TargetsType], role string, by *metadata.Role, keys []Key) (Signed, error) {
	if err := sign(m, by.KeyIDs, keys); err != nil {
		return Signed{}, err
	}
	b, err := encode(m)
	return Signed{File(role, m.Signed.Version), b, lacks(m, by), by.KeyIDs, signedBy(m, by.KeyIDs)}, err
}

// signedBy is which of the keys that may have signed.
func signedBy[T metadata.Roles](m *metadata.Metadata[T], may []string) (by []string) {
	for _, s := range m.Signatures {
		if slices.Contains(may, s.KeyID) {
			by = append(by, s.KeyID)
		}
	}
	return by
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
// for. The zero Change only renews root or targets.
type Change struct {
	Add       []crypto.PublicKey
	Remove    []string // key ids, or the beginning of one: of each exactly one key
	Replace   bool     // remove all keys of before
	Threshold int      // 0: as before
	Component []string // of an author: may sign for these as well
	Drop      []string // of an author: no longer signs for these
	Gone      bool     // an author who signs for nothing any more
}

// renews tells that nothing changes but when it expires.
func (c Change) renews() bool {
	return len(c.Add)+len(c.Remove)+len(c.Component)+len(c.Drop)+c.Threshold == 0 && !c.Replace && !c.Gone
}

// in is the metadata that a change of a role is made in: the one that names the
// role's keys, but targets itself if that is only renewed.
func (c Change) in(role string) string {
	if role == Root || role == Online || role == Targets && !c.renews() {
		return Root
	}
	return Targets
}

// Next is the file that a change of a role makes, and the ids of the keys that
// sign it.
func (r *Repository) Next(role string, c Change) (file string, signers []string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.root == nil || r.targets[Targets] == nil {
		return "", nil, r.unfounded()
	}
	in := c.in(role)
	return File(in, r.version(in)+1), r.root.Signed.Roles[in].KeyIDs, nil
}

func (r *Repository) unfounded() error {
	return fmt.Errorf("there is no root in %s: if the file server has one, tranquil trust fetch brings it; if there is none yet, tranquil trust init makes it", r.dir)
}

// Amend makes the next version of the metadata that names the keys of a role:
// the root for [Root], [Targets] and [Online], targets for an author, who may be
// new. keys sign what they may. The file is not added to the repository.
func (r *Repository) Amend(role string, c Change, keys []Key, now time.Time) (Signed, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.root == nil || r.targets[Targets] == nil {
		return Signed{}, r.unfounded()
	}
	switch {
	case role == Snapshot || role == Timestamp:
		return Signed{}, fmt.Errorf("the keys of %s are those of %s", role, Online)
	case c.in(role) == Root:
		return r.amendRoot(role, c, keys, now)
	case role == Targets:
		return r.amendTargets(func(*metadata.Delegations) error { return nil }, keys, now)
	case CheckAuthor(role) == nil && c.renews():
		return Signed{}, fmt.Errorf("nothing of %s is to change; what it has signed is renewed by tranquil trust sign --component", role)
	}
	if err := CheckAuthor(role); err != nil {
		return Signed{}, err
	}
	return r.amendTargets(func(all *metadata.Delegations) error { return delegate(all, role, c) }, keys, now)
}

func (r *Repository) amendRoot(role string, c Change, keys []Key, now time.Time) (Signed, error) {
	if len(c.Component)+len(c.Drop) > 0 || c.Gone {
		return Signed{}, fmt.Errorf("%s is no author, and signs for no components", role)
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
	removed := map[string]bool{}
	for _, prefix := range c.Remove {
		id, err := only(before, prefix)
		if err != nil {
			return nil, err
		}
		removed[id] = true
	}
	for _, id := range before {
		if !removed[id] && !c.Replace {
			next = append(next, known[id])
		}
	}
	added, err := tufKeys(c.Add)
	return append(next, added...), err
}

// only is the one key with an id that begins so.
func only(ids []string, prefix string) (string, error) {
	if prefix == "" {
		return "", errors.New("which key is removed? Give the beginning of its id, as tranquil trust status shows it")
	}
	var fits []string
	for _, id := range ids {
		if strings.HasPrefix(id, prefix) {
			fits = append(fits, id)
		}
	}
	switch len(fits) {
	case 0:
		return "", fmt.Errorf("%s is none of the keys", prefix)
	case 1:
		return fits[0], nil
	}
	return "", fmt.Errorf("%s is the beginning of %d keys: give more of the one that is removed", prefix, len(fits))
}

// amendTargets makes the next targets metadata, with a change of who the authors
// are.
func (r *Repository) amendTargets(change func(*metadata.Delegations) error, keys []Key, now time.Time) (Signed, error) {
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
	if err := change(m.Signed.Delegations); err != nil {
		return Signed{}, err
	}
	if err := checkDelegations(&m.Signed); err != nil {
		return Signed{}, err
	}
	return signTargets(m, Targets, r.root.Signed.Roles[Targets], keys)
}

// delegate changes the delegation to an author, or adds or removes it.
func delegate(all *metadata.Delegations, name string, c Change) error {
	at := slices.IndexFunc(all.Roles, func(d metadata.DelegatedRole) bool { return d.Name == name })
	switch {
	case at < 0 && (c.Gone || len(c.Drop) > 0):
		return fmt.Errorf("there is no author %s", name)
	case c.Gone:
		all.Roles = slices.Delete(all.Roles, at, at+1)
		forgetKeys(all)
		return nil
	case at < 0:
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
	forgetKeys(all)
	if err := extend(all, d, c.Component); err != nil {
		return err
	}
	return curtail(d, c.Drop)
}

// forgetKeys removes those that no author has any more.
func forgetKeys(all *metadata.Delegations) {
	for id := range all.Keys {
		if !slices.ContainsFunc(all.Roles, func(d metadata.DelegatedRole) bool { return slices.Contains(d.KeyIDs, id) }) {
			delete(all.Keys, id)
		}
	}
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

// curtail takes components from an author.
func curtail(d *metadata.DelegatedRole, components []string) error {
	for _, component := range components {
		at := slices.Index(d.Paths, component+"/*")
		if at < 0 {
			return fmt.Errorf("%s does not sign for %s", d.Name, component)
		}
		d.Paths = slices.Delete(d.Paths, at, at+1)
	}
	if len(d.Paths) == 0 {
		return fmt.Errorf("%s would sign for nothing any more: remove the author without --component", d.Name)
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
		return Signed{}, r.unfounded()
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
