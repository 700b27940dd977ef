// Package state keeps the saved and the transformed states of components: the
// component state manager. A component's state is a directory of files; each
// copy of it that an update makes is a generation, and a generation is never
// changed once it is sealed.
//
//	<root>/<type>/<name>/<generation>/files/      the state
//	<root>/<type>/<name>/<generation>/seal.json   schema, version, package, time, size and digest
//
//	<root>/<type>/<name>/memo/                    what the rehearsal has found out
//
// The seal is written last and removed first, so after a crash a generation
// without one is garbage, whatever lies in it. One bring to the disk is enough
// for files and seal: a power cut before that may leave the seal of files that
// are lost, which a look at them shows, and whose update has not gone on. A
// typical update:
//
//	dir, _ := m.Fresh(component, live)    // the updater makes a snapshot in dir
//	m.Rehearse(ctx, component, live, steps, progress)
//	m.Settle(component, live)             // the component has stopped
//	dir, _ = m.Fresh(component, saved)    // the updater saves into dir
//	m.Seal(ctx, component, saved, Meta{…})
//	m.Transform(ctx, component, saved, saved+1, steps, progress)
//	m.Seal(ctx, component, saved+1, Meta{…})
//	dir, _, _ = m.Load(ctx, component, saved+1) // the updater may move dir away
//	m.Prune(component, Needs{Back: []Generation{saved}})
//
// What happens after Settle takes as long as the files need that have changed
// since the rehearsal, and a look at the others: a [book] tells which these
// are, and a [tree] per step keeps what was made of the others.
//
// All methods are idempotent; calls for one component must not overlap. Those
// that read files end soon after their context.
package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/replica"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// A Generation numbers the states of one component, from 1, oldest first.
type Generation uint64

// A Meta is what is known about a sealed state.
type Meta struct {
	Schema  int       `json:"schema"`            // state schema
	Version string    `json:"version"`           // of the component that the state was saved from or made for
	Package string    `json:"package,omitempty"` // digest of that version's manifest
	Time    time.Time `json:"time"`              // when it was saved or made, by the wall clock
}

// A Transformer applies a transform to some files of a state directory;
// *[host.Host] does. Results with the same key can stand for each other.
type Transformer interface {
	Key(step host.Step) string
	Refresh(ctx context.Context, step host.Step, in, out string, files []host.File, progress func(done, total int64)) (host.Report, error)
}

// A Manager keeps generations below one directory.
type Manager struct {
	Retention              // which generations stay
	Logger    *slog.Logger // hears of transforms that have nothing to do; nil: nobody does

	root        string
	transformer Transformer
	clock       *clock

	mu     sync.Mutex
	memory map[string]*knowledge // by component
}

// Open returns the manager of root, which it makes (0700) if it is missing.
func Open(root string, t Transformer) (*Manager, error) {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("cannot open state directory: %w", err)
	}
	return &Manager{
		Retention: DefaultRetention,
		root:      root, transformer: t, clock: openClock(root), memory: map[string]*knowledge{},
	}, nil
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
// steps of a chain; without steps it copies. It leaves to unsealed. What the
// rehearsal has made is taken over, not made again. progress gets bytes and
// may be nil; errors are the [Transformer]'s, as [host.Error].
func (m *Manager) Transform(ctx context.Context, component string, from, to Generation,
	steps []host.Step, progress func(done, total int64),
) (host.Report, error) {
	k, err := m.known(component)
	if err != nil {
		return host.Report{}, err
	}
	files, in, err := m.listed(ctx, component, from)
	if err != nil {
		return host.Report{}, err
	}
	if err := m.takeBack(component, to, max(len(steps), 1)); err != nil {
		return host.Report{}, err
	}
	p := &pass{transformer: m.transformer, book: k.book}
	out, err := m.refresh(ctx, p, component, steps, files, in, progress)
	if err != nil {
		return host.Report{}, err
	}
	dir, err := m.dir(component, to)
	if err != nil {
		return host.Report{}, err
	}
	if err := os.Rename(k.trees[max(len(steps), 1)-1].dir, dir); err != nil {
		return host.Report{}, fmt.Errorf("cannot make state %s/%d: %w", component, to, err)
	}
	k.trees, k.lists[to] = nil, out
	if k.stopped {
		k.made = to
	}
	return p.report, nil
}

// listed returns a sealed generation and what is in it, which is as sealed.
func (m *Manager) listed(ctx context.Context, component string, gen Generation) (string, listing, error) {
	k, err := m.known(component)
	if err != nil {
		return "", nil, err
	}
	files, s, err := m.sealed(component, gen)
	if err != nil {
		return "", nil, err
	}
	if list, ok := k.lists[gen]; ok {
		return files, list, nil
	}
	list, err := k.book.scan(ctx, files)
	if err != nil {
		return "", nil, fmt.Errorf("cannot check state %s/%d: %w", component, gen, err)
	}
	if list.digest() != s.Digest {
		return "", nil, fmt.Errorf("state %s/%d: %w", component, gen, ErrDamaged)
	}
	return files, list, nil
}

