package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/replica"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// Names inside the directory of a component.
const (
	memosName = "memo"
	bookName  = "book.json"
)

// A knowledge is what the manager knows of one component while an update of
// it is open. It is lost when the process ends, except for what a rehearsal
// has written down; then files are read once more.
type knowledge struct {
	book  *book
	trees []*tree
	lists map[Generation]listing // of generations that nobody has changed since

	stopped bool       // the component has, since the last rehearsal
	still   folders    // of the live snapshot when it had, until the next seal
	made    Generation // since then, and has not been handed out yet
}

// known returns what is known of a component.
func (m *Manager) known(component string) (*knowledge, error) {
	dir, err := m.home(component)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	k := m.memory[component]
	if k == nil {
		k = &knowledge{book: readBook(filepath.Join(dir, memosName, bookName)), lists: map[Generation]listing{}}
		m.memory[component] = k
	}
	return k, nil
}

// Rehearse transforms a live snapshot, which lies in a generation that is not
// sealed. Results are kept, so that [Manager.Transform] has to make only what
// changes from now on. The files of the snapshot may be hard links to those
// of the running component; then they are known again behind the links that
// the updater makes when it saves.
//
// It tells how long the transformation would take now: it does it a second
// time, with what the component has changed during the first.
//
// Now and then during the first time it calls pause, which may be nil. If that
// fails so does Rehearse, but what it has made by then, at least something, needs
// not be made again. Nor after a crash, save for what was made in the last minute.
func (m *Manager) Rehearse(ctx context.Context, component string, gen Generation,
	steps []host.Step, progress func(done, total int64), pause func() error,
) (found Rehearsed, err error) {
	dir, err := m.dir(component, gen)
	if err != nil {
		return found, err
	}
	k, err := m.known(component)
	if err != nil {
		return found, err
	}
	k.book.unsettle()
	k.stopped, k.still, k.made = false, nil, 0
	files := filepath.Join(dir, filesName)
	if err := calm(ctx, files); err != nil {
		return found, fmt.Errorf("cannot rehearse on state %s/%d: %w", component, gen, err)
	}
	r := rehearsal{manager: m, component: component, knowledge: k, files: files, steps: steps, written: time.Now()}
	if err := r.once(ctx, progress, pause); err != nil {
		return found, err
	}
	changed := append(r.changed(), r.smallest()...)
	for _, t := range k.trees {
		t.forget(changed)
	}
	if err := r.once(ctx, nil, nil); err != nil {
		return found, err
	}
	return Rehearsed{Took: r.took, Warnings: r.warnings()}, r.write()
}

// Rehearsed is what a rehearsal has found.
type Rehearsed struct {
	Took     time.Duration // the transformation, if it were done now
	Warnings []string      // in words: what is probably not as its author meant it
}

// warnings tells of transforms that have nothing to do, and of databases that
// SQLite has not looked into.
func (r *rehearsal) warnings() (all []string) {
	for _, step := range r.idle {
		text := fmt.Sprintf("the transform from schema %d to %d is for %s, and no file of the state is like that", step.From, step.To, few(step.Files))
		if all = append(all, text); r.manager.Logger != nil {
			r.manager.Logger.Warn("a transform is for no file of the state", "component", r.component, "from", step.From, "to", step.To, "files", step.Files)
		}
	}
	for i := range r.steps {
		if paths := slices.Sorted(maps.Keys(r.trees[i].memo.Unchecked)); len(paths) > 0 {
			all = append(all, fmt.Sprintf("only the format of %s was checked: too large for SQLite's integrity check within the limits of a transform", few(paths)))
		}
	}
	return all
}

// few names some of many, shortened: they go into the twin.
func few(names []string) string {
	const most = 3
	var all []string
	for _, name := range names[:min(len(names), most)] {
		all = append(all, fmt.Sprintf("%.100s", name))
	}
	text := strings.Join(all, ", ")
	if len(names) > most {
		text += fmt.Sprintf(" and %d more", len(names)-most)
	}
	return text
}

// A rehearsal is one call of Rehearse.
type rehearsal struct {
	*knowledge
	manager   *Manager
	component string
	files     string
	steps     []host.Step
	list      listing
	took      time.Duration // by the last pass
	idle      []host.Step   // of the last pass
	written   time.Time     // when the memo was
}

func (r *rehearsal) once(ctx context.Context, progress func(done, total int64), pause func() error) error {
	observed, err := observe(r.files)
	if err != nil {
		return err
	}
	begin := time.Now()
	defer func() { r.took = time.Since(begin) }()
	list, err := r.book.scanLive(ctx, r.files, observed)
	if err != nil {
		return fmt.Errorf("cannot read the live state: %w", err)
	}
	r.list = list
	p := &pass{transformer: r.manager.transformer, book: r.book, live: true, between: func() error { return r.between(pause) }}
	_, err = r.manager.refresh(ctx, p, r.component, r.steps, r.files, list, progress)
	r.idle = p.idle
	return err
}

// changed returns the files that have changed since the last pass. One that
// the component has replaced counts too: its link here has lost a sibling,
// which is a change of the inode.
func (r *rehearsal) changed() []string {
	var changed []string
	for _, n := range r.list {
		if n.mode.IsRegular() && !r.book.same(filepath.Join(r.files, n.path)) {
			changed = append(changed, n.path)
		}
	}
	return changed
}

