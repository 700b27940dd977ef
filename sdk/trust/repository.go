package trust

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// A Repository is metadata in a directory, all versions of it: the operator's,
// in which it is made, or the file server's, which serves it. Its methods may be
// called at the same time.
type Repository struct {
	dir string
	log *slog.Logger

	mu      sync.Mutex
	root    *metadata.Metadata[metadata.RootType] // nil: there is none yet
	targets map[string]*metadata.Metadata[metadata.TargetsType]
	files   map[string]string // digests by name, of what was read or written
	damaged map[string]bool   // files that could not be read, and roots that are missing
	signed  bool              // since it was opened
}

// Why a repository does not take a file.
var (
	ErrConflict = errors.New("there is another one of that version")
	ErrVersion  = errors.New("not the next version")
)

// OpenRepository reads a directory, and makes it if it is not there. A damaged
// file counts as missing, and the log says so: publish it again.
func OpenRepository(dir string, log *slog.Logger) (*Repository, error) {
	r := &Repository{
		dir: dir, log: log, targets: map[string]*metadata.Metadata[metadata.TargetsType]{},
		files: map[string]string{}, damaged: map[string]bool{},
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make directory of trust metadata: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot read trust metadata: %w", err)
	}
	for _, e := range entries {
		if role, version, err := ParseFile(e.Name()); err == nil {
			if err := r.open(e.Name(), role, version); err != nil {
				r.damaged[e.Name()] = true
				log.Error("trust metadata is damaged and counts as missing: publish it again", "file", e.Name(), "error", err)
			}
		}
	}
	for before := range r.version(Root) {
		if name := File(Root, before+1); r.files[name] == "" {
			r.damaged[name] = true
		}
	}
	return r, nil
}

// open notes a file that is there. Those that the file server signs are read
// when they are needed.
func (r *Repository) open(name, role string, version int64) error {
	if role == Snapshot || role == Timestamp {
		return nil
	}
	b, err := os.ReadFile(filepath.Join(r.dir, name))
	if err != nil {
		return err
	}
	switch role {
	case Root:
		m, err := parse[metadata.RootType](b)
		if err != nil || m.Signed.Version != version {
			return cmp.Or(err, ErrMixed)
		}
		if r.root == nil || version > r.root.Signed.Version {
			r.root = m
		}
	default:
		m, err := parse[metadata.TargetsType](b)
		if err != nil || m.Signed.Version != version {
			return cmp.Or(err, ErrMixed)
		}
		if version > r.version(role) {
			r.targets[role] = m
		}
	}
	r.files[name] = pack.DigestOf(b)
	delete(r.damaged, name)
	return nil
}

// version is the newest of a role; 0 if there is none.
func (r *Repository) version(role string) int64 {
	switch m := r.targets[role]; {
	case role == Root && r.root != nil:
		return r.root.Signed.Version
	case m != nil:
		return m.Signed.Version
	}
	return 0
}

// Read returns a file by its name, or ErrNotFound.
func (r *Repository) Read(name string) ([]byte, error) {
	if _, _, err := ParseFile(name); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrNotFound)
	}
	b, err := os.ReadFile(filepath.Join(r.dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%s: %w", name, ErrNotFound)
	}
	return b, err
}

