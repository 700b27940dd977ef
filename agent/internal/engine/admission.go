package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// Terms are what the back end has set about when a component may be updated.
// What a package says of itself has no part in it.
type Terms struct {
	Window    string `json:"window,omitempty"`    // maintenance window, as package window has it; "" any time
	Now       string `json:"now,omitempty"`       // the version that need not wait for the window
	Consent   string `json:"consent,omitempty"`   // ConsentAsk: every update needs one; "" none does
	Consented string `json:"consented,omitempty"` // identity of the update that may begin
	Refused   string `json:"refused,omitempty"`   // identity of the update that must not
}

// ConsentAsk is the value of Terms.Consent that makes updates wait for one.
const ConsentAsk = "ask"

// An Answer is what somebody at the device has said to an update.
type Answer struct {
	Update string `json:"update,omitempty"` // its identity
	Yes    bool   `json:"yes,omitempty"`
}

// admit waits until the update may begin to disturb its component: until the
// manager permits it, there is room for the state, and neither what the rehearsal
// has found nor what is known of signatures is too old.
func (e *Engine) admit(ctx context.Context, u *Update) error {
	if err := e.permit(u); err != nil {
		return err
	}
	if err := e.room(u); err != nil {
		return err
	}
	if err := e.download(ctx, u); err != nil { // what was lost while it waited
		return err
	}
	if err := e.vouchAgain(ctx, u); err != nil {
		return err
	}
	if u.Rehearsed.Boot == now().Boot && since(u.Rehearsed) < freshTime {
		return nil
	}
	if err := e.rehearse(ctx, u); err != nil {
		return fmt.Errorf("cannot rehearse again: %w", err)
	}
	return e.permit(u) // the rehearsal took its time
}

// freshTime is how long a rehearsal counts: the state goes on changing, so
// what is left to transform grows, and the prediction with it. To rehearse
// again takes as long as what has changed, while the component serves.
const freshTime = time.Minute

// permit returns nil, a [Wait], or why the update can never be permitted.
func (e *Engine) permit(u *Update) error {
	if e.Permit == nil {
		return nil
	}
	return e.Permit(*u)
}

// hopeless returns why the update can never be permitted, if that is known
// already.
func (e *Engine) hopeless(u *Update) error {
	err := e.permit(u)
	var wait Wait
	if errors.As(err, &wait) {
		return nil
	}
	return err
}

// room waits until the disk takes the saved state and the new one. An updater
// that saves by hard links needs less, but nobody can rely on that.
func (e *Engine) room(u *Update) error {
	generations := int64(1)
	if u.transforms() {
		generations = 2
	}
	if err := e.Content.Reserve(generations*u.StateSize, generations*u.StateFiles); err != nil {
		return Wait{For: "room for the state: " + err.Error(), Poll: true}
	}
	return nil
}

// sizeOf returns how many bytes the files below dir have, and how many they are
// with the directories, or which of their names nobody could handle later.
func sizeOf(dir string) (total, files int64, err error) {
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err := replica.CheckName(strings.TrimPrefix(path, dir+"/")); err != nil {
			return err
		}
		if files++; err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, files, err
}
