package state

import (
	"os"
	"path/filepath"
	"slices"

	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// A dressing gives the files of a new state what belongs to those of the old
// one whose names they bear: owner and group, mode, extended attributes,
// times; and names that were those of one file are so again, as far as they
// still have the same content. What a transform has added belongs to whom the
// state belongs to.
type dressing struct {
	*tree  // the new state
	book   *book
	source string // directory of the old state
	live   bool
	whole  bool // a step in tree mode has decided on permissions

	in    listing         // the old state
	old   places          // the same; nil as long as nobody needs it
	first map[inode]*node // of the new state, by file of the old
}

// all goes from the last name to the first, so that a directory comes after
// its content. It completes the listing.
func (d *dressing) all(in, out listing) error {
	d.in, d.first = in, map[inode]*node{}
	if d.dressed == nil {
		d.dressed = places{}
	}
	for i := range slices.Backward(out) {
		old := d.before(i, out[i].path)
		if err := d.one(&out[i], old); err != nil {
			return err
		}
	}
	return nil
}

// before returns what had a name in the old state, nil if nothing had. Most is
// where it was.
func (d *dressing) before(i int, path string) *node {
	if i < len(d.in) && d.in[i].path == path {
		return &d.in[i]
	}
	if d.old == nil {
		d.old = d.in.paths()
	}
	return d.old[path]
}

func (d *dressing) one(n, old *node) error {
	known := old != nil
	if known && n.mode.IsRegular() && old.mode.IsRegular() && old.links > 1 {
		first, again := d.first[old.at]
		if again && first.digest == n.digest && first.mode == n.mode {
			return d.join(n, first)
		}
		d.first[old.at] = n
	}
	if before, done := d.dressed[n.path]; done && known && n.mode.IsRegular() && d.book.unchanged(before, old) {
		return nil
	}
	name := filepath.Join(d.files(), n.path)
	if !known || old.mode.Type() != n.mode.Type() {
		if err := replica.Own(name, d.source); err != nil {
			return err
		}
		return d.keep(n, name)
	}
	if err := d.give(n, name); err != nil {
		return err
	}
	if n.mode.IsRegular() {
		d.dressed[n.path] = old
	}
	return d.keep(n, name)
}

func (d *dressing) give(n *node, name string) error {
	give := replica.Give
	if d.whole {
		give = replica.GiveBut
	}
	from := filepath.Join(d.source, n.path)
	err := give(name, from)
	if _, gone := os.Lstat(from); gone != nil && d.live {
		return nil
	}
	return err
}

// join makes a name another one of a file.
func (d *dressing) join(n, first *node) error {
	name := filepath.Join(d.files(), n.path)
	other := filepath.Join(d.files(), first.path)
	if one, err := os.Lstat(name); err == nil {
		if two, err := os.Lstat(other); err == nil && os.SameFile(one, two) {
			return nil
		}
	}
	scratch := filepath.Join(d.dir, "link")
	if err := replica.RemoveAll(scratch); err != nil {
		return err
	}
	if err := os.Link(other, scratch); err != nil {
		return err
	}
	if err := os.Rename(scratch, name); err != nil {
		return err
	}
	return d.keep(n, name)
}

// keep has the book know a file that has been touched.
func (d *dressing) keep(n *node, name string) error {
	if !n.mode.IsRegular() {
		return nil
	}
	touched, err := d.book.keep(name, n.digest)
	n.at, n.now, n.links = touched.at, touched.now, touched.links
	return err
}
