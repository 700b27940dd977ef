package host

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// tree runs the module over the whole state as one tar stream. Both streams
// are files, so that neither end has to wait for the other.
func (s *stage) tree(ctx context.Context) error {
	old, err := s.archive("old.tar")
	if err != nil {
		return err
	}
	defer old.Close()
	result, err := s.archive("new.tar")
	if err != nil {
		return err
	}
	defer result.Close()
	if err := s.pack(ctx, old); err != nil {
		return err
	}
	w, err := s.host.worker(ctx, s.module, 1)
	if err != nil {
		return err
	}
	w.left--
	err = s.whole(ctx, w, old, result, "", s.total)
	s.host.leave(s.module, w, err == nil)
	if err != nil {
		return err
	}
	return s.unpack(ctx, result)
}

// archive returns a file without a name in the work directory.
func (s *stage) archive(name string) (*os.File, error) {
	f, err := os.CreateTemp(s.work, name+"-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// pack writes the state as tar, for which there must be room.
func (s *stage) pack(ctx context.Context, old *os.File) error {
	var size int64
	for _, e := range s.entries {
		size += e.size
	}
	release, err := s.take(ctx, size, int64(len(s.entries))) // what a file costs on a disk is more than a header
	if err != nil {
		return err
	}
	defer release()
	if s.total, err = pack(ctx, old, s.in, s.entries); err != nil {
		return fmt.Errorf("cannot read state: %w", err)
	}
	return nil
}

// pack writes a state as tar, the same bytes for the same state, and returns
// to the start of w.
func pack(ctx context.Context, w *os.File, in *os.Root, entries []entry) (int64, error) {
	archive := tar.NewWriter(w)
	for _, e := range entries {
		if e.path == "." {
			continue
		}
		if err := packEntry(ctx, archive, in, e); err != nil {
			return 0, err
		}
	}
	if err := archive.Close(); err != nil {
		return 0, err
	}
	size, err := w.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	_, err = w.Seek(0, io.SeekStart)
	return size, err
}

func packEntry(ctx context.Context, archive *tar.Writer, in *os.Root, e entry) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	header := &tar.Header{Name: e.path, Mode: int64(e.mode.Perm()), Size: e.size, Typeflag: tar.TypeReg}
	if !e.regular() {
		header.Name, header.Typeflag = e.path+"/", tar.TypeDir
	}
	if err := archive.WriteHeader(header); err != nil || !e.regular() {
		return err
	}
	f, err := in.Open(e.path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyN(archive, until{ctx, f}, e.size)
	return err
}

// unpack makes the new state from what the module wrote. Directories that it
// did not write are made; the root keeps its mode.
func (s *stage) unpack(ctx context.Context, r io.ReadSeeker) error {
	size, err := r.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	u := unpacker{stage: s, ctx: ctx, room: size, modes: map[string]entry{".": s.entries[0]}, names: boundsFor(s.entries), most: s.mostEntries(), kept: s.mostKept()}
	if err := u.all(openArchive(r)); err != nil {
		return err
	}
	if u.files == 0 && slices.ContainsFunc(s.entries, entry.regular) {
		return &Error{Class: Invalid, Reason: "it left no file of the state"}
	}
	return finishDirs(ctx, s.out, u.dirs(), s.last)
}

// mostEntries is how many files and directories a tree may have, those that it
// only implies as well: twice as many as there were, and what the limit of
// output pays for.
func (s *stage) mostEntries() int64 {
	return 2*int64(len(s.entries)) + s.module.limits.output(s.total)/entryCost
}

// What the directories of a result may take in the memory of the host, which keeps
// their names until all are made: each so much and its name.
const (
	dirCost = 256
	dirsFor = 16 << 20
)

// mostKept is how much that may be: twice as much as those of the old state take,
// and dirsFor.
func (s *stage) mostKept() int64 {
	kept := int64(dirsFor)
	for _, e := range s.entries {
		if e.mode.IsDir() {
			kept += 2 * (dirCost + int64(len(e.path)))
		}
	}
	return kept
}

// until reads until a context ends.
type until struct {
	ctx context.Context
	io.Reader
}

func (u until) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.Reader.Read(p)
}

// dirs lists the directories that were made, each before its content. One that
// the archive only implies keeps the mode it had, or gets that of the one above.
func (u *unpacker) dirs() []entry {
	old := make(map[string]os.FileMode, len(u.entries))
	for _, e := range u.entries {
		if e.mode.IsDir() {
			old[e.path] = e.mode
		}
	}
	dirs := slices.SortedFunc(maps.Values(u.modes), func(a, b entry) int { return len(a.path) - len(b.path) })
	for i, e := range dirs {
		if e.mode == 0 {
			if e.mode = old[e.path]; e.mode == 0 {
				e.mode = u.modes[path.Dir(e.path)].mode
			}
			dirs[i], u.modes[e.path] = e, e
		}
	}
	return dirs
}

// An unpacker trusts nothing in the archive.
type unpacker struct {
	*stage
	ctx   context.Context
	room  int64            // bytes that files may still have: sparse files claim more than there is
	modes map[string]entry // directories made so far; without a mode: implied
	files int
	names bounds
	made  int64 // files and directories
	most  int64 // of them
	kept  int64 // bytes that more directories may take in memory
}

// count counts one more file or directory of so many bytes, and has room for
// it until it is made.
func (u *unpacker) count(size int64) (release func(), err error) {
	if u.ctx.Err() != nil {
		return nil, context.Cause(u.ctx)
	}
	if u.made++; u.made > u.most {
		return nil, &Error{Class: OutputLimit, Reason: fmt.Sprintf("more than %d files and directories", u.most)}
	}
	return u.take(u.ctx, size, 1)
}

func (u *unpacker) all(a archive) error {
	for {
		if u.ctx.Err() != nil {
			return context.Cause(u.ctx)
		}
		header, err := a.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return &Error{Class: Invalid, Reason: "it is no tar archive: " + firstLine(printable(err.Error()))}
		}
		if err := u.one(a.Reader, header); err != nil {
			return err
		}
	}
}