// smallest returns the smallest file: with it, the prediction has the time that
// a sandbox needs to start.
func (r *rehearsal) smallest() []string {
	files := slices.DeleteFunc(slices.Clone(r.list), func(n node) bool { return !n.mode.IsRegular() })
	if len(files) == 0 {
		return nil
	}
	return []string{slices.MinFunc(files, func(a, b node) int { return cmp.Compare(a.size, b.size) }).path}
}

// writeInterval is how often a long rehearsal makes the memo durable.
const writeInterval = time.Minute

// between is called after each lot.
func (r *rehearsal) between(pause func() error) (err error) {
	if pause != nil {
		err = pause()
	}
	if err != nil || time.Since(r.written) >= writeInterval {
		return errors.Join(err, r.write())
	}
	return nil
}

// write makes the memo durable, and then that it is there.
func (r *rehearsal) write() error {
	r.written = time.Now()
	if err := syncFileSystem(r.files); err != nil {
		return err
	}
	for _, t := range r.trees {
		if err := t.write(); err != nil {
			return fmt.Errorf("cannot write memo: %w", err)
		}
	}
	if err := r.book.write(filepath.Join(filepath.Dir(r.trees[0].dir), bookName)); err != nil {
		return fmt.Errorf("cannot write memo: %w", err)
	}
	return nil
}

// refresh takes a state through the trees of all steps, and lists the last.
func (m *Manager) refresh(ctx context.Context, p *pass, component string, steps []host.Step, files string, in listing,
	progress func(done, total int64),
) (listing, error) {
	k, err := m.known(component)
	if err != nil {
		return nil, err
	}
	dir, err := m.home(component)
	if err != nil {
		return nil, err
	}
	if len(steps) == 0 {
		steps = []host.Step{{}} // a copy
	}
	source, original := files, in
	for i, step := range steps {
		key := m.transformer.Key(step)
		if i == len(k.trees) {
			k.trees = append(k.trees, openTree(filepath.Join(dir, memosName, strconv.Itoa(i)), key))
		}
		t := k.trees[i]
		if t.memo.Step != key {
			t.memo = newMemo(key)
		}
		in, err = p.refresh(ctx, t, step, files, in, part(progress, i, len(steps)))
		if err != nil {
			return nil, err
		}
		files = t.files()
	}
	whole := slices.ContainsFunc(steps, func(s host.Step) bool { return s.Mode == host.Tree })
	d := dressing{tree: k.trees[len(steps)-1], book: k.book, source: source, live: p.live, whole: whole}
	if err := d.all(original, in); err != nil {
		return nil, fmt.Errorf("cannot give the new state the owners and modes of the old: %w", err)
	}
	return in, nil
}

// part makes the progress of one step that of all.
func part(progress func(done, total int64), i, n int) func(done, total int64) {
	if progress == nil {
		return nil
	}
	return func(done, total int64) { progress(int64(i)*total+done, int64(n)*total) }
}

// Settle is to be called when the component has stopped and before the
// updater saves: files of the live snapshot gen that have not changed since
// the rehearsal are not read again, if they turn up in what is saved. 0 stands
// for a snapshot that was never made. It returns the directory of the
// snapshot, which the updater may take, or "".
func (m *Manager) Settle(component string, gen Generation) (string, error) {
	k, err := m.known(component)
	if err != nil {
		return "", err
	}
	k.stopped, k.still = true, nil
	dir, err := m.dir(component, gen)
	if err != nil || gen == 0 {
		return "", err
	}
	files := filepath.Join(dir, filesName)
	k.still, err = k.book.settle(files)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil // it was made in vain, half removed, or taken before a crash
	}
	return files, err
}

// hot is how long ago a file was written that may be written again while the
// rehearsal reads it, or by a write that began then and has not come to its end:
// see [book.writing].
const hot = 5 * time.Second

// calm readies a live snapshot: hard links to files that are just being
// written become copies, which stay as they are, and the clock is past the
// last change of the others. Where a file system does not tell what is written
// through mapped memory, as tmpfs, any file may be.
func calm(ctx context.Context, root string) error {
	var last time.Duration
	begin, tells := time.Now(), faithful(root)
	err := walk(ctx, root, func(e *entry) error {
		if !e.regular() || e.stat.Nlink == 1 {
			return ctx.Err()
		}
		_, i := e.identify()
		if !tells || begin.UnixNano()-i.Modified < int64(hot) && !ahead(i.Modified, begin) {
			return separate(ctx, filepath.Join(root, e.path), filepath.Join(filepath.Dir(root), "calm"))
		}
		last = max(last, min(tick(i.Changed), time.Duration(i.Changed-begin.UnixNano())+tick(i.Changed)))
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(last - time.Since(begin)):
		return nil
	}
}

// separate replaces a link by a copy, made under a name outside of the state.
func separate(ctx context.Context, name, scratch string) error {
	if err := replica.Copy(ctx, name, scratch); err != nil {
		return err
	}
	return os.Rename(scratch, name)
}
