package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/replica"
	"github.com/tranquil-iot/tranquil/sdk/space"
)

// importName is where an archive is unpacked, beside the generations.
const importName = "import"

// importedVersion is the version of a state whose archive does not say it.
const importedVersion = "imported"

// An Intake says how an archive is read.
type Intake struct {
	Schema     int   // of the state, if the archive does not say it
	Outside    bool  // symbolic links may lead out of the state
	Privileged bool  // files may be setuid, setgid or have capabilities
	Reserve    int64 // bytes of the disk that stay free, and as large a share of its inodes
}

// Unpack reads what [Manager.Export] has written, or any tar archive of which
// the intake says the schema, into a place beside the generations, where it
// stays until [Manager.Adopt]. It may be called while an update is under way, by
// one at a time. What it cannot take, whoever has made it, it refuses with the
// reason, and leaves nothing.
func (m *Manager) Unpack(component string, r io.Reader, in Intake) (Meta, error) {
	home, err := m.home(component)
	if err != nil {
		return Meta{}, err
	}
	dir := filepath.Join(home, importName)
	meta, err := unpack(component, dir, r, in)
	if err != nil {
		return Meta{}, errors.Join(fmt.Errorf("cannot import a state of %s: %w", component, err), replica.RemoveAll(dir))
	}
	return meta, nil
}

func unpack(component, dir string, r io.Reader, in Intake) (Meta, error) {
	files := filepath.Join(dir, filesName)
	if err := errors.Join(replica.RemoveAll(dir), os.MkdirAll(files, 0o700)); err != nil {
		return Meta{}, err
	}
	left, err := space.Left(dir, in.Reserve)
	if err != nil {
		return Meta{}, err
	}
	u := &unpacker{dir: files, room: left.Bytes, inodes: left.Files, outside: in.Outside, lending: in.Privileged}
	if err := u.unpack(r); err != nil {
		return Meta{}, err
	}
	return u.meta(component, in)
}

// meta says of what the unpacked state is, and compares it with what the
// archive says.
func (u *unpacker) meta(component string, in Intake) (Meta, error) {
	switch {
	case !u.found && in.Schema == 0:
		return Meta{}, errors.New("the archive does not say of which schema the state is, as state export writes it: say it with --schema")
	case !u.found:
		u.label.Meta = Meta{Schema: in.Schema, Version: importedVersion, Time: time.Now().UTC()}
		return u.label.Meta, u.label.check()
	case u.label.Component != component:
		return Meta{}, fmt.Errorf("it is a state of %.100q", u.label.Component)
	case in.Schema != 0 && in.Schema != u.label.Schema:
		return Meta{}, fmt.Errorf("it is a state of schema %d, not of %d", u.label.Schema, in.Schema)
	}
	if err := u.label.check(); err != nil {
		return Meta{}, fmt.Errorf("%w: what it says of itself is wrong: %w", errArchive, err)
	}
	list, err := readTree(u.dir, nil)
	if err != nil {
		return Meta{}, err
	}
	if list.digest() != u.label.Digest {
		return Meta{}, fmt.Errorf("%w: it does not hold what was exported", errArchive)
	}
	return u.label.Meta, nil
}

// check refuses what no export has written: it is shown to operators, and sent
// to servers.
func (l label) check() error {
	if l.Schema < 1 || l.Schema > math.MaxInt32 {
		return fmt.Errorf("%d is no schema: they are numbers from 1 to %d", l.Schema, math.MaxInt32)
	}
	if l.Version != importedVersion {
		if err := pack.CheckVersion(l.Version); err != nil {
			return err
		}
	}
	if l.Package == "" { // nobody knows that of a state of other origin
		return nil
	}
	return pack.CheckDigest(l.Package)
}

// Adopt makes the state that was unpacked last a generation.
func (m *Manager) Adopt(ctx context.Context, component string, meta Meta) (Generation, error) {
	home, err := m.home(component)
	if err != nil {
		return 0, err
	}
	gen, err := m.Next(component)
	if err == nil {
		err = os.Rename(filepath.Join(home, importName), filepath.Join(home, fmt.Sprint(gen)))
	}
	if err == nil {
		err = m.Seal(ctx, component, gen, meta)
	}
	if err != nil {
		return 0, fmt.Errorf("cannot import a state of %s: %w", component, cmp.Or(err, m.Drop(component, gen)))
	}
	return gen, nil
}

// Discard removes what was unpacked and will not be adopted.
func (m *Manager) Discard(component string) error {
	home, err := m.home(component)
	if err != nil {
		return err
	}
	return replica.RemoveAll(filepath.Join(home, importName))
}
