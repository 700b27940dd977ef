package trust

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Changes tells people, in a line each, what the next root or targets metadata
// would change if it were signed. An error says that nobody should sign it.
func (r *Repository) Changes(name string, b []byte) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	role, version, err := ParseFile(name)
	switch {
	case err != nil:
		return nil, err
	case r.root == nil || r.targets[Targets] == nil:
		return nil, r.unfounded()
	case version != r.version(role)+1:
		return nil, fmt.Errorf("%s: %w, which is %d", name, ErrVersion, r.version(role)+1)
	case role == Root:
		return r.rootChanges(version, b)
	case role == Targets:
		return r.targetsChanges(version, b)
	}
	return nil, fmt.Errorf("%s is no metadata of operators", name)
}

func (r *Repository) rootChanges(version int64, b []byte) (lines []string, err error) {
	m, err := parse[metadata.RootType](b)
	if err != nil {
		return nil, err
	}
	if err := cmpVersion(m.Signed.Version, version); err != nil {
		return nil, err
	}
	if err := checkIDs(m.Signed.Keys); err != nil {
		return nil, err
	}
	before := r.root.Signed
	for _, role := range []string{Root, Targets, Snapshot, Timestamp} {
		k := m.Signed.Roles[role]
		if k == nil {
			return nil, fmt.Errorf("%w: it has no keys for %s", ErrMalformed, role)
		}
		old := before.Roles[role]
		lines = append(lines, keyChanges(role, old.KeyIDs, k.KeyIDs, old.Threshold, k.Threshold)...)
	}
	return append(lines, expiry(Root, before.Expires, m.Signed.Expires)), nil
}

func (r *Repository) targetsChanges(version int64, b []byte) ([]string, error) {
	m, err := parse[metadata.TargetsType](b)
	if err != nil {
		return nil, err
	}
	err = cmpVersion(m.Signed.Version, version)
	if err == nil {
		err = checkDelegations(&m.Signed)
	}
	if err == nil && len(m.Signed.Targets) > 0 {
		err = fmt.Errorf("%w: targets lists packages itself, which authors do", ErrMalformed)
	}
	if err == nil && m.Signed.Delegations != nil {
		err = checkIDs(m.Signed.Delegations.Keys)
	}
	if err != nil {
		return nil, err
	}
	old := r.targets[Targets].Signed
	before, after := delegations(&old), delegations(&m.Signed)
	var lines []string
	for _, author := range slices.Sorted(maps.Keys(before)) {
		if _, stays := after[author]; !stays {
			lines = append(lines, "- author "+author)
		}
	}
	for _, author := range slices.Sorted(maps.Keys(after)) {
		was, is := before[author], after[author]
		if was.Name == "" {
			lines = append(lines, "+ author "+author)
		}
		lines = append(lines, keyChanges(author, was.KeyIDs, is.KeyIDs, was.Threshold, is.Threshold)...)
		lines = append(lines, setChanges(author+" may sign for ", was.Paths, is.Paths, componentOf)...)
	}
	return append(lines, expiry(Targets, old.Expires, m.Signed.Expires)), nil
}

func cmpVersion(is, want int64) error {
	if is != want {
		return fmt.Errorf("it is version %d: %w", is, ErrMixed)
	}
	return nil
}

// checkIDs refuses a key behind the id of another one: people compare ids.
func checkIDs(keys map[string]*metadata.Key) error {
	return guard(func() error {
		for id, key := range keys {
			if real, err := key.ID(); err != nil || real != id {
				return errors.Join(err, fmt.Errorf("key %s is another one than its id says: do not sign this", Short(id)))
			}
		}
		return nil
	})
}

func delegations(t *metadata.TargetsType) map[string]metadata.DelegatedRole {
	all := map[string]metadata.DelegatedRole{}
	if t.Delegations != nil {
		for _, d := range t.Delegations.Roles {
			all[d.Name] = d
		}
	}
	return all
}

func componentOf(path string) string { return strings.TrimSuffix(path, "/*") }

func keyChanges(role string, before, after []string, old, threshold int) []string {
	lines := setChanges(role+" key ", before, after, Short)
	switch {
	case len(before) == 0:
		lines = append(lines, fmt.Sprintf("! %d of %d keys of %s have to sign", threshold, len(after), role))
	case old != threshold:
		lines = append(lines, fmt.Sprintf("! %d of the %d keys of %s have to sign, before %d of %d", threshold, len(after), role, old, len(before)))
	}
	return lines
}

func setChanges(what string, before, after []string, show func(string) string) (lines []string) {
	for _, s := range before {
		if !slices.Contains(after, s) {
			lines = append(lines, "- "+what+show(s))
		}
	}
	for _, s := range after {
		if !slices.Contains(before, s) {
			lines = append(lines, "+ "+what+show(s))
		}
	}
	return lines
}

func expiry(role string, before, after time.Time) string {
	return fmt.Sprintf("! %s expires on %s, before on %s", role, after.Format(time.DateOnly), before.Format(time.DateOnly))
}

// RootVersion is which version of the root a file is.
func RootVersion(b []byte) (int64, error) {
	m, err := parse[metadata.RootType](b)
	if err != nil {
		return 0, err
	}
	return m.Signed.Version, nil
}

// Order lists the files of root and targets that read gives in an order in which
// a new repository takes them: each targets after the root that it counts by.
// What no root of them counts comes last.
func Order(read func(name string) ([]byte, error)) (names []string, err error) {
	next := int64(1)
	for version := int64(1); ; version++ {
		root, err := readNext[metadata.RootType](read, File(Root, version))
		if err != nil || root == nil {
			return appendRest(read, names, next, err)
		}
		names = append(names, File(Root, version))
		for {
			t, err := readNext[metadata.TargetsType](read, File(Targets, next))
			if err != nil {
				return nil, err
			}
			if t == nil || verify(root, Targets, t) != nil {
				break
			}
			names = append(names, File(Targets, next))
			next++
		}
	}
}

// readNext returns nil if there is no such file.
func readNext[T metadata.Roles](read func(string) ([]byte, error), name string) (*metadata.Metadata[T], error) {
	b, err := read(name)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m, err := parse[T](b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return m, nil
}

func appendRest(read func(string) ([]byte, error), names []string, next int64, err error) ([]string, error) {
	for ; err == nil; next++ {
		_, err = read(File(Targets, next))
		if err == nil {
			names = append(names, File(Targets, next))
		}
	}
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	return names, err
}
