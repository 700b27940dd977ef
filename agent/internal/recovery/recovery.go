// Package recovery settles a device whose data were damaged while the agent
// was away: what the agent remembers, what the updater has and what runs are
// brought to agree again before any update begins.
//
// The updater is asked, since it looks at the component itself. What can be
// repaired is repaired: a version is switched to again, or staged again from
// its package. What the agent has forgotten altogether it learns from the
// updater. A component whose journal is open is left alone: the engine
// finishes that update, and it alone knows how. A component that serves is
// never stopped, and no state is ever touched, with one exception: a component
// whose live state is gone gets the newest saved one, and the twin says so.
package recovery

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/store"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// A Memory is what the agent remembers.
type Memory interface {
	Load(component string) (engine.Record, bool, error)
	Installed(component string) (engine.Installed, error)
	Commit(component string, i engine.Installed) error
	Wishes(component string) (engine.Wishes, error)
	Report(engine.Outcome) error
}

// An Engine brings back what a version consists of; *[engine.Engine] does.
type Engine interface {
	Describe(ctx context.Context, component string, i engine.Installed) (engine.Installed, error)
	Repair(ctx context.Context, component string, i engine.Installed) (engine.Installed, error)
	LastSaved(ctx context.Context, component string, i engine.Installed) (u engine.Update, which string, found bool)
	Reinstate(ctx context.Context, u engine.Update) error
	// Readable returns why an update cannot go on from a record.
	Readable(engine.Record) error
}

// A Recovery settles components, each once in the life of the process.
type Recovery struct {
	Memory  Memory
	Notes   Notes
	Engine  Engine
	Pairs   Pairs
	Choices Choices
	Begin   func(ctx context.Context, u *updater.Client, component string) error // starts a component
	Halted  func(component string) bool                                          // the update of another one keeps it stopped
	Updater func(ctx context.Context, componentType string) (*updater.Client, error)
	Damage  store.Damage // of the memory itself
	Log     *slog.Logger

	mu         sync.Mutex
	settled    map[string]bool
	told       map[string]bool   // of Damage
	reinstated map[string]string // what was told of a state that was gone, by component
	reunited   map[string]string // what was done so that version and state belong together, by component
	separate   map[string]separate
	repaired   bool     // what was lost is known to be
	faulty     []string // components whose records cannot be read
	fault      atomic.Pointer[string]
}

// ErrUnknown says that nobody knows what is installed. An update would not
// know what to do with the state that it finds.
var ErrUnknown = errors.New("it is not known what is installed")

// Settle makes sure that the component's installed version is the one that
// the agent remembers, is whole, and runs. Its error tells what is wrong and
// what the operator has to do; calling again tries again.
func (r *Recovery) Settle(ctx context.Context, component string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s, apart := r.separate[component]; apart { // somebody asks for something
		s.until, s.pause = time.Time{}, 0
		r.separate[component] = s
	}
	installed, err := r.Memory.Installed(component)
	if err != nil {
		return err
	}
	if r.settled[component] && r.Pairs.Agree(component, installed.Version) == nil {
		return nil
	}
	_, open, err := r.Memory.Load(component)
	if err != nil {
		return err
	}
	if open { // the engine's turn, and its result is the news
		r.told = with(r.told, component)
		return nil
	}
	sure, err := r.settle(ctx, component)
	if err != nil {
		return err
	}
	if sure {
		r.settled = with(r.settled, component)
	}
	return r.tell(component)
}

func with(set map[string]bool, name string) map[string]bool {
	if set == nil {
		set = map[string]bool{}
	}
	set[name] = true
	return set
}

// settle reports whether it could compare at all.
func (r *Recovery) settle(ctx context.Context, component string) (sure bool, err error) {
	installed, err := r.Memory.Installed(component)
	if err != nil {
		return false, err
	}
	kind, _, _ := strings.Cut(component, "/")
	u, err := r.Updater(ctx, kind)
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case err != nil && r.Damage.Lost:
		return false, fmt.Errorf("%w: %w; see to the updater and start the agent again", ErrUnknown, err)
	case err != nil || !u.Capabilities().Status:
		return false, nil // whoever needs the updater will say so
	}
	var status updater.StatusResponse
	err = within(ctx, u, func(ctx context.Context) (err error) {
		status, err = u.Status(ctx, updater.StatusRequest{Component: component})
		return err
	})
	var of engine.Installed
	if err == nil {
		if status, of, err = r.reunite(ctx, u, component, installed, status); err != nil {
			return false, fmt.Errorf("%w: %w", ErrUnknown, err)
		}
	}
	switch {
	case installed.Version == "" && err != nil:
		return false, fmt.Errorf("%w: %w; ask for a version again when that is repaired", ErrUnknown, err)
	case err == nil && of.Version != "" && of.Version == status.Version && of.Version != installed.Version:
		if err := r.start(ctx, u, component); err != nil {
			r.Log.Error("cannot start component", "component", component, "error", err)
		}
		return true, r.learn(ctx, component, installed, status)
	case installed.Version == "" && status.Version == "":
		return true, nil
	case installed.Version == "":
		if err := r.start(ctx, u, component); err != nil {
			r.Log.Error("cannot start component", "component", component, "error", err)
		}
		return true, r.learn(ctx, component, installed, status)
	case err == nil && status.Version == installed.Version && r.begin(ctx, u, component, installed) == nil:
		return true, nil
	}
	return true, r.repair(ctx, u, component, installed, cause(status, installed, err))
}

