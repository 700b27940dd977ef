package state

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// A node is a file, a directory or a symbolic link of a state.
type node struct {
	path   string // slash path; "." is the state itself
	mode   fs.FileMode
	size   int64  // of a file, or of a link's target
	digest string // of a file's content, or of a link's target
	target string // of a link

	at    inode
	now   identity
	links uint64 // names of the file
}

func (n *node) symlink() bool { return n.mode&fs.ModeSymlink != 0 }

// follow completes the node of a symbolic link, without following it. No
// digest of a file is like that of a link.
func (n *node) follow(root string) (err error) {
	if n.target, err = os.Readlink(filepath.Join(root, n.path)); err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(n.target))
	n.size, n.digest = int64(len(n.target)), "link:"+hex.EncodeToString(sum[:])
	return nil
}

// A listing is a whole state, each directory before its content, in lexical
// order.
type listing []node

// scan lists a state.
func (b *book) scan(ctx context.Context, root string) (listing, error) {
	return b.scanBut(ctx, root, nil)
}

// scanBut is scan without a look at files that are still what they were.
func (b *book) scanBut(ctx context.Context, root string, still folders) (listing, error) {
	found, err := explore(ctx, root, still)
	if err != nil {
		return nil, err
	}
	all := make(listing, 0, found.count())
	err = found.each(func(e *entry) (err error) {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := node{path: e.path, mode: e.mode(), links: uint64(e.stat.Nlink)} //nolint:unconvert // other widths on other systems
		n.at, n.now = e.identify()
		switch {
		case e.regular():
			n.size = e.stat.Size
			n.digest, err = b.digest(ctx, root, e.path, n.at, n.now)
		case e.symlink():
			err = n.follow(root)
		case !e.isDir():
			err = fmt.Errorf("%s is neither a file nor a directory nor a symbolic link", e.path)
		}
		all = append(all, n)
		return err
	})
	return all, err
}

// digest hashes names, permissions and contents. Times, owners, special bits
// and attributes do not count.
func (l listing) digest() string {
	sum := sha256.New()
	var line []byte
	for _, n := range l { // as fmt writes "%q %o %t %d %s\n", of which 10 000 lines take their time
		line = append(strconv.AppendQuote(line[:0], n.path), ' ')
		line = append(strconv.AppendUint(line, uint64(n.mode.Perm()), 8), ' ')
		line = append(strconv.AppendBool(line, n.mode.IsDir()), ' ')
		line = append(strconv.AppendInt(line, n.size, 10), ' ')
		line = append(append(line, n.digest...), '\n')
		sum.Write(line)
	}
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

// sum counts the files and the bytes in them.
func (l listing) sum() (files int, size int64) {
	for _, n := range l {
		if n.mode.IsRegular() {
			files++
			size += n.size
		}
	}
	return files, size
}

// places finds nodes by path.
type places map[string]*node

func (l listing) paths() places {
	all := make(places, len(l))
	for i := range l {
		all[l[i].path] = &l[i]
	}
	return all
}

// at returns the node of a path, or one of nothing.
func (p places) at(path string) *node {
	if n := p[path]; n != nil {
		return n
	}
	return &node{}
}
