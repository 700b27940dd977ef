package state

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"strconv"
)

// A node is a file or directory of a state.
type node struct {
	path   string // slash path; "." is the state itself
	mode   fs.FileMode
	size   int64  // of a file
	digest string // of a file's content
}

// A listing is a whole state, each directory before its content, in lexical
// order.
type listing []node

// scan lists a state.
func (b *book) scan(root string) (listing, error) {
	var all listing
	err := walk(root, func(e *entry) (err error) {
		if !e.isDir() && !e.regular() {
			return fmt.Errorf("%s is neither a file nor a directory", e.path)
		}
		n := node{path: e.path, mode: e.mode()}
		if e.regular() {
			at, now := e.identify()
			n.size = e.stat.Size
			n.digest, err = b.digest(root, e.path, at, now)
		}
		all = append(all, n)
		return err
	})
	return all, err
}

// digest hashes names, modes and contents. Times and owners do not count.
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

// paths indexes a listing.
func (l listing) paths() map[string]node {
	all := make(map[string]node, len(l))
	for _, n := range l {
		all[n.path] = n
	}
	return all
}
