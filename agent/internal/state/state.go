// Package state keeps the saved and the transformed states of components: the
// component state manager. A component's state is a directory of files; each
// copy of it that an update makes is a generation, and a generation is never
// changed once it is sealed.
//
//	<root>/<type>/<name>/<generation>/files/      the state
//	<root>/<type>/<name>/<generation>/seal.json   schema, version, time and digest
//
// The seal is written last and removed first, so after a crash a generation
// without one is garbage, whatever lies in it. A typical update:
//
//	saved, _ := m.Next(component)
//	dir, _ := m.Fresh(component, saved)   // the updater saves into dir
//	m.Seal(component, saved, Meta{…})
//	m.Transform(ctx, component, saved, saved+1, steps, progress)
//	m.Seal(component, saved+1, Meta{…})   // the updater applies from it
//	m.Prune(component, 2)
//
// All methods are idempotent; calls for one component must not overlap.
package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// A Generation numbers the states of one component, from 1, oldest first.
type Generation uint64

// A Meta is what is known about a sealed state.
type Meta struct {
	Schema  int       `json:"schema"`  // state schema
	Version string    `json:"version"` // of the component that the state was saved from or made for
	Time    time.Time `json:"time"`    // when it was saved or made
}

// A Transformer applies a chain of transforms to a state directory;
// *[host.Host] does.
type Transformer interface {
	Run(ctx context.Context, steps []host.Step, in, out string, progress func(done, total int64)) (host.Report, error)
}

// A Manager keeps generations below one directory.
type Manager struct {
	root        string
	transformer Transformer
}

// Open returns the manager of root, which it makes (0700) if it is missing.
func Open(root string, t Transformer) (*Manager, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("cannot open state directory: %w", err)
	}
	return &Manager{root: root, transformer: t}, nil
}

// Next returns a number above every generation of the component, sealed or not.
func (m *Manager) Next(component string) (Generation, error) {
	all, err := m.generations(component)
	if err != nil {
		return 0, err
	}
	if len(all) == 0 {
		return 1, nil
	}
	return all[len(all)-1] + 1, nil
}

// Fresh returns the empty directory of a generation, for the state to be
// written into. What the generation held before is removed.
func (m *Manager) Fresh(component string, gen Generation) (string, error) {
	if err := m.Drop(component, gen); err != nil {
		return "", err
	}
	dir, err := m.dir(component, gen)
	if err != nil {
		return "", err
	}
	files := filepath.Join(dir, filesName)
	if err := os.MkdirAll(files, 0o700); err != nil {
		return "", fmt.Errorf("cannot make state %s/%d: %w", component, gen, err)
	}
	return files, nil
}

// Transform makes the generation to from the sealed generation from, by the
// steps of a chain. It leaves to unsealed. progress gets bytes and may be nil;
// errors are the [Transformer]'s, as [host.Error].
func (m *Manager) Transform(ctx context.Context, component string, from, to Generation,
	steps []host.Step, progress func(done, total int64),
) (host.Report, error) {
	in, _, err := m.sealed(component, from)
	if err != nil {
		return host.Report{}, err
	}
	out, err := m.Fresh(component, to)
	if err != nil {
		return host.Report{}, err
	}
	return m.transformer.Run(ctx, steps, in, out, progress)
}

// Seal declares a generation complete: everything in it is made durable, then
// its digest and meta are written beside it. Sealing again replaces the seal.
// Only directories and regular files can be sealed.
func (m *Manager) Seal(component string, gen Generation, meta Meta) error {
	dir, err := m.dir(component, gen)
	if err != nil {
		return err
	}
	digest, err := persist(filepath.Join(dir, filesName))
	if err != nil {
		return fmt.Errorf("cannot seal state %s/%d: %w", component, gen, err)
	}
	if err := writeSeal(dir, seal{Meta: meta, Digest: digest}); err != nil {
		return fmt.Errorf("cannot seal state %s/%d: %w", component, gen, err)
	}
	return nil
}

