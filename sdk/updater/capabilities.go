package updater

import (
	"context"
	"time"
)

// Duration is a time.Duration; it travels as nanoseconds.
type Duration = time.Duration

// Capabilities tell the agent which optional interfaces an updater has.
type Capabilities struct {
	Type     string // component type it handles: "application"
	State    bool   // UpdaterWithState
	Snapshot bool   // UpdaterWithSnapshot
	Quiesce  bool   // UpdaterWithQuiesce
	Probe    bool   // UpdaterWithProbe
	Status   bool   // UpdaterWithStatus
	Origin   bool   // UpdaterWithOrigin
	Confirm  bool   // UpdaterWithConfirm
}

// CapabilitiesOf returns what u can do: what it announced if it is a [Client],
// and otherwise what it implements; then Type is empty. Ask before you assert
// an optional interface, since a Client has the methods of all of them.
func CapabilitiesOf(u Updater) Capabilities {
	if c, ok := u.(interface{ Capabilities() Capabilities }); ok {
		return c.Capabilities()
	}
	var c Capabilities
	_, c.State = u.(UpdaterWithState)
	_, c.Snapshot = u.(UpdaterWithSnapshot)
	_, c.Quiesce = u.(UpdaterWithQuiesce)
	_, c.Probe = u.(UpdaterWithProbe)
	_, c.Status = u.(UpdaterWithStatus)
	_, c.Origin = u.(UpdaterWithOrigin)
	_, c.Confirm = u.(UpdaterWithConfirm)
	return c
}

// UpdaterWithState is implemented by updaters whose components have state.
// The state is a directory of files. Save and Apply are one interface, since
// an updater that can do only one of them could not be undone.
type UpdaterWithState interface {
	Updater
	// Save fills the empty directory Dir with the state of the stopped
	// component. The component's own copy stays as it is. Files may be hard
	// links: the component does not run again on them after Save, except
	// when the update turns back, and then Dir is not used any more. The host
	// brings the whole file system of Dir to the disk before it goes on.
	Save(context.Context, SaveRequest) error
	// Apply replaces the component's state by the files in Dir. It is called
	// between Stop and Start. It may rename Dir away, whole: when Dir is
	// gone, an earlier call has applied it, and calling again succeeds.
	Apply(context.Context, ApplyRequest) error
}

// SaveRequest names the directory that receives the state.
type SaveRequest struct {
	Component, Dir string
	// Snapshot is the directory that Snapshot has filled while the component
	// ran, or "". An updater that has filled it with hard links may rename it
	// to Dir and bring it up to date, instead of making all of them again.
	Snapshot string
}

// ApplyRequest names the directory that holds the state to take over. The host
// has brought it to the disk, so that a rename of it is all that is left. Unless
// Save has filled it, its files have no names outside of it.
type ApplyRequest struct{ Component, Dir string }

// UpdaterWithOrigin keeps the state that Save has read until the update has
// ended, and needs no copy of it to turn back.
type UpdaterWithOrigin interface {
	// TakeBack gives the component back the very state from which Save has
	// filled Dir. It is called between Stop and Start instead of Apply, when
	// Dir is gone or damaged, and must not read it. Calling it again, or
	// after an Apply of Dir that was cut off, succeeds. If that state is not
	// there any more it changes nothing; the error is [errors.ErrUnsupported].
	TakeBack(context.Context, TakeBackRequest) error
}

// TakeBackRequest names the directory that Save was given.
type TakeBackRequest struct{ Component, Dir string }

// UpdaterWithSnapshot can copy the state of a component that runs.
type UpdaterWithSnapshot interface {
	// Snapshot fills the empty directory Dir. Files may be torn: the agent
	// uses the copy only to rehearse the update. If the component has its
	// state in files, and Save makes hard links, Snapshot should make hard
	// links as well: files that are the same ones in both, and have not
	// changed between, are neither read nor transformed again while the
	// component is down. The agent does not change them, and removes the
	// links before Start if the update turns back.
	Snapshot(context.Context, SnapshotRequest) error
}

// SnapshotRequest names the empty directory that receives the copy.
type SnapshotRequest struct{ Component, Dir string }

// UpdaterWithQuiesce can bring a component to tranquillity: it is in no
// transaction, will start none and processes no request.
type UpdaterWithQuiesce interface {
	// Quiesce returns when the component is tranquil, or when ctx ends.
	Quiesce(context.Context, QuiesceRequest) error
	// Resume lets a quiesced component go on. Resuming what was never
	// quiesced succeeds.
	Resume(context.Context, ResumeRequest) error
}

// QuiesceRequest names the component to quiesce.
type QuiesceRequest struct{ Component string }

// ResumeRequest names the component that may go on.
type ResumeRequest struct{ Component string }

// UpdaterWithProbe can tell whether a component is healthy.
type UpdaterWithProbe interface {
	// Probe asks once and returns at once; the agent decides how often it
	// asks and for how long. An error means that it could not be asked.
	Probe(context.Context, ProbeRequest) (ProbeResponse, error)
}

// ProbeRequest names the component to probe.
type ProbeRequest struct{ Component string }

// ProbeResponse says whether the component is healthy and if not, why.
type ProbeResponse struct {
	Healthy bool
	Reason  string
}

// UpdaterWithStatus can tell what runs.
type UpdaterWithStatus interface {
	// Status looks at the component itself rather than at what the updater
	// remembers, so it is right in a restarted updater too.
	Status(context.Context, StatusRequest) (StatusResponse, error)
}

// StatusRequest names the component asked about.
type StatusRequest struct{ Component string }

// StatusResponse describes a component as it is now.
type StatusResponse struct {
	Version  string // switched to; "" if none
	Running  bool
	Restarts int    // since it was last started on request
	Handle   Handle // of Version, as Stage returned it: an agent that has lost it learns it here

	// NoState says that the component would start, or has started, on an empty
	// state: the updater has none of it, neither live nor handed over. An agent
	// that knows of a saved one hands that over first. An updater that cannot
	// tell leaves it out.
	NoState bool
}

// UpdaterWithConfirm is implemented by updaters whose components go back to the
// old version by themselves, as a boot loader does, until they are told not to.
type UpdaterWithConfirm interface {
	// Confirm is called when the version that runs has stayed healthy for its
	// whole probation. The update may still turn back, by a Switch: what that
	// needs must stay. An error turns it back.
	Confirm(context.Context, ConfirmRequest) error
}

// ConfirmRequest names the component whose version has proven itself.
type ConfirmRequest struct{ Component string }