// takeBack makes a generation the memo of the last of so many steps again, if
// it became one before a crash, and drops it otherwise.
func (m *Manager) takeBack(component string, gen Generation, steps int) error {
	dir, err := m.dir(component, gen)
	if err != nil {
		return err
	}
	if err := unseal(dir); err != nil {
		return fmt.Errorf("cannot drop state %s/%d: %w", component, gen, err)
	}
	last := filepath.Join(filepath.Dir(dir), memosName, strconv.Itoa(steps-1))
	_, err = os.Stat(last)
	if _, made := os.Stat(filepath.Join(dir, memoName)); made == nil && errors.Is(err, fs.ErrNotExist) {
		if os.Rename(dir, last) == nil {
			m.unlist(component, gen)
			return nil
		}
	}
	return m.Drop(component, gen)
}

// Seal declares a generation complete: its digest and meta are written beside
// it, and all of it is durable when Seal returns. Sealing again replaces the
// seal. Only directories, regular files and symbolic links can be sealed.
//
// While the component is stopped, whoever is cut off in here must seal or drop
// the same generation afterwards. At other times the files are durable before
// the seal is.
func (m *Manager) Seal(ctx context.Context, component string, gen Generation, meta Meta) error {
	if err := m.seal(ctx, component, gen, meta); err != nil {
		return fmt.Errorf("cannot seal state %s/%d: %w", component, gen, err)
	}
	return nil
}

func (m *Manager) seal(ctx context.Context, component string, gen Generation, meta Meta) error {
	dir, err := m.dir(component, gen)
	if err != nil {
		return err
	}
	k, err := m.known(component)
	if err != nil {
		return err
	}
	if !k.stopped || !faithful(dir) { // elsewhere what was written through mapped memory has its change time only then
		if err := syncFileSystem(dir); err != nil {
			return err
		}
	}
	list, ok := k.lists[gen]
	if !ok {
		if list, err = k.book.scanBut(ctx, filepath.Join(dir, filesName), k.still); err != nil {
			return err
		}
	}
	k.still = nil
	k.book.unsettle()
	k.lists[gen] = list
	s := seal{Meta: meta, Digest: list.digest(), On: m.clock.now()}
	s.Files, s.Size = list.sum()
	if err := writeSeal(dir, s.bind(component, gen)); err != nil {
		return err
	}
	return syncFileSystem(dir)
}

// Load returns the directory and the meta of a sealed generation, after it has
// compared every file with the seal, and the seal with where it lies. Of one that [Manager.Transform] has made
// since Settle, in this process, each file was looked at or written just now:
// the first Load does without another look, which would be downtime. Whoever gets the directory may move it
// away whole, but not change it. The error is [ErrNotSealed], [ErrDamaged],
// [ErrMisplaced] or [ErrMoved] if that is why; the directory is returned too.
func (m *Manager) Load(ctx context.Context, component string, gen Generation) (string, Meta, error) {
	files, sealed, err := m.sealed(component, gen)
	if err != nil {
		return files, Meta{}, err
	}
	k, err := m.known(component)
	if err != nil {
		return "", Meta{}, err
	}
	if k.made != gen {
		delete(k.lists, gen)
	}
	k.made = 0
	if _, _, err := m.listed(ctx, component, gen); err != nil {
		return files, Meta{}, err
	}
	return files, sealed.Meta, nil
}

// Meta returns what is known about a sealed generation, unchecked.
func (m *Manager) Meta(component string, gen Generation) (Meta, error) {
	_, s, err := m.sealed(component, gen)
	return s.Meta, err
}

// Drop removes a generation. Dropping what is not there succeeds.
func (m *Manager) Drop(component string, gen Generation) error {
	dir, err := m.dir(component, gen)
	if err != nil {
		return err
	}
	m.unlist(component, gen)
	if err := unseal(dir); err != nil {
		return fmt.Errorf("cannot drop state %s/%d: %w", component, gen, err)
	}
	if err := replica.RemoveAll(dir); err != nil {
		return fmt.Errorf("cannot drop state %s/%d: %w", component, gen, err)
	}
	return nil
}

// Release drops what is not sealed: snapshots of the live state, and
// generations that were half made. To be called while no update of the
// component saves or transforms its state.
func (m *Manager) Release(component string) error {
	all, err := m.generations(component)
	errs := []error{err}
	for _, gen := range all {
		if _, _, err := m.sealed(component, gen); errors.Is(err, ErrNotSealed) {
			errs = append(errs, m.Drop(component, gen))
		}
	}
	return errors.Join(errs...)
}

func (m *Manager) unlist(component string, gen Generation) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := m.memory[component]; k != nil {
		delete(k.lists, gen)
		if k.made == gen {
			k.made = 0
		}
	}
}

// home returns the directory of a component. Its name becomes a path, so it
// must be two plain names.
func (m *Manager) home(component string) (string, error) {
	kind, name, ok := strings.Cut(component, "/")
	if !ok || !plain(kind) || !plain(name) {
		return "", fmt.Errorf("%q is not a component: expected type/name", component)
	}
	return filepath.Join(m.root, kind, name), nil
}

// dir returns the directory of a generation.
func (m *Manager) dir(component string, gen Generation) (string, error) {
	home, err := m.home(component)
	return filepath.Join(home, strconv.FormatUint(uint64(gen), 10)), err
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
	files := filepath.Join(dir, filesName)
	s, err := readSeal(dir)
	if err == nil {
		err = s.check(component, gen)
	}
	if err != nil {
		return files, s, fmt.Errorf("state %s/%d: %w", component, gen, err)
	}
	if _, err := os.Lstat(files); errors.Is(err, fs.ErrNotExist) {
		return files, seal{}, fmt.Errorf("state %s/%d: %w", component, gen, ErrMoved)
	}
	return files, s, nil
}
