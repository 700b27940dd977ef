package trust

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Refresh signs a new snapshot if something was added since the last, and that
// and the timestamp if half of the time that they are good for has passed. It
// tells whether it did.
func (r *Repository) Refresh(key Key, now time.Time) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.root == nil || r.targets[Targets] == nil {
		return false, nil
	}
	id, err := KeyID(key.Public())
	if err != nil {
		return false, err
	}
	for _, role := range []string{Snapshot, Timestamp} {
		if k := r.root.Signed.Roles[role]; !slices.Contains(k.KeyIDs, id) || k.Threshold > 1 {
			return false, fmt.Errorf("cannot sign the %s: the root does not give it to the file server's key %s alone: tranquil trust rotate DIR online", role, Short(id))
		}
	}
	c := r.current()
	anew := !slices.Contains(c.keys, id)
	listed, err := r.listing(c.snapshot.Meta)
	if err != nil {
		return false, err
	}
	fresh := !anew && sameMeta(listed, c.snapshot.Meta) && c.snapshot.Expires.Sub(now) > SnapshotGood/2
	if fresh && c.timestamp.Expires.Sub(now) > TimestampGood/2 {
		return false, nil
	}
	version := c.snapshot.Version
	if !fresh {
		version = r.nextSnapshot(c)
		if err := r.signSnapshot(key, id, version, listed, now); err != nil {
			return false, err
		}
	}
	return true, r.signTimestamp(key, id, nextTimestamp(c, version, now), version, now)
}

// nextTimestamp goes on from the last one. If that is lost nobody knows its
// version, but that there were fewer than seconds.
func nextTimestamp(c online, snapshot int64, now time.Time) int64 {
	if c.timestamp.Version == 0 && snapshot > 1 {
		return now.Unix()
	}
	return c.timestamp.Version + 1
}

// nextSnapshot is above every one that is there, or was named.
func (r *Repository) nextSnapshot(c online) (next int64) {
	if meta := c.timestamp.Meta[Snapshot+".json"]; meta != nil {
		next = meta.Version
	}
	entries, _ := os.ReadDir(r.dir) // what cannot be read cannot be written either
	for _, e := range entries {
		if role, version, err := ParseFile(e.Name()); err == nil && role == Snapshot {
			next = max(next, version)
		}
	}
	return next + 1
}

// listing says which versions are current. What was listed once stays so, since
// devices take its end for an attack.
func (r *Repository) listing(old map[string]*metadata.MetaFiles) (map[string]*metadata.MetaFiles, error) {
	listed := map[string]*metadata.MetaFiles{}
	for name, meta := range old {
		listed[name] = meta
	}
	for role, m := range r.targets {
		b, err := os.ReadFile(filepath.Join(r.dir, File(role, m.Signed.Version)))
		if err != nil {
			return nil, fmt.Errorf("cannot sign the snapshot: %w", err)
		}
		listed[role+".json"] = metaOf(b, m.Signed.Version)
	}
	return listed, nil
}

func metaOf(b []byte, version int64) *metadata.MetaFiles {
	sum := sha256.Sum256(b)
	return &metadata.MetaFiles{Version: version, Length: int64(len(b)), Hashes: metadata.Hashes{"sha256": sum[:]}}
}

func sameMeta(a, b map[string]*metadata.MetaFiles) bool {
	same := len(a) == len(b)
	for name, meta := range a {
		same = same && b[name] != nil && meta.Version == b[name].Version && meta.Hashes.Equal(b[name].Hashes)
	}
	return same
}

func (r *Repository) signSnapshot(key Key, id string, version int64, listed map[string]*metadata.MetaFiles, now time.Time) error {
	m := metadata.Snapshot(until(now, SnapshotGood))
	m.Signed.Version, m.Signed.Meta = version, listed
	if err := sign(m, []string{id}, []Key{key}); err != nil {
		return err
	}
	return r.store(File(Snapshot, version), m.ToBytes)
}

func (r *Repository) signTimestamp(key Key, id string, version, snapshot int64, now time.Time) error {
	b, err := os.ReadFile(filepath.Join(r.dir, File(Snapshot, snapshot)))
	if err != nil {
		return fmt.Errorf("cannot sign the timestamp: %w", err)
	}
	m := metadata.Timestamp(until(now, TimestampGood))
	m.Signed.Version = version
	m.Signed.Meta = map[string]*metadata.MetaFiles{Snapshot + ".json": metaOf(b, snapshot)}
	m.Signed.UnrecognizedFields = map[string]any{issuedField: now.UTC().Format(time.RFC3339)}
	if err := sign(m, []string{id}, []Key{key}); err != nil {
		return err
	}
	return r.store(File(Timestamp, 0), m.ToBytes)
}

func (r *Repository) store(name string, encode func(bool) ([]byte, error)) error {
	b, err := encode(false)
	if err != nil {
		return err
	}
	if err := WriteFile(filepath.Join(r.dir, name), b, 0o644); err != nil {
		return fmt.Errorf("cannot store %s: %w", name, err)
	}
	return nil
}

// Expire removes snapshots that no device asks for any more: all but the newest
// few.
func (r *Repository) Expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.nextSnapshot(online{}) - 1
	entries, _ := os.ReadDir(r.dir)
	for _, e := range entries {
		role, version, err := ParseFile(e.Name())
		if err == nil && role == Snapshot && version <= last-keptSnapshots || strings.HasPrefix(e.Name(), ".new-") {
			os.Remove(filepath.Join(r.dir, e.Name()))
		}
	}
}

// keptSnapshots is how many snapshots stay for devices that are in the middle of
// their workflow.
const keptSnapshots = 16
