package updater

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// A User is who an updater runs as, without any other groups. Whoever is above its
// Data and Run must let it pass. It can read no artifact where that is: it is
// given it in its Data, for the time of a call.
type User struct{ UID, GID uint32 }

// given is how an updater with a user of its own gets what it is to read.
type given struct {
	dir string // its Data
	to  User
}

// give makes a file readable for the updater, by another path, until it is taken
// back. A nil given has nothing to do: the updater can read it anyway.
func (g *given) give(file string) (path string, back func(), err error) {
	if g == nil {
		return file, func() {}, nil
	}
	path = filepath.Join(g.dir, ".given-"+filepath.Base(file))
	back = func() { os.Remove(path) }
	back() // of an agent that died
	if err := g.copy(file, path); err != nil {
		back()
		return "", nil, fmt.Errorf("cannot give the updater %s: %w", file, err)
	}
	return path, back, nil
}

// copy makes a file of the updater's own: a link would let its owner, which is the
// agent, have others read what is in its store.
func (g *given) copy(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	// The directory is the updater's, who may have put a link there.
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o400)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chown(int(g.to.UID), int(g.to.GID)), out.Close())
}
