package updater

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/tranquil-iot/tranquil/sdk/updater/proto"
)

// A Client is an updater that runs in a process of its own, or behind
// [Connect]. It has the methods of all optional interfaces: those that the
// updater does not announce return an error that wraps errors.ErrUnsupported.
//
// A call on an updater that died returns an error that wraps [ErrRetry]: the
// same call on a new Client may succeed. A call whose context ends returns
// at once; the updater finishes or abandons it before it begins the next call
// for that component.
type Client struct {
	api     proto.UpdaterClient
	caps    Capabilities
	exited  <-chan struct{}
	kill    func()
	process *process // nil behind Connect
	given   *given
	reason  atomic.Pointer[string] // why it was evicted
}

var (
	_ UpdaterWithState    = (*Client)(nil)
	_ UpdaterWithSnapshot = (*Client)(nil)
	_ UpdaterWithQuiesce  = (*Client)(nil)
	_ UpdaterWithProbe    = (*Client)(nil)
	_ UpdaterWithStatus   = (*Client)(nil)
	_ UpdaterWithConfirm  = (*Client)(nil)
)

// Capabilities returns what the updater announced when it was connected.
func (c *Client) Capabilities() Capabilities { return c.caps }

// Exited is closed when the updater's process has ended.
func (c *Client) Exited() <-chan struct{} { return c.exited }

// Kill ends the updater at once and frees what belongs to it; its components
// run on. There is no politer way: an updater must bear being killed at any
// moment, so that is how it always ends. Call it even after Exited.
func (c *Client) Kill() { c.kill() }

// Evict is Kill, for a reason that calls under way return.
func (c *Client) Evict(reason string) {
	c.reason.CompareAndSwap(nil, &reason)
	c.Kill()
}

// Evicted returns the reason of [Client.Evict], "" if there was none.
func (c *Client) Evicted() string {
	if why := c.reason.Load(); why != nil {
		return *why
	}
	return ""
}

// Ping returns nil if the updater answers, whatever else it is doing. One that
// does not before ctx ends is frozen, and may be killed.
func (c *Client) Ping(ctx context.Context) error {
	if _, err := c.api.Capabilities(ctx, &proto.CapabilitiesRequest{}); err != nil {
		return fmt.Errorf("the updater does not answer: %w", c.failed(err))
	}
	return nil
}

// announce asks what the updater can do.
func (c *Client) announce(ctx context.Context) error {
	a, err := c.api.Capabilities(ctx, &proto.CapabilitiesRequest{})
	if err != nil {
		return fmt.Errorf("cannot ask the updater for its capabilities: %w", c.failed(err))
	}
	c.caps = Capabilities{
		Type: a.Type, State: a.State, Snapshot: a.Snapshot, Quiesce: a.Quiesce, Probe: a.Probe, Status: a.Status,
		Origin: a.Origin, Confirm: a.Confirm,
	}
	return nil
}

// failed turns the error of a call into the one that the caller sees.
func (c *Client) failed(err error) error {
	if err == nil {
		return nil
	}
	gone := c.Evicted() != "" || c.gone(err)
	switch why := c.Evicted(); {
	case gone && why != "":
		return &remoteError{"the updater was killed: " + why, ErrRetry}
	case gone:
		return &remoteError{"the updater process has died", ErrRetry}
	}
	return fromStatus(err)
}

// gone reports whether the process has ended. That its connection is lost is seen
// a moment before that.
func (c *Client) gone(err error) bool {
	select {
	case <-c.exited:
		return true
	default:
	}
	if status.Code(err) != codes.Unavailable {
		return false
	}
	select {
	case <-c.exited:
		return true
	case <-time.After(5 * time.Second):
		return false
	}
}

// Stage implements [Updater].
func (c *Client) Stage(ctx context.Context, r StageRequest) (StageResponse, error) {
	artifact, back, err := c.given.give(r.Artifact)
	if err != nil {
		return StageResponse{}, err
	}
	defer back()
	a, err := c.api.Stage(ctx, &proto.StageRequest{
		Component: r.Component, Version: r.Version, Artifact: artifact,
		MediaType: r.MediaType, Settings: r.Settings,
	})
	if n := len(a.GetHandle().GetData()); n > MaxHandle {
		return StageResponse{}, fmt.Errorf("the updater's handle has %d bytes, allowed are %d", n, MaxHandle)
	}
	return StageResponse{Handle: handleFromProto(a.GetHandle())}, c.failed(err)
}

// Unstage implements [Updater].
func (c *Client) Unstage(ctx context.Context, r UnstageRequest) error {
	_, err := c.api.Unstage(ctx, &proto.UnstageRequest{
		Component: r.Component, Version: r.Version, Handle: handleToProto(r.Handle),
	})
	return c.failed(err)
}