func (u *unpacker) one(archive *tar.Reader, header *tar.Header) error {
	name := path.Clean(header.Name)
	if !filepath.IsLocal(name) {
		return invalidEntry(header, "its name leads out of the state")
	}
	if err := u.names.check(name); err != nil {
		return invalidEntry(header, err.Error())
	}
	mode := header.FileInfo().Mode()
	switch header.Typeflag {
	case tar.TypeDir:
		return u.dir(header, entry{path: name, mode: mode})
	case tar.TypeReg:
	default:
		return invalidEntry(header, "it is neither a file nor a directory")
	}
	if u.room -= header.Size; u.room < 0 {
		return invalidEntry(header, "it is longer than the archive")
	}
	if err := u.dir(header, entry{path: path.Dir(name)}); err != nil {
		return err
	}
	return u.file(archive, header, name)
}

func (u *unpacker) file(archive *tar.Reader, header *tar.Header, name string) error {
	release, err := u.count(header.Size)
	if err != nil {
		return err
	}
	defer release()
	f, err := create(u.out, name)
	if errors.Is(err, os.ErrExist) {
		return invalidEntry(header, "it is there twice")
	}
	if err != nil {
		return err
	}
	defer f.Close() // again, after finish
	if _, err := io.Copy(f, until{u.ctx, archive}); errors.Is(err, io.ErrUnexpectedEOF) {
		return invalidEntry(header, "it is cut")
	} else if err != nil {
		return err
	}
	if u.matches(name) {
		if err := validate(u.ctx, u.Format, f); err != nil {
			return u.name(err, name)
		}
		if err := u.hold(u.ctx, f, name); err != nil {
			return u.name(err, name)
		}
	}
	u.files++
	return finish(f, header.FileInfo().Mode(), u.last)
}

// dir makes a directory and those above it. An entry without a mode is one
// that the archive only implies.
func (u *unpacker) dir(header *tar.Header, e entry) error {
	if _, ok := u.modes[e.path]; ok {
		if e.mode != 0 {
			u.modes[e.path] = e
		}
		return nil
	}
	if err := u.dir(header, entry{path: path.Dir(e.path)}); err != nil {
		return err
	}
	release, err := u.count(0)
	if err != nil {
		return err
	}
	defer release()
	if u.kept -= dirCost + int64(len(e.path)); u.kept < 0 {
		return &Error{Class: OutputLimit, Reason: fmt.Sprintf("too many directories, or too long names of them: with this one they take more than %d MiB", dirsFor>>20)}
	}
	e.path = strings.Clone(e.path) // it is a part of a longer one
	err = u.out.Mkdir(e.path, 0o700)
	if errors.Is(err, os.ErrExist) {
		return invalidEntry(header, "a file is in the way of a directory")
	}
	u.modes[e.path] = e
	return err
}

func invalidEntry(header *tar.Header, why string) *Error {
	return &Error{Class: Invalid, Reason: fmt.Sprintf("entry %q: %s", firstLine(printable(header.Name)), why)}
}
