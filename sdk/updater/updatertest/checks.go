package updatertest

import (
	"bytes"
	"context"
	"errors"
	"os"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

func stageTwice(r *rig) {
	r.stage(v1)
	r.switchTo(r.stage(v1))
	r.start()
	r.runs(v1)
}

func stageDisturbsNothing(r *rig) {
	r.install(v1)
	request := r.stageRequest(v2)
	before, err := os.ReadFile(request.Artifact)
	r.must("read the artifact", err)
	r.must("Stage", r.call(func(ctx context.Context) error { _, err := r.u.Stage(ctx, request); return err }))
	r.runs(v1)
	after, err := os.ReadFile(request.Artifact)
	r.must("read the artifact after Stage", err)
	if !bytes.Equal(before, after) {
		r.Error("Stage changed the artifact")
	}
	r.stop()
	r.start()
	r.runs(v1) // Stage is no Switch
}

func unstageTwice(r *rig) {
	r.install(v1)
	h := r.stage(v2)
	r.unstage(v2, h)
	r.unstage(v2, h)
	r.runs(v1)
	r.stop()
	r.switchTo(r.stage(v2)) // and it can come again
	r.start()
	r.runs(v2)
}

func unstageMissing(r *rig) {
	r.unstage(v1, updater.Handle{})
	h := r.install(v1)
	r.unstage(v2, updater.Handle{})
	r.stop()
	r.switchTo(updater.Handle{})
	r.unstage(v1, h)
	r.unstage(v1, h)
}

func unstageZeroHandle(r *rig) {
	r.install(v1)
	r.stage(v2)
	r.unstage(v2, updater.Handle{})
	r.runs(v1)
	r.stop()
	r.start()
	r.runs(v1)
	r.stop()
	r.switchTo(r.stage(v2))
	r.start()
	r.runs(v2)
}

func switchAndBack(r *rig) {
	old := r.install(v1)
	next := r.stage(v2)
	for _, to := range []struct {
		handle  updater.Handle
		version string
	}{{next, v2}, {old, v1}, {next, v2}} {
		r.stop()
		r.switchTo(to.handle)
		r.switchTo(to.handle)
		r.rests("after Switch, before Start")
		r.start()
		r.runs(to.version)
	}
}

func switchToNothing(r *rig) {
	r.switchTo(updater.Handle{}) // as it is already
	r.install(v1)
	r.stop()
	r.switchTo(updater.Handle{})
	r.call(func(ctx context.Context) error { // may fail or not
		return r.u.Start(ctx, updater.StartRequest{Component: r.component})
	})
	r.rests("after Switch to no version")
	r.runs("")
}

func startTwice(r *rig) {
	r.install(v1)
	r.start()
	r.runs(v1)
	r.stop()
	r.rests("after two Starts and one Stop")
}

func stopTwice(r *rig) {
	r.stop() // what was never installed
	r.install(v1)
	r.stop()
	r.stop()
	r.rests("after Stop")
}

func stopStops(r *rig) {
	r.install(v1)
	for range 3 {
		r.stop()
		r.rests("right after Stop")
		r.start()
		r.runs(v1)
	}
}

func twoComponents(r *rig) {
	if r.suite.Boot != nil {
		r.Skip("the device is one component")
	}
	h := r.install(v1)
	first := r.component
	r.component = r.other()
	r.install(v2)
	r.stop()
	r.rests("after Stop")
	r.component = first
	r.runs(v1)
	r.stop()
	r.switchTo(updater.Handle{})
	r.unstage(v1, h)
	r.component = r.other()
	r.start()
	r.runs(v2)
}

func snapshotDisturbsNothing(r *rig) {
	r.install(v1)
	r.must("Snapshot", r.call(func(ctx context.Context) error {
		return r.u.Snapshot(ctx, updater.SnapshotRequest{Component: r.component, Dir: r.TempDir()})
	}))
	r.runs(v1)
}

func quiesceAndResume(r *rig) {
	r.install(v1)
	r.resume() // what was never quiesced
	r.quiesce()
	r.quiesce()
	r.runs(v1)
	r.resume()
	r.resume()
	r.runs(v1)
	r.quiesce()
	r.stop()
	r.start()
	r.resume() // a component that was started anew
	r.runs(v1)
}

func (r *rig) quiesce() {
	r.Helper()
	r.must("Quiesce", r.call(func(ctx context.Context) error {
		return askable(r.u.Quiesce(ctx, updater.QuiesceRequest{Component: r.component}))
	}))
}

// askable passes over that a component cannot be asked to come to rest, or not
// yet: it has just started.
func askable(err error) error {
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

func (r *rig) resume() {
	r.Helper()
	r.must("Resume", r.call(func(ctx context.Context) error {
		return r.u.Resume(ctx, updater.ResumeRequest{Component: r.component})
	}))
}

func probeIsTrue(r *rig) {
	r.install(v1)
	var a updater.ProbeResponse
	probe := func() (err error) {
		return r.call(func(ctx context.Context) error {
			a, err = r.u.Probe(ctx, updater.ProbeRequest{Component: r.component})
			return err
		})
	}
	if !r.eventually(func() bool { return probe() == nil && a.Healthy }) {
		r.Fatalf("not healthy %v after Start: %q, error %v", r.suite.Ready, a.Reason, probe())
	}
	r.stop()
	if err := probe(); r.suite.Boot == nil && err == nil && a.Healthy {
		r.Error("healthy after Stop")
	}
}

func statusIsTrue(r *rig) {
	runs := r.suite.Boot != nil // although it was stopped
	r.hasStatus("", false)
	h := r.install(v1)
	r.hasStatus(v1, true)
	r.stop()
	r.hasStatus(v1, runs)
	r.switchTo(r.stage(v2))
	r.hasStatus(v2, runs)
	r.switchTo(h)
	r.hasStatus(v1, runs)
	if r.suite.Boot != nil { // a device with two slots has overwritten what was there before
		return
	}
	r.switchTo(updater.Handle{})
	r.hasStatus("", false)
}

func (r *rig) hasStatus(version string, running bool) {
	r.Helper()
	var a updater.StatusResponse
	r.must("Status", r.call(func(ctx context.Context) (err error) {
		a, err = r.u.Status(ctx, updater.StatusRequest{Component: r.component})
		return err
	}))
	if a.Version != version || a.Running != running {
		r.Errorf("status is version %q, running %t; want %q, %t", a.Version, a.Running, version, running)
	}
}

func (r *rig) confirm() {
	r.Helper()
	r.must("Confirm", r.call(func(ctx context.Context) error {
		return r.u.Confirm(ctx, updater.ConfirmRequest{Component: r.component})
	}))
}

func confirmTwice(r *rig) {
	old := r.install(v1)
	r.confirm()
	r.confirm()
	r.runs(v1)
	next := r.stage(v2)
	r.stop()
	r.switchTo(next)
	r.start()
	r.confirm()
	r.runs(v2)
	r.stop()
	r.switchTo(old)
	r.start()
	r.runs(v1)
}

func componentOutlives(r *rig) {
	r.install(v1)
	r.u.Kill()
	r.runs(v1)
	r.launch()
	r.runs(v1)
	r.start() // runs already
	r.runs(v1)
}

func handlesOutlive(r *rig) {
	old := r.stage(v1)
	r.restart()
	r.switchTo(old)
	r.start()
	r.runs(v1)
	next := r.stage(v2)
	r.stop()
	r.restart()
	r.switchTo(next)
	r.restart()
	r.start()
	r.runs(v2)
	r.unstage(v1, old)
	r.runs(v2)
}

func restartedStops(r *rig) {
	r.install(v1)
	r.restart()
	r.stop()
	r.rests("after a restarted updater's Stop")
	r.restart()
	r.rests("after the updater was restarted")
}

func statusOutlives(r *rig) {
	r.install(v1)
	r.restart()
	r.hasStatus(v1, true)
	r.stop()
	r.restart()
	r.hasStatus(v1, r.suite.Boot != nil)
}
