package trust

import (
	"bytes"
	"crypto"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// parse reads metadata of one kind.
func parse[T metadata.Roles](b []byte) (*metadata.Metadata[T], error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("more than %d bytes: %w", MaxSize, ErrEndless)
	}
	m := new(metadata.Metadata[T])
	err := guard(func() error { _, err := m.FromBytes(b); return err })
	return m, err
}

// verify checks that a delegator's keys have signed for a role.
func verify[D, T metadata.Roles](delegator *metadata.Metadata[D], role string, m *metadata.Metadata[T]) error {
	return guard(func() error { return delegator.VerifyDelegate(role, m) })
}

// sign adds the signatures of keys that may sign for the role, in place of those
// that they have made before; the others are passed over.
func sign[T metadata.Roles](m *metadata.Metadata[T], may []string, keys []Key) error {
	for _, key := range keys {
		id, err := KeyID(key.Public())
		if err != nil {
			return err
		}
		if !slices.Contains(may, id) {
			continue
		}
		m.Signatures = slices.DeleteFunc(m.Signatures, func(s metadata.Signature) bool { return s.KeyID == id })
		if _, err := m.Sign(signer{key}); err != nil {
			return fmt.Errorf("cannot sign with key %s: %w", Short(id), err)
		}
	}
	return nil
}

// encode writes metadata for people and programs.
func encode[T metadata.Roles](m *metadata.Metadata[T]) ([]byte, error) {
	slices.SortFunc(m.Signatures, func(a, b metadata.Signature) int { return strings.Compare(a.KeyID, b.KeyID) })
	b, err := m.ToBytes(false)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, b, "", " "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// Short is as much of a key's id as people need to tell keys apart.
func Short(id string) string { return id[:min(len(id), 12)] }

// checkDelegations refuses targets metadata that does more than to give each
// component to one author.
func checkDelegations(t *metadata.TargetsType) error {
	if t.Delegations == nil {
		return nil
	}
	if t.Delegations.SuccinctRoles != nil || len(t.Delegations.Roles) > maxAuthors {
		return fmt.Errorf("%w: want at most %d delegations, by name", ErrMalformed, maxAuthors)
	}
	seen := map[string]bool{} // names, and paths, which have a slash
	twice := func(s string) bool { defer func() { seen[s] = true }(); return seen[s] }
	for _, d := range t.Delegations.Roles {
		if err := CheckAuthor(d.Name); err != nil {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if twice(d.Name) {
			return fmt.Errorf("%w: two authors are called %s", ErrMalformed, d.Name)
		}
		if !d.Terminating || len(d.PathHashPrefixes) > 0 {
			return fmt.Errorf("%w: the delegation to %s does not end the search", ErrMalformed, d.Name)
		}
		for _, path := range d.Paths {
			component, ok := strings.CutSuffix(path, "/*")
			if !ok || pack.CheckComponent(component) != nil {
				return fmt.Errorf("%w: %s has %q, want a component and /*", ErrMalformed, d.Name, path)
			}
			if twice(path) {
				return fmt.Errorf("%w: %s is given away twice", ErrMalformed, component)
			}
		}
	}
	return nil
}

// until is when something that is signed now expires.
func until(now time.Time, good time.Duration) time.Time {
	return now.UTC().Add(good).Truncate(time.Second)
}

// withKeys replaces the keys of a role in root metadata.
func withKeys(root *metadata.RootType, role string, keys []*metadata.Key, threshold int) error {
	if threshold < 1 || threshold > len(keys) {
		return fmt.Errorf("a threshold of %d needs as many keys, %s has %d", max(threshold, 1), role, len(keys))
	}
	root.Roles[role] = &metadata.Role{KeyIDs: []string{}, Threshold: threshold}
	for _, key := range keys {
		if err := root.AddKey(key, role); err != nil {
			return err
		}
	}
	for id := range root.Keys { // those that nobody has any more
		used := func(r *metadata.Role) bool { return slices.Contains(r.KeyIDs, id) }
		if !slices.ContainsFunc([]*metadata.Role{root.Roles[Root], root.Roles[Targets], root.Roles[Snapshot], root.Roles[Timestamp]}, used) {
			delete(root.Keys, id)
		}
	}
	return nil
}

func tufKeys(keys []crypto.PublicKey) (all []*metadata.Key, err error) {
	for _, key := range keys {
		k, err := tufKey(key)
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	return all, nil
}
