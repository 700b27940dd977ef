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
}

// UpdaterWithState is implemented by updaters whose components have state.
// The state is a directory of files. Save and Apply are one interface, since
// an updater that can do only one of them could not be undone.
type UpdaterWithState interface {
	Updater
	// Save fills the empty directory Dir with the state of the stopped
	// component. The component's own copy stays as it is. Files may be hard
	// links: the component does not run again on them after Save, except
	// when the update turns back, and then Dir is not used any more.
	Save(context.Context, SaveRequest) error
	// Apply replaces the component's state by the files in Dir, which it
	// may move away. It is called between Stop and Start.
	Apply(context.Context, ApplyRequest) error
}

// SaveRequest names the directory that receives the state.
type SaveRequest struct{ Component, Dir string }

// ApplyRequest names the directory that holds the state to take over.
type ApplyRequest struct{ Component, Dir string }

// UpdaterWithSnapshot can copy the state of a component that runs. Files may
// be torn: the agent uses the copy only to rehearse the update.
type UpdaterWithSnapshot interface {
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
	Status(context.Context, StatusRequest) (StatusResponse, error)
}

// StatusRequest names the component asked about.
type StatusRequest struct{ Component string }

// StatusResponse describes a component as it is now.
type StatusResponse struct {
	Version  string // switched to; "" if none
	Running  bool
	Restarts int // since it was last started on request
}
