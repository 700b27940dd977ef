package trust

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// Refresh signs a new snapshot if something was added since the last, and that
// and the timestamp if half of the time that they are good for has passed, or if
// the repository was opened since, which may have been restored from a backup. It
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
	anew := !r.signed
	if !slices.Contains(c.keys, id) { // what another key has signed nobody goes by any more
		anew, c.snapshot.Meta = true, nil
	}
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
		version = max(r.nextSnapshot(c), now.Unix())
		if err := r.signSnapshot(key, id, version, listed, now); err != nil {
			return false, err
		}
	}
	if err := r.signTimestamp(key, id, max(c.timestamp.Version+1, now.Unix()), version, now); err != nil {
		return false, err
	}
	r.signed = true
	return true, nil
}

// nextSnapshot is above every one that is there, or was named. Neither it nor the
// timestamp is below the seconds since 1970 either: so a server that has lost its
// files, or was restored from a backup, is above what it has signed before. If
// its clock was set back it just goes on counting.
func (r *Repository) nextSnapshot(c online) (next int64) {
	if meta := c.timestamp.Meta[Snapshot+".json"]; meta != nil {
		next = meta.Version
	}
	for _, version := range r.snapshots() {
		next = max(next, version)
	}
	return next + 1
}

// snapshots are the versions that are there, in order.
func (r *Repository) snapshots() (all []int64) {
	entries, _ := os.ReadDir(r.dir) // what cannot be read cannot be written either
	for _, e := range entries {
		if role, version, err := ParseFile(e.Name()); err == nil && role == Snapshot {
			all = append(all, version)
		}
	}
	slices.Sort(all)
	return all
}

// listing says which versions are current. What was listed once stays so, also if
// its file was lost: devices take its end, or a step back, for an attack.
func (r *Repository) listing(old map[string]*metadata.MetaFiles) (map[string]*metadata.MetaFiles, error) {
	listed := map[string]*metadata.MetaFiles{}
	for name, meta := range old {
		listed[name] = meta
	}
	for role, m := range r.targets {
		if old := listed[role+".json"]; old != nil && old.Version >= m.Signed.Version {
			continue
		}
		b, err := os.ReadFile(filepath.Join(r.dir, File(role, m.Signed.Version)))
		if err == nil && pack.DigestOf(b) != r.files[File(role, m.Signed.Version)] {
			err = fmt.Errorf("%s is damaged: publish it again", File(role, m.Signed.Version))
		}
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
	if err := durable.WriteFile(filepath.Join(r.dir, name), b, 0o644); err != nil {
		return fmt.Errorf("cannot store %s: %w", name, err)
	}
	return nil
}

// Expire removes snapshots that no device asks for any more: all but the newest
// few.
func (r *Repository) Expire() {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.snapshots()
	for _, version := range all[:max(len(all)-keptSnapshots, 0)] {
		os.Remove(filepath.Join(r.dir, File(Snapshot, version)))
	}
	half, _ := filepath.Glob(filepath.Join(r.dir, ".new-*"))
	for _, path := range half {
		os.Remove(path)
	}
}

// keptSnapshots is how many snapshots stay for devices that are in the middle of
// their workflow.
const keptSnapshots = 16
