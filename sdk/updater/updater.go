// Package updater is what a component author writes against: an [Updater]
// knows how to handle one type of component (containers, firmware,
// applications …) on one kind of device.
//
// An updater is a program of its own. Its whole main is
//
//	func main() { updater.Main("application", open) }
//
// where open makes the [Updater] from the [Environment] it is to work in.
// Package updatertest proves that it keeps the promises made here.
//
// The agent starts it, talks gRPC with it over a unix socket and may kill and
// restart it at any moment. So every method must be idempotent: it may be
// called again after it succeeded, and after it did half of its work. What a
// method needs to remember across restarts it keeps on disk, or in the opaque
// [Handle] that Stage returns and the agent journals. Calls for one component
// never overlap; calls for different components may.
//
// Components outlive their updater: what Start started goes on running when
// the updater is killed, and a new updater process finds it again.
//
// The order of calls in one update, with what takes each back:
//
//	Stage     put the new version beside the running one     Unstage
//	Snapshot  copy the state while the component runs        —
//	Quiesce   end open work, start no more                   Resume
//	Stop      the component no longer runs                   Start
//	Save      hand the agent the state                       Apply (of what was saved), or TakeBack
//	Switch    the next Start starts this version             Switch (to the old handle)
//	Apply     take over the new state                        Apply (of what was saved)
//	Start     run the component                              Stop
//	Probe     is it healthy?                                 —
//	Confirm   it has proven itself                           Switch (to the old handle)
//	Unstage   remove the version that is no longer needed    —
//
// Stage, Unstage, Switch, Start and Stop are required. Everything else is an
// interface of its own; what a type implements is announced to the agent as
// [Capabilities].
//
// Errors: an error fails the step and turns the update back. Wrap
// [ErrRetry] if the same call may succeed in a moment, [ErrReboot] if the device
// has to be rebooted first.
package updater

import (
	"context"
	"errors"
)

// ErrRetry marks an error as passing: the agent calls again, a bounded number
// of times, before it turns the update back.
var ErrRetry = errors.New("try again")

// ErrReboot says that what was asked for takes effect with the next boot of
// the device: the agent keeps the update, and makes the same call again after
// that boot. Wrap it with what the operator should know. Who reboots the
// device is not the agent's business.
var ErrReboot = errors.New("the device has to be rebooted first")

// A Handle is an updater's own note about one staged version. The agent
// journals it and hands it back unread, also to a later build of the updater:
// hence the version.
type Handle struct {
	Version int    // of the format of Data; chosen by the updater
	Data    []byte // at most MaxHandle bytes
}

// MaxHandle is the largest Data a [Handle] may have, in bytes.
const MaxHandle = 64 << 10

// IsZero reports whether the handle names nothing: a component that has not
// been installed yet has the zero handle.
func (h Handle) IsZero() bool { return h.Version == 0 && len(h.Data) == 0 }

// An Updater handles the components of one type.
type Updater interface {
	// Stage unpacks or otherwise prepares a version beside the running one,
	// which it must not disturb.
	Stage(context.Context, StageRequest) (StageResponse, error)
	// Unstage removes a version that is not the switched-to one. Removing
	// what is not there succeeds.
	Unstage(context.Context, UnstageRequest) error
	// Switch makes a staged version the one that Start starts, atomically.
	// The zero handle means: no version, as before the first installation.
	Switch(context.Context, SwitchRequest) error
	// Start starts the version switched to. Starting what runs succeeds.
	Start(context.Context, StartRequest) error
	// Stop stops the component: politely until Grace has passed, then by
	// force. It returns only when nothing of the component runs any more.
	Stop(context.Context, StopRequest) (StopResponse, error)
}

// StageRequest asks to prepare one version of a component.
type StageRequest struct {
	Component string // "application/sensor-adapter"
	Version   string // semantic version
	Artifact  string // path of the verified component artifact, read only
	MediaType string // of the artifact, as in the package's layer
	Settings  []byte // JSON: the manifest's "settings", meant for this updater
}

// StageResponse returns the handle of the staged version.
type StageResponse struct{ Handle Handle }

// UnstageRequest names a version to remove. A zero handle means that Stage
// was begun for Version but never answered: remove what it may have left.
type UnstageRequest struct {
	Component string
	Version   string
	Handle    Handle
}

// SwitchRequest names the version that is to be current.
type SwitchRequest struct {
	Component string
	Handle    Handle
}

// StartRequest names the component to start.
type StartRequest struct{ Component string }

// StopRequest names the component to stop.
type StopRequest struct {
	Component string
	Grace     Duration // before force is used; 0: the updater's default
}

// StopResponse tells how the component ended.
type StopResponse struct{ Forced bool }
