package state

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/tranquil-iot/tranquil/sdk/replica"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// A tree is the memo of one step: the state that the step made last, and of
// each file in it, from what. A transform is a pure function of the step, the
// file's name and its content, so a file whose input is the same needs no
// transform. What lies in the tree is believed only if its digest is the one
// that was noted, so a memo may be lost but cannot be wrong.
type tree struct {
	dir     string
	memo    memo
	dressed places // by path, the file of the input that it has the owner, mode and so on of

	still folders // as they were just before the component stopped, until they are written to
}

// A memo is the content of memo.json.
type memo struct {
	Step      string          // key of the step, see [Transformer]
	Made      map[string]made // by path; "." is the whole state, of a step in tree mode
	Unchecked map[string]bool `json:",omitempty"` // databases in it that were too large for SQLite's integrity check
}

type made struct{ From, Digest string } // digests of input and output

const memoName = "memo.json"

// openTree reads the memo of a step. That of another step is of no use.
func openTree(dir, key string) *tree {
	t := &tree{dir: dir}
	if readChecked(filepath.Join(dir, memoName), &t.memo) != nil || t.memo.Step != key || t.memo.Made == nil {
		t.memo = newMemo(key)
	}
	return t
}

func newMemo(key string) memo { return memo{Step: key, Made: map[string]made{}} }

func (t *tree) write() error { return writeChecked(filepath.Join(t.dir, memoName), t.memo) }

func (t *tree) files() string { return filepath.Join(t.dir, filesName) }

// A pass is one way of a state through the trees.
type pass struct {
	transformer Transformer
	book        *book
	live        bool         // the component runs, and may change its files meanwhile
	between     func() error // called after each [lot]; nil: there is only one
	report      host.Report
	idle        []host.Step // whose patterns no file of the state is like
}

// idle reports whether a step names files of which the state, which has some,
// has none: the author may have meant others.
func idle(step host.Step, in listing) bool {
	some := false
	for _, n := range in {
		if !n.mode.IsRegular() {
			continue
		}
		some = true
		for _, pattern := range step.Files {
			if ok, _ := path.Match(pattern, n.path); ok {
				return false
			}
		}
	}
	return some && len(step.Files) > 0
}

// refresh makes the tree the result of the step on the state in the directory
// from, which is listed, and lists it.
func (p *pass) refresh(ctx context.Context, t *tree, step host.Step, from string, in listing, progress func(done, total int64)) (listing, error) {
	if err := p.atRest(step, from, in); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(t.files(), 0o700); err != nil {
		return nil, err
	}
	have, err := p.book.scanBut(ctx, t.files(), t.still)
	t.still = nil
	if err != nil {
		return nil, err
	}
	if step.Mode == host.Tree {
		out, err := p.whole(ctx, t, step, from, in, have, progress)
		if err != nil {
			return nil, err
		}
		return out, p.carried(step, from, t.files(), in)
	}
	if idle(step, in) {
		p.idle = append(p.idle, step)
	}
	want, there := in.paths(), have.paths()
	changed, err := t.prepare(in, want, there)
	if err != nil {
		return nil, err
	}
	p.heads(from, changed)
	if err := p.make(ctx, t, step, from, want, there, changed, progress); err != nil {
		return nil, err
	}
	return t.list(in, there)
}

// atRest refuses a database whose journal SQLite would write over the result.
// It looks at all files, not at those that have changed: a commit may have
// changed none but the journal, and the rehearsal may have seen that as well.
func (p *pass) atRest(step host.Step, from string, in listing) error {
	if p.live {
		return nil
	}
	for _, n := range in {
		if n.mode.IsRegular() {
			if err := step.CheckJournal(from, n.path); err != nil {
				return err
			}
		}
	}
	return nil
}

// carried is atRest for a step in mode tree that has made the directory out.
func (p *pass) carried(step host.Step, from, out string, in listing) error {
	if p.live {
		return nil
	}
	for _, n := range in {
		if n.mode.IsRegular() {
			if err := step.CheckCarried(from, out, n.path); err != nil {
				return err
			}
		}
	}
	return nil
}

// whole is refresh for a step that sees the state as one.
func (p *pass) whole(ctx context.Context, t *tree, step host.Step, from string, in, have listing, progress func(done, total int64)) (listing, error) {
	digest := in.digest()
	if t.memo.Made["."] == (made{digest, have.digest()}) {
		return have, nil
	}
	delete(t.memo.Made, ".")
	clear(t.memo.Unchecked)
	t.dressed = nil
	if err := replica.RemoveAll(t.files()); err != nil {
		return nil, err
	}
	report, err := p.transformer.Refresh(ctx, step, from, t.files(), nil, progress)
	if err != nil {
		return nil, err
	}
	p.add(report)
	t.trust(report.Unchecked)
	out, err := p.book.scan(ctx, t.files())
	if err != nil {
		return nil, err
	}
	if !p.live || !slices.ContainsFunc(in, func(n node) bool {
		return n.mode.IsRegular() && !p.book.same(filepath.Join(from, n.path))
	}) {
		t.memo.Made["."] = made{digest, out.digest()}
	}
	return out, nil
}