// Add takes the next version of a role that offline keys have signed: root,
// targets or an author, who may leave out numbers. What is there already, or was,
// may come again.
func (r *Repository) Add(name string, b []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	role, version, err := ParseFile(name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if role == Snapshot || role == Timestamp {
		return fmt.Errorf("%w: the file server makes %s itself", ErrMalformed, role)
	}
	if digest, known := r.files[name]; known {
		return r.again(name, digest, b)
	}
	if role == Root && version < r.version(Root) && r.damaged[name] {
		if err := r.checkBetween(version, b); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		return r.put(name, role, version, b)
	}
	if next := r.version(role) + 1; version < next || version > next && (role == Root || role == Targets) {
		return fmt.Errorf("%s: %w, which is %d", name, ErrVersion, next)
	}
	if listed := r.current().snapshot.Meta[role+".json"]; listed != nil && listed.Version == version && !listed.Hashes.Equal(metaOf(b, version).Hashes) {
		return fmt.Errorf("%s: %w, which was lost: sign above it", name, ErrConflict)
	}
	if err := r.check(role, version, b); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return r.put(name, role, version, b)
}

func (r *Repository) put(name, role string, version int64, b []byte) error {
	if err := durable.WriteFile(filepath.Join(r.dir, name), b, 0o644); err != nil {
		return fmt.Errorf("cannot store trust metadata: %w", err)
	}
	return r.open(name, role, version)
}

// checkBetween refuses what cannot be an older root that was lost: the next one
// must follow from it.
func (r *Repository) checkBetween(version int64, b []byte) error {
	m, err := parse[metadata.RootType](b)
	if err != nil {
		return err
	}
	if m.Signed.Version != version {
		return fmt.Errorf("it is version %d: %w", m.Signed.Version, ErrMixed)
	}
	after, err := r.Read(File(Root, version+1))
	if err != nil {
		return fmt.Errorf("the newer ones first: %w", err)
	}
	next, err := parse[metadata.RootType](after)
	if err != nil {
		return err
	}
	return cmp.Or(verify(m, Root, m), verify(m, Root, next))
}

// again takes what is there already, and puts it in place of what has become of
// that on the disk.
func (r *Repository) again(name, digest string, b []byte) error {
	if pack.DigestOf(b) != digest {
		return fmt.Errorf("%s: %w", name, ErrConflict)
	}
	if old, err := r.Read(name); err == nil && bytes.Equal(old, b) {
		return nil
	}
	role, version, err := ParseFile(name)
	if err != nil {
		return err
	}
	return r.put(name, role, version, b)
}

// check refuses what devices would.
func (r *Repository) check(role string, version int64, b []byte) error {
	if role == Root {
		m, err := parse[metadata.RootType](b)
		if err != nil {
			return err
		}
		return r.checkRoot(m, version)
	}
	m, err := parse[metadata.TargetsType](b)
	if err != nil {
		return err
	}
	if m.Signed.Version != version {
		return fmt.Errorf("it is version %d: %w", m.Signed.Version, ErrMixed)
	}
	if role == Targets {
		return r.checkTargets(m)
	}
	return r.checkAuthor(role, m)
}

func (r *Repository) checkRoot(m *metadata.Metadata[metadata.RootType], version int64) error {
	if m.Signed.Version != version {
		return fmt.Errorf("it is version %d: %w", m.Signed.Version, ErrMixed)
	}
	for _, role := range []string{Root, Targets, Snapshot, Timestamp} {
		if k := m.Signed.Roles[role]; k == nil || k.Threshold < 1 || k.Threshold > len(k.KeyIDs) {
			return fmt.Errorf("%w: %s has not as many keys as its threshold", ErrMalformed, role)
		}
	}
	if r.root != nil {
		if err := verify(r.root, Root, m); err != nil {
			return fmt.Errorf("by the keys of version %d: %w", version-1, err)
		}
	}
	return verify(m, Root, m)
}

func (r *Repository) checkTargets(m *metadata.Metadata[metadata.TargetsType]) error {
	if r.root == nil {
		return fmt.Errorf("%w: there is no root yet", ErrUnsigned)
	}
	if len(m.Signed.Targets) > 0 {
		return fmt.Errorf("%w: targets lists packages itself, which authors do", ErrMalformed)
	}
	if err := checkDelegations(&m.Signed); err != nil {
		return err
	}
	return verify(r.root, Targets, m)
}

func (r *Repository) checkAuthor(role string, m *metadata.Metadata[metadata.TargetsType]) error {
	t := r.targets[Targets]
	if t == nil {
		return fmt.Errorf("%w: there is no targets metadata yet", ErrUnsigned)
	}
	d := delegation(&t.Signed, role)
	if d == nil {
		return fmt.Errorf("%w: targets delegates nothing to %s", ErrUnsigned, role)
	}
	for _, p := range packagesOf(m) {
		if !slices.Contains(d.Paths, p.Component+"/*") {
			return fmt.Errorf("%w: %s may not sign for %s", ErrUnsigned, role, p.Component)
		}
	}
	return verify(t, role, m)
}

// delegation returns that to an author, nil if there is none.
func delegation(t *metadata.TargetsType, author string) *metadata.DelegatedRole {
	if t.Delegations == nil {
		return nil
	}
	for i, d := range t.Delegations.Roles {
		if d.Name == author {
			return &t.Delegations.Roles[i]
		}
	}
	return nil
}

// Founded tells whether there is anything to serve.
func (r *Repository) Founded() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.root != nil
}

// A Standing is what there is to know of a role.
type Standing struct {
	Role       string    `json:"role"`
	Version    int64     `json:"version"` // 0: nothing was published yet
	Expires    time.Time `json:"expires,omitzero"`
	Keys       []string  `json:"keys"` // ids
	Threshold  int       `json:"threshold"`
	Components []string  `json:"components,omitempty"` // of an author
	Packages   []string  `json:"packages,omitempty"`   // and what is listed for them
	Problem    string    `json:"problem,omitempty"`    // and what to do; "" all is well
}
