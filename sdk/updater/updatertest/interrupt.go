package updatertest

import (
	"context"
	"errors"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// moments are when a call is interrupted after it began: points in time that
// hit updaters, fast and slow ones, in the middle. The first that comes when the
// call has ended is the last: those after it would interrupt nothing either.
var moments = []time.Duration{
	0, 500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond,
	5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond,
}

// An interruption is a scenario in which one call does not come to its end.
type interruption struct {
	method string
	needs  func(updater.Capabilities) bool
	// run prepares, hands the call to cut, and checks that all is well when
	// it is repeated. It runs on a component again for every moment.
	run   func(r *rig, cut func(call))
	moves bool // the state may change hands meanwhile
}

// A call is one method's call.
type call func(ctx context.Context, u *updater.Client) error

var interruptions = []interruption{
	{method: "Stage", needs: always, run: cutStage},
	{method: "Unstage", needs: always, run: cutUnstage},
	{method: "Switch", needs: always, run: cutSwitch},
	{method: "Start", needs: always, run: cutStart, moves: true},
	{method: "Stop", needs: always, run: cutStop, moves: true},
	{method: "Save", needs: state, run: cutSave},
	{method: "Apply", needs: state, run: cutApply},
	{method: "Snapshot", needs: snapshot, run: cutSnapshot},
	{method: "Quiesce", needs: quiesce, run: cutQuiesce},
	{method: "Confirm", needs: confirm, run: cutConfirm},
}

// cancelled interrupts by cancelling the call's context. An updater that is still
// busy with an earlier call may see that before the caller does, and then it asks
// for another try.
func (i interruption) cancelled(r *rig) {
	for _, moment := range moments {
		over := true
		i.run(r, func(c call) {
			ctx, cancel := context.WithTimeout(context.Background(), moment)
			defer cancel()
			err := c(ctx, r.u)
			over = over && err == nil
			if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) && !r.again(err) {
				r.Errorf("cancelled after %v: error %v, want one that wraps the context's, or asks for another try", moment, err)
			}
		})
		if over {
			return
		}
	}
}

// killed interrupts by killing the updater, and starts it again.
func (i interruption) killed(r *rig) {
	for _, moment := range moments {
		over := true
		i.run(r, func(c call) {
			done, u := make(chan error, 1), r.u
			go func() { done <- c(context.Background(), u) }()
			time.Sleep(moment)
			over = over && len(done) > 0
			r.restart()
			if err := <-done; err != nil && !r.again(err) {
				r.Errorf("killed after %v: error %v", moment, err)
			}
		})
		if over {
			return
		}
	}
}

// again reports whether an error asks for another call.
func (r *rig) again(err error) bool {
	return errors.Is(err, updater.ErrRetry) || r.suite.Boot != nil && errors.Is(err, updater.ErrReboot)
}

func cutStage(r *rig, cut func(call)) {
	request := r.stageRequest(v1)
	cut(func(ctx context.Context, u *updater.Client) error { _, err := u.Stage(ctx, request); return err })
	r.unstage(v1, updater.Handle{}) // the way back
	cut(func(ctx context.Context, u *updater.Client) error { _, err := u.Stage(ctx, request); return err })
	h := r.install(v1) // the way forward
	r.stop()
	r.switchTo(updater.Handle{})
	r.unstage(v1, h)
}

func cutUnstage(r *rig, cut func(call)) {
	h := r.stage(v1)
	cut(func(ctx context.Context, u *updater.Client) error {
		return u.Unstage(ctx, updater.UnstageRequest{Component: r.component, Version: v1, Handle: h})
	})
	r.unstage(v1, h)
	r.install(v1)
	r.stop()
	r.switchTo(updater.Handle{})
}

func cutSwitch(r *rig, cut func(call)) {
	r.install(v1)
	next := r.stage(v2)
	r.stop()
	cut(func(ctx context.Context, u *updater.Client) error {
		return u.Switch(ctx, updater.SwitchRequest{Component: r.component, Handle: next})
	})
	r.start()
	if !r.eventually(func() bool { return r.running() != "" }) {
		r.Fatalf("an interrupted Switch left neither the old nor the new version")
	}
	r.stop()
	r.switchTo(next)
	r.start()
	r.runs(v2)
	r.stop()
}

func cutStart(r *rig, cut func(call)) {
	start := func(ctx context.Context, u *updater.Client) error {
		return u.Start(ctx, updater.StartRequest{Component: r.component})
	}
	r.switchTo(r.stage(v1))
	cut(start)
	r.stop() // the way back
	r.rests("after an interrupted Start and a Stop")
	cut(start)
	r.start() // the way forward
	r.runs(v1)
	r.stop()
	r.rests("after an interrupted Start, a Start and a Stop")
}

func cutStop(r *rig, cut func(call)) {
	r.install(v1)
	cut(func(ctx context.Context, u *updater.Client) error {
		_, err := u.Stop(ctx, updater.StopRequest{Component: r.component})
		return err
	})
	r.stop()
	r.rests("after an interrupted Stop and a Stop")
}

func cutSave(r *rig, cut func(call)) {
	r.stopped()
	want, dir := r.saved(), r.TempDir()
	cut(func(ctx context.Context, u *updater.Client) error {
		return u.Save(ctx, updater.SaveRequest{Component: r.component, Dir: dir})
	})
	r.stateIs(want, "after an interrupted Save")
}

func cutApply(r *rig, cut func(call)) {
	r.stopped()
	dir, want := r.another()
	cut(func(ctx context.Context, u *updater.Client) error {
		return u.Apply(ctx, updater.ApplyRequest{Component: r.component, Dir: dir})
	})
	r.apply(dir)
	r.stateIs(want, "after an interrupted Apply and an Apply")
}

func cutSnapshot(r *rig, cut func(call)) {
	r.install(v1)
	dir := r.TempDir()
	cut(func(ctx context.Context, u *updater.Client) error {
		return u.Snapshot(ctx, updater.SnapshotRequest{Component: r.component, Dir: dir})
	})
	r.runs(v1)
}

func cutQuiesce(r *rig, cut func(call)) {
	r.install(v1)
	cut(func(ctx context.Context, u *updater.Client) error {
		return askable(u.Quiesce(ctx, updater.QuiesceRequest{Component: r.component}))
	})
	r.resume()
	r.quiesce()
	r.resume()
	r.runs(v1)
}

func cutConfirm(r *rig, cut func(call)) {
	r.install(v1)
	cut(func(ctx context.Context, u *updater.Client) error {
		return u.Confirm(ctx, updater.ConfirmRequest{Component: r.component})
	})
	r.confirm()
	r.runs(v1)
}