// prepare removes what the new state does not have, makes its directories,
// and returns the files that have to be made.
func (t *tree) prepare(in listing, want, have places) (changed []host.File, err error) {
	if err := t.clear(want, have); err != nil {
		return nil, err
	}
	for _, n := range in {
		old := have.at(n.path)
		switch {
		case n.mode.IsDir() && !old.mode.IsDir():
			if err := os.MkdirAll(filepath.Join(t.files(), n.path), 0o700); err != nil {
				return nil, err
			}
		case n.symlink() && n.digest != old.digest:
			if err := t.link(n); err != nil {
				return nil, err
			}
		case n.mode.IsRegular() && t.memo.Made[n.path] != made{n.digest, old.digest}:
			whole := old.digest != "" && t.memo.Made[n.path].Digest == old.digest
			delete(t.memo.Made, n.path)
			delete(t.memo.Unchecked, n.path)
			delete(t.dressed, n.path)
			if old.links > 1 { // the file of another name is not to change with it
				if err := os.Remove(filepath.Join(t.files(), n.path)); err != nil {
					return nil, err
				}
			}
			changed = append(changed, host.File{Path: n.path, Whole: whole})
		}
	}
	return changed, nil
}

// link makes a symbolic link, in place of another.
func (t *tree) link(n node) error {
	name := filepath.Join(t.files(), n.path)
	if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(n.target, name)
}

// clear removes what is not wanted, or is of another kind, and makes the
// directories writable for now.
func (t *tree) clear(want, have places) error {
	for path, n := range have {
		if n.mode.IsDir() && n.mode.Perm()&0o700 != 0o700 {
			if err := os.Chmod(filepath.Join(t.files(), path), 0o700); err != nil {
				return err
			}
		}
	}
	for path, n := range have {
		if w, ok := want[path]; ok && w.mode.Type() == n.mode.Type() {
			continue
		}
		if err := replica.RemoveAll(filepath.Join(t.files(), path)); err != nil {
			return err
		}
		delete(have, path)
		delete(t.memo.Unchecked, path)
	}
	return nil
}

// trust notes the databases that only their format speaks for.
func (t *tree) trust(paths []string) {
	if t.memo.Unchecked == nil {
		t.memo.Unchecked = map[string]bool{}
	}
	for _, path := range paths {
		t.memo.Unchecked[path] = true
	}
}

// list lists the tree, in which all is made, and gives it the permissions of in.
func (t *tree) list(in listing, have places) (listing, error) {
	out := slices.Clone(in)
	for i := range slices.Backward(out) { // directories after their content
		n, old := &out[i], have.at(in[i].path)
		if n.mode.IsRegular() {
			n.size, n.digest = old.size, old.digest
		}
		if n.mode.IsDir() || n.mode.IsRegular() && n.mode.Perm() != old.mode.Perm() {
			if err := os.Chmod(filepath.Join(t.files(), n.path), n.mode.Perm()); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// noteOne completes the node of a file that has just been made, all but so many
// bytes at its begin.
func (p *pass) noteOne(ctx context.Context, name string, n *node, kept int64) error {
	info, err := os.Lstat(name)
	if err == nil && info.Mode().Perm() != n.mode.Perm() {
		err = os.Chmod(name, n.mode.Perm())
	}
	if err != nil {
		return err
	}
	n.size = info.Size()
	n.digest, err = p.book.own(ctx, name, kept)
	return err
}

// heads notes of each file how much of it is known to be as it was.
func (p *pass) heads(from string, changed []host.File) {
	for i := range changed {
		f := &changed[i]
		info, err := os.Lstat(filepath.Join(from, f.Path))
		if err != nil {
			continue // whoever opens it says so
		}
		at, now := identify(info)
		if r := p.book.records[at]; r != nil && r.identity == now && r.head.size > 0 {
			h := r.head
			f.Was = host.Identity{Device: h.Dev, Inode: h.Number, Size: h.Size, Modified: h.Modified, Changed: h.Changed}
			f.Head = h.size
		}
	}
}

func (p *pass) add(r host.Report) {
	p.report.Transformed += r.Transformed
	p.report.Carried += r.Carried
	p.report.Kept += r.Kept
	p.report.In += r.In
	p.report.Out += r.Out
	p.report.Memory = max(p.report.Memory, r.Memory)
	p.report.CPU = max(p.report.CPU, r.CPU)
	p.report.TotalCPU += r.TotalCPU
	p.report.Wall += r.Wall
}

// forget has the files made anew that have changed since they were listed.
func (t *tree) forget(paths []string) {
	for _, path := range append(paths, ".") {
		delete(t.memo.Made, path)
	}
}
