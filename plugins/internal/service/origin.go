package service

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/sdk/replica"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// origin names the directory that Save filled last from the live state, and
// the inode of that. As long as it exists nothing has written to that state
// since: it is "state", or "oldState" once a new version has replaced it. So
// when an update turns back, the component gets not a copy but the very state
// that it had, also if the copy is lost.
func (h Home) origin() string { return h.Path("origin") }

// oldState is where takeOver puts the state that is replaced.
func (h Home) oldState() string { return h.Path(".state.old") }

// noteOrigin notes dir, and which directory it was filled from. If dir is on
// the same file system, who brings that to the disk brings the note there too:
// a note that is lost or torn before means that the update turns back to dir.
func (h Home) noteOrigin(dir string) error {
	note := []byte(dir + "\n" + inode(h.State()))
	if !disk.Together(dir, h.Dir) {
		return disk.WriteFile(h.origin(), note, 0o600)
	}
	temp := h.Path(".origin.new")
	if err := os.WriteFile(temp, note, 0o600); err != nil {
		return err
	}
	return disk.Move(temp, h.origin())
}

func inode(name string) string {
	var s syscall.Stat_t
	if syscall.Lstat(name, &s) != nil {
		return ""
	}
	return fmt.Sprint(s.Ino)
}

// isOrigin finds the state that was saved last into dir; it may be the
// incoming one already.
func (h Home) isOrigin(dir string) (state string, is bool) {
	note, err := os.ReadFile(h.origin())
	saved, number, known := strings.Cut(string(note), "\n")
	if err != nil || saved != dir {
		return "", false
	}
	if h.tookOver(dir) {
		return h.incoming(), true
	}
	for _, state := range []string{h.oldState(), h.State()} {
		if disk.Exists(state) && (!known || inode(state) == number) {
			return state, true
		}
	}
	return "", false
}

// tookOver reports whether dir, or what it was filled from, is the incoming
// state.
func (h Home) tookOver(dir string) bool {
	last, err := os.ReadFile(h.applied())
	return err == nil && string(last) == dir && disk.Exists(h.incoming())
}

// takeOrigin makes the state that was saved last into dir the one of the next
// start, and removes dir. It may be repeated, also when dir is gone.
func (h Home) takeOrigin(state, dir string) error {
	if state != h.incoming() {
		if err := removeAll(h.saved(), h.incoming()); err != nil {
			return err
		}
		if err := disk.WriteFile(h.applied(), []byte(dir), 0o600); err != nil {
			return err
		}
		if err := disk.Rename(state, h.incoming()); err != nil {
			return err
		}
	}
	return errors.Join(removeAll(h.origin()), disk.Remove(dir))
}

// TakeBack makes the state from which Save has filled Dir the incoming one,
// without a look at Dir.
func (u *Updater) TakeBack(ctx context.Context, r updater.TakeBackRequest) error {
	h, done, err := u.work(ctx, r.Component)
	if err != nil {
		return err
	}
	defer done()
	if err := h.takeBack(ctx, r.Dir); err != nil {
		return fmt.Errorf("cannot take back the state of %s: %w", r.Component, err)
	}
	return nil
}

func (h Home) takeBack(ctx context.Context, dir string) error {
	if err := errors.Join(h.inUse(ctx), h.endCommands(ctx)); err != nil {
		return err
	}
	if state, is := h.isOrigin(dir); is {
		return h.takeOrigin(state, dir)
	}
	if h.tookOver(dir) {
		return nil
	}
	return fmt.Errorf("what was saved into %s is not kept: %w", dir, errors.ErrUnsupported)
}

// lone reports whether nobody else has the files of the incoming state: while
// the state that was saved is kept, one that came from the agent and is not that
// is one that the agent has made.
func (h Home) lone() bool {
	note, err := os.ReadFile(h.origin())
	_, number, known := strings.Cut(string(note), "\n")
	return err == nil && known && disk.Exists(h.incoming()) && inode(h.incoming()) != number
}

// replaceState makes the incoming state the live one. The state that was saved
// last stays beside it; any other old one goes. It is not on the disk yet: after
// a power cut the component may find the incoming state, with all that it has
// written since, where it was; the next start moves it again.
func (h Home) replaceState() error {
	if disk.Exists(h.State()) {
		if err := h.putAside(); err != nil {
			return err
		}
	}
	return disk.Move(h.incoming(), h.State())
}

func (h Home) putAside() error {
	if disk.Exists(h.origin()) && disk.Exists(h.oldState()) {
		return removeAll(h.State())
	}
	if err := removeAll(h.oldState()); err != nil {
		return err
	}
	return disk.Move(h.State(), h.oldState())
}

// keepState is for a component that goes on with the live state, which will
// not be what was saved any more.
func (h Home) keepState() error {
	if disk.Exists(h.oldState()) {
		return nil // the live state is another one already
	}
	return removeAll(h.origin())
}

// discardOld removes the state before, unless the update may still turn back,
// and what an earlier process has left of such ones. With many files that
// takes a while, which nobody needs to wait for.
func (h Home) discardOld() error {
	if disk.Exists(h.oldState()) && !disk.Exists(h.origin()) {
		away, err := os.MkdirTemp(h.Dir, discarded)
		if err != nil {
			return err
		}
		// Only who may write to a directory can move it to another one.
		if err := errors.Join(os.Chmod(h.oldState(), 0o700), disk.Rename(h.oldState(), filepath.Join(away, "state"))); err != nil {
			return err
		}
	}
	left, err := filepath.Glob(h.Path(discarded + "*"))
	for _, dir := range left {
		go replica.RemoveAll(dir)
	}
	return err
}

// discarded begins the names of directories that are being removed.
const discarded = ".discarded-"
