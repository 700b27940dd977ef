package exec

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/tranquil-iot/tranquil/plugins/application/internal/exec/disk"
	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// origin names the directory that Save filled last from the live state. As
// long as it exists nothing has written to that state since: it is "state",
// or "oldState" once a new version has replaced it. So when an update turns
// back, the component gets not a copy but the very state that it had.
func (h home) origin() string { return h.path("origin") }

// oldState is where takeOver puts the state that is replaced.
func (h home) oldState() string { return h.path(".state.old") }

func (h home) isOrigin(dir string) bool {
	saved, err := os.ReadFile(h.origin())
	return err == nil && string(saved) == dir && (disk.Exists(h.oldState()) || disk.Exists(h.state()))
}

// takeOrigin makes the state that was saved last into dir the one of the next
// start, and removes dir: after a power cut in the middle dir, which is its
// equal, is there still and will do.
func (h home) takeOrigin(dir string) error {
	state := h.state()
	if disk.Exists(h.oldState()) {
		state = h.oldState()
	}
	if err := removeAll(h.origin()); err != nil {
		return err
	}
	if err := disk.Rename(state, h.incoming()); err != nil {
		return err
	}
	return disk.Remove(dir)
}

// replaceState makes the incoming state the live one. The state that was saved
// last stays beside it; any other old one goes.
func (h home) replaceState() error {
	if disk.Exists(h.state()) {
		if err := h.putAside(); err != nil {
			return err
		}
	}
	return disk.Rename(h.incoming(), h.state())
}

func (h home) putAside() error {
	if disk.Exists(h.origin()) && disk.Exists(h.oldState()) {
		return removeAll(h.state())
	}
	if err := removeAll(h.oldState()); err != nil {
		return err
	}
	return disk.Rename(h.state(), h.oldState())
}

// keepState is for a component that goes on with the live state, which will
// not be what was saved any more.
func (h home) keepState() error {
	if disk.Exists(h.oldState()) {
		return nil // the live state is another one already
	}
	return removeAll(h.origin())
}

// discardOld removes the state before, unless the update may still turn back,
// and what an earlier process has left of such ones. With many files that
// takes a while, which nobody needs to wait for.
func (h home) discardOld() error {
	if disk.Exists(h.oldState()) && !disk.Exists(h.origin()) {
		away, err := os.MkdirTemp(h.dir, discarded)
		if err != nil {
			return err
		}
		// Only who may write to a directory can move it to another one.
		if err := errors.Join(os.Chmod(h.oldState(), 0o700), disk.Rename(h.oldState(), filepath.Join(away, "state"))); err != nil {
			return err
		}
	}
	left, err := filepath.Glob(h.path(discarded + "*"))
	for _, dir := range left {
		go replica.RemoveAll(dir)
	}
	return err
}

// discarded begins the names of directories that are being removed.
const discarded = ".discarded-"