// Switch implements [Updater].
func (c *Client) Switch(ctx context.Context, r SwitchRequest) error {
	_, err := c.api.Switch(ctx, &proto.SwitchRequest{Component: r.Component, Handle: handleToProto(r.Handle)})
	return c.failed(err)
}

// Start implements [Updater].
func (c *Client) Start(ctx context.Context, r StartRequest) error {
	_, err := c.api.Start(ctx, &proto.StartRequest{Component: r.Component})
	return c.failed(err)
}

// Stop implements [Updater].
func (c *Client) Stop(ctx context.Context, r StopRequest) (StopResponse, error) {
	a, err := c.api.Stop(ctx, &proto.StopRequest{Component: r.Component, GraceNanoseconds: int64(r.Grace)})
	return StopResponse{Forced: a.GetForced()}, c.failed(err)
}

// need refuses an optional call that the updater did not announce.
func need(announced bool, method string) error {
	if announced {
		return nil
	}
	return fmt.Errorf("the updater has no %s: %w", method, errors.ErrUnsupported)
}

// Save implements [UpdaterWithState].
func (c *Client) Save(ctx context.Context, r SaveRequest) error {
	if err := need(c.caps.State, "Save"); err != nil {
		return err
	}
	_, err := c.api.Save(ctx, &proto.SaveRequest{Component: r.Component, Dir: r.Dir, Snapshot: r.Snapshot})
	return c.failed(err)
}

// Apply implements [UpdaterWithState].
func (c *Client) Apply(ctx context.Context, r ApplyRequest) error {
	if err := need(c.caps.State, "Apply"); err != nil {
		return err
	}
	_, err := c.api.Apply(ctx, &proto.ApplyRequest{Component: r.Component, Dir: r.Dir})
	return c.failed(err)
}

// TakeBack implements [UpdaterWithOrigin].
func (c *Client) TakeBack(ctx context.Context, r TakeBackRequest) error {
	if err := need(c.caps.Origin, "TakeBack"); err != nil {
		return err
	}
	_, err := c.api.TakeBack(ctx, &proto.TakeBackRequest{Component: r.Component, Dir: r.Dir})
	return c.failed(err)
}

// Snapshot implements [UpdaterWithSnapshot].
func (c *Client) Snapshot(ctx context.Context, r SnapshotRequest) error {
	if err := need(c.caps.Snapshot, "Snapshot"); err != nil {
		return err
	}
	_, err := c.api.Snapshot(ctx, &proto.SnapshotRequest{Component: r.Component, Dir: r.Dir})
	return c.failed(err)
}

// Quiesce implements [UpdaterWithQuiesce].
func (c *Client) Quiesce(ctx context.Context, r QuiesceRequest) error {
	if err := need(c.caps.Quiesce, "Quiesce"); err != nil {
		return err
	}
	_, err := c.api.Quiesce(ctx, &proto.QuiesceRequest{Component: r.Component})
	return c.failed(err)
}

// Resume implements [UpdaterWithQuiesce].
func (c *Client) Resume(ctx context.Context, r ResumeRequest) error {
	if err := need(c.caps.Quiesce, "Resume"); err != nil {
		return err
	}
	_, err := c.api.Resume(ctx, &proto.ResumeRequest{Component: r.Component})
	return c.failed(err)
}

// Probe implements [UpdaterWithProbe].
func (c *Client) Probe(ctx context.Context, r ProbeRequest) (ProbeResponse, error) {
	if err := need(c.caps.Probe, "Probe"); err != nil {
		return ProbeResponse{}, err
	}
	a, err := c.api.Probe(ctx, &proto.ProbeRequest{Component: r.Component})
	return ProbeResponse{Healthy: a.GetHealthy(), Reason: bounded(a.GetReason())}, c.failed(err)
}

// Status implements [UpdaterWithStatus].
func (c *Client) Status(ctx context.Context, r StatusRequest) (StatusResponse, error) {
	if err := need(c.caps.Status, "Status"); err != nil {
		return StatusResponse{}, err
	}
	a, err := c.api.Status(ctx, &proto.StatusRequest{Component: r.Component})
	if n := max(len(a.GetVersion()), len(a.GetHandle().GetData())-MaxHandle+maxVersion); n > maxVersion {
		return StatusResponse{}, fmt.Errorf("the updater's status has a version or a handle that is too long, by %d bytes", n-maxVersion)
	}
	return StatusResponse{
		Version: a.GetVersion(), Running: a.GetRunning(), Restarts: int(min(max(a.GetRestarts(), 0), math.MaxInt32)),
		Handle: handleFromProto(a.GetHandle()), NoState: a.GetNoState(),
	}, c.failed(err)
}

// Confirm implements [UpdaterWithConfirm].
func (c *Client) Confirm(ctx context.Context, r ConfirmRequest) error {
	if err := need(c.caps.Confirm, "Confirm"); err != nil {
		return err
	}
	_, err := c.api.Confirm(ctx, &proto.ConfirmRequest{Component: r.Component})
	return c.failed(err)
}