func cause(status updater.StatusResponse, installed engine.Installed, err error) error {
	switch {
	case err != nil:
		return err
	case status.Version == "":
		return fmt.Errorf("version %s is gone", installed.Version)
	case status.Version != installed.Version:
		return fmt.Errorf("the updater has version %s instead of %s", status.Version, installed.Version)
	}
	return fmt.Errorf("version %s cannot be started", installed.Version)
}

// learn takes over what the updater has. What a repair has held that was cut
// off stays so.
func (r *Recovery) learn(ctx context.Context, component string, known engine.Installed, status updater.StatusResponse) error {
	i := engine.Installed{Version: status.Version, Handle: status.Handle, Held: known.Held}
	i, err := r.Engine.Describe(ctx, component, i)
	if err != nil {
		return fmt.Errorf("%w: the updater has version %s, but its package cannot be found: %w; publish it and ask for a version again", ErrUnknown, status.Version, err)
	}
	if err := r.Memory.Commit(component, i); err != nil {
		return err
	}
	return r.report(engine.Update{Component: component}, engine.Inconsistent, fmt.Sprintf(
		"the agent had forgotten what is installed%s and learned from the updater that it is %s; an update may have been cut off%s: look at the component, then ask for a version again, with another attempt",
		r.because(), i.Version, r.reunited[component]))
}

// repair switches to the installed version again, and if that is not enough
// stages it again.
func (r *Recovery) repair(ctx context.Context, u *updater.Client, component string, i engine.Installed, found error) error {
	r.Log.Error("installed version is damaged", "component", component, "version", i.Version, "cause", found)
	again := func() error {
		if err := u.Switch(ctx, updater.SwitchRequest{Component: component, Handle: i.Handle}); err != nil {
			return err
		}
		return r.begin(ctx, u, component, i)
	}
	err := again()
	if err != nil && !errors.Is(err, ErrStateGone) {
		if i, err = r.Engine.Repair(ctx, component, i); err == nil {
			err = r.reinstate(ctx, u, component, i)
		}
		if err == nil {
			err = r.restart(ctx, u, component)
		}
	}
	if err != nil {
		return fmt.Errorf("%w, and it cannot be repaired: %w; ask for a version again, with another attempt", found, err)
	}
	return r.report(engine.Update{Component: component}, engine.Unchanged, fmt.Sprintf(
		"the files of the component were damaged (%v); version %s was put in place again and runs: check the device's disk%s", found, i.Version, r.reinstated[component]))
}

// tell reports damage of the memory itself, once for each component.
func (r *Recovery) tell(component string) error {
	if r.Damage.Found == nil || r.told[component] {
		return nil
	}
	r.told = with(r.told, component)
	switch {
	case r.Damage.Volatile:
		return r.report(engine.Update{Component: component}, engine.Inconsistent, "the agent can keep nothing"+r.because()+"; no update starts: see to the disk and start the agent again")
	case r.Damage.Lost:
		return nil // learn has told
	}
	return r.report(engine.Update{Component: component}, engine.Unchanged, "the agent's store was made anew from its copy, nothing is lost"+r.because()+": check the device's disk")
}

func (r *Recovery) because() string {
	if r.Damage.Found == nil {
		return ""
	}
	text := strings.ReplaceAll(r.Damage.Found.Error(), "\n", "; ")
	if len(text) > maxCause {
		text = text[:maxCause] + "…"
	}
	if r.Damage.Kept != "" {
		text += "; kept for inspection in " + r.Damage.Kept
	}
	return " (" + strings.ToValidUTF8(text, "?") + ")"
}

// maxCause bounds what is quoted from the database, in bytes.
const maxCause = 300

// Unchanged reports what has become of a component without an update.
func (r *Recovery) Unchanged(component string, cause error) error {
	return r.report(engine.Update{Component: component}, engine.Unchanged, cause.Error())
}

// Inconsistent reports why an update cannot be looked at, and answers its
// wish with that. An update without ID answers none.
func (r *Recovery) Inconsistent(u engine.Update, cause error) error {
	return r.report(u, engine.Inconsistent, cause.Error())
}

// report tells the back end.
func (r *Recovery) report(u engine.Update, result, text string) error {
	r.Log.Error("recovery", "component", u.Component, "result", result, "found", text)
	i, err := r.Memory.Installed(u.Component)
	if err != nil {
		return err
	}
	o := engine.Outcome{
		Update: u.ID, Component: u.Component, Kind: u.Kind(), Wish: u.Wish, From: i.Version, To: cmp.Or(u.Wish.Version, i.Version),
		Result: result, Cause: text, At: time.Now().UTC(), Repair: u.Repair,
	}
	if u.ID == "" { // what is still wanted stays so
		w, err := r.Memory.Wishes(u.Component)
		if err != nil {
			return err
		}
		o.Update, o.Wish = strings.ToLower(rand.Text()[:12]), w.Settled
	}
	return r.Memory.Report(o)
}
