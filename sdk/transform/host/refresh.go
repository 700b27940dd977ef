package host

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// A File is one to which a step is to be applied. Who knows that much of it is
// as it was when its result was made spares the host reading that again.
type File struct {
	Path string
	Was  Identity // of the earlier content, which nothing can have changed without another identity; zero: unknown
	Head int64    // so many bytes at the begin are as they were then

	Whole bool // the result has the content that Refresh has given it last, whatever times it bears
}

// Refresh applies one step to some files of the state in the directory in, and
// puts the results into the directory out in place of the files of those
// names. The rest of out stays as it is. Each result appears whole or not at
// all, save that of a split file that has grown: the process may end in the
// middle of appending to it.
//
// Of a split file it remembers the pieces in the directory out+".pieces", which
// goes where out goes or may be lost. In tree mode the files count for nothing: the step is applied to the
// whole state, and out must be empty. A step without a module copies.
//
// Unlike [Host.Run] it leaves it to the caller to make out durable, and to call
// [Step.CheckJournal] before, and [Step.CheckCarried] after, if the state is at rest. For the rest, what Run says holds.
func (h *Host) Refresh(ctx context.Context, step Step, in, out string, files []File,
	progress func(done, total int64),
) (Report, error) {
	begin := time.Now()
	if step.Mode != Tree && len(files) == 0 {
		return Report{}, nil
	}
	r := &run{host: h, work: out + ".work", progress: progress, steps: 1}
	if err := replica.RemoveAll(r.work); err != nil {
		return Report{}, fmt.Errorf("cannot clean up before the transform: %w", err)
	}
	defer replica.RemoveAll(r.work)
	if err := os.Mkdir(r.work, 0o700); err != nil {
		return Report{}, err
	}
	s := stage{run: r, Step: step}
	if err := s.prepare(); err != nil {
		return Report{}, step.name(err, "")
	}
	if step.Mode != Tree {
		s.only, s.memo = files, out
		r.report.Extended = map[string]int64{}
		if err := os.MkdirAll(out, 0o700); err != nil {
			return Report{}, err
		}
	}
	made, err := s.apply(ctx, in, filepath.Join(r.work, "new"))
	if err != nil {
		return Report{}, step.name(err, "")
	}
	if step.Mode == Tree {
		err = move(made, out)
	} else {
		err = s.replace(made, files)
	}
	r.report.Wall = time.Since(begin)
	return r.report, err
}

// prepare checks the step and its module.
func (s *stage) prepare() error {
	if s.Module == "" {
		return nil
	}
	if err := s.check(); err != nil {
		return err
	}
	var err error
	s.module, err = s.host.module(s.Step)
	return err
}

// replace puts what was made into the memo.
func (s *stage) replace(made string, files []File) error {
	for _, f := range files {
		name := f.Path
		if _, inPlace := s.report.Extended[name]; inPlace {
			continue
		}
		target := filepath.Join(s.memo, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
			return err
		}
		if err := os.Rename(filepath.Join(made, name), target); err != nil {
			return err
		}
	}
	for _, p := range s.pieced {
		if err := s.remember(p); err != nil {
			return fmt.Errorf("cannot remember pieces: %w", err)
		}
	}
	return s.noteSound()
}

// pick is list for some files and the directories above them. Directories
// are writable: the caller knows their modes.
func pick(root *os.Root, files []File) ([]entry, error) {
	entries := []entry{{path: ".", mode: fs.ModeDir | 0o700}}
	known := map[string]bool{".": true}
	var dirs func(string)
	dirs = func(dir string) {
		if !known[dir] {
			known[dir] = true
			dirs(path.Dir(dir))
			entries = append(entries, entry{path: dir, mode: fs.ModeDir | 0o700})
		}
	}
	for _, f := range files {
		name := f.Path
		info, err := root.Lstat(name)
		if err != nil {
			return nil, fmt.Errorf("cannot read state: %w", err)
		}
		if !info.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is no file", name)
		}
		dirs(path.Dir(name))
		entries = append(entries, entry{path: name, mode: info.Mode(), size: info.Size(), given: f})
	}
	return entries, nil
}