// Load returns the directory and the meta of a sealed generation, after it has
// compared every file with the seal. The directory is to be read only. The
// error is [ErrNotSealed] or [ErrDamaged] if that is why.
func (m *Manager) Load(component string, gen Generation) (string, Meta, error) {
	files, sealed, err := m.sealed(component, gen)
	if err != nil {
		return "", Meta{}, err
	}
	digest, err := digestTree(files)
	if err != nil {
		return "", Meta{}, fmt.Errorf("cannot check state %s/%d: %w", component, gen, err)
	}
	if digest != sealed.Digest {
		return "", Meta{}, fmt.Errorf("state %s/%d: %w", component, gen, ErrDamaged)
	}
	return files, sealed.Meta, nil
}

// Drop removes a generation. Dropping what is not there succeeds.
func (m *Manager) Drop(component string, gen Generation) error {
	dir, err := m.dir(component, gen)
	if err != nil {
		return err
	}
	if err := unseal(dir); err != nil {
		return fmt.Errorf("cannot drop state %s/%d: %w", component, gen, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("cannot drop state %s/%d: %w", component, gen, err)
	}
	return nil
}

// An Entry is a sealed generation in a list.
type Entry struct {
	Generation Generation
	Meta
}

// List returns the sealed generations of a component, oldest first. It reads
// the seals alone: whether the files are as sealed is for Load to say.
func (m *Manager) List(component string) ([]Entry, error) {
	all, err := m.generations(component)
	if err != nil {
		return nil, err
	}
	var entries []Entry
	for _, gen := range all {
		_, sealed, err := m.sealed(component, gen)
		if errors.Is(err, ErrNotSealed) || errors.Is(err, ErrDamaged) {
			continue
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, Entry{gen, sealed.Meta})
	}
	return entries, nil
}

// Prune keeps the newest sealed generations, as many as keep says, and drops
// the older ones and everything unsealed. To be called when no update of the
// component is open.
func (m *Manager) Prune(component string, keep int) error {
	all, err := m.generations(component)
	if err != nil {
		return err
	}
	for _, gen := range slices.Backward(all) {
		if _, _, err := m.sealed(component, gen); err == nil && keep > 0 {
			keep--
			continue
		}
		if err := m.Drop(component, gen); err != nil {
			return err
		}
	}
	return nil
}

// dir returns the directory of a generation. A component's name becomes a
// path, so it must be two plain names.
func (m *Manager) dir(component string, gen Generation) (string, error) {
	kind, name, ok := strings.Cut(component, "/")
	if !ok || !plain(kind) || !plain(name) {
		return "", fmt.Errorf("%q is not a component: expected type/name", component)
	}
	return filepath.Join(m.root, kind, name, strconv.FormatUint(uint64(gen), 10)), nil
}

func plain(name string) bool {
	return name != "" && name[0] != '.' && !strings.ContainsAny(name, "/\\\x00")
}

// generations returns the numbers of all directories there are, ascending.
func (m *Manager) generations(component string) ([]Generation, error) {
	dir, err := m.dir(component, 0)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("cannot list states of %s: %w", component, err)
	}
	var all []Generation
	for _, entry := range entries {
		if n, err := strconv.ParseUint(entry.Name(), 10, 64); err == nil {
			all = append(all, Generation(n))
		}
	}
	slices.Sort(all)
	return all, nil
}

// sealed returns the files of a generation and its seal, unchecked.
func (m *Manager) sealed(component string, gen Generation) (string, seal, error) {
	dir, err := m.dir(component, gen)
	if err != nil {
		return "", seal{}, err
	}
	s, err := readSeal(dir)
	if err != nil {
		return "", seal{}, fmt.Errorf("state %s/%d: %w", component, gen, err)
	}
	return filepath.Join(dir, filesName), s, nil
}
