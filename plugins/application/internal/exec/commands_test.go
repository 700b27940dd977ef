package exec

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// What programs of a version do with a state that is kept elsewhere, here beside
// the component's versions. They note in it that they ran, and beside what.
var commandFiles = map[string]string{
	"save.sh":  "#!/bin/sh\nset -e\n[ ! -e fail ]\nmkdir -p ../../../elsewhere\ncp -a ../../../elsewhere/. \"$1\"\n",
	"apply.sh": "#!/bin/sh\nset -e\n[ ! -e fail ]\nrm -rf ../../../elsewhere\ncp -a \"$1\" ../../../elsewhere\n",
}

func commandSettings(running string) string {
	return settings("sleep", `,"state":"commands","commands":{"save":["./save.sh"],"apply":["./apply.sh"]`+running+`}`)
}

func (r *rig) stageCommands(version, running string) updater.Handle {
	r.Helper()
	h, err := r.tryStage(version, commandSettings(running), commandFiles)
	r.must(err)
	return h
}

// TestCommands: a state that only programs of the version can reach goes the way
// of any other, forward and back, whether they need the component to run or not.
func TestCommands(t *testing.T) {
	for mode, running := range map[string]string{"stopped": "", "running": `,"running":true`} {
		t.Run(mode, func(t *testing.T) {
			r := newRig(t)
			old := r.stageCommands("1.0.0", running)
			r.switchTo(old)
			elsewhere := r.h.Path("elsewhere")
			r.fill(elsewhere, files{"a": "old"})
			r.start()
			if r.status().NoState {
				t.Error("what is elsewhere counts as lost")
			}
			snapshot := r.TempDir()
			r.must(r.u.Snapshot(r.ctx, updater.SnapshotRequest{Component: name, Dir: snapshot}))
			if d := cmp.Diff(files{"a": "old"}, r.read(snapshot)); d != "" {
				t.Error("snapshot:", d)
			}
			r.stop(time.Minute)
			saved := r.save()
			if d := cmp.Diff(files{"a": "old"}, r.read(saved)); d != "" {
				t.Error("saved:", d)
			}
			next := r.stageCommands("2.0.0", running)
			r.switchTo(next)
			r.apply(r.dir(files{"b": "new"}))
			r.start()
			if d := cmp.Diff(files{"b": "new"}, r.read(elsewhere)); d != "" {
				t.Error("after the update:", d)
			}
			r.stop(time.Minute)
			r.apply(saved)
			r.switchTo(old)
			r.start()
			if d := cmp.Diff(files{"a": "old"}, r.read(elsewhere)); d != "" {
				t.Error("after it turned back:", d)
			}
			r.fill(elsewhere, files{"c": "written since"})
			r.stop(time.Minute)
			r.start()
			if d := cmp.Diff(files{"a": "old", "c": "written since"}, r.read(elsewhere)); d != "" {
				t.Error("after a stop and a start:", d)
			}
		})
	}
}

// TestCommandsFail: a program that fails fails the step, and nothing is lost: it
// is called again with the same state.
func TestCommandsFail(t *testing.T) {
	r := newRig(t)
	r.switchTo(r.stageCommands("1.0.0", ""))
	r.fill(r.h.Path("elsewhere"), files{"a": "old"})
	fail, _ := filepath.Glob(r.h.Path("versions", "*", "files"))
	r.fill(fail[0], files{"fail": ""})
	if err := r.u.Save(r.ctx, updater.SaveRequest{Component: name, Dir: r.TempDir()}); err == nil || !strings.Contains(err.Error(), "save.sh") {
		t.Error("save:", err)
	}
	r.apply(r.dir(files{"b": "new"}))
	if err := r.u.Start(r.ctx, updater.StartRequest{Component: name}); err == nil || !strings.Contains(err.Error(), "apply.sh") {
		t.Error("start:", err)
	}
	if r.status().Running {
		t.Error("it runs without its state")
	}
	r.must(os.Remove(filepath.Join(fail[0], "fail")))
	if d := cmp.Diff(files{"b": "new"}, r.read(r.save())); d != "" {
		t.Error("what was not taken over yet is not what is saved:", d)
	}
	r.start()
	if d := cmp.Diff(files{"b": "new"}, r.read(r.h.Path("elsewhere"))); d != "" {
		t.Error(d)
	}
}

// TestCommandsHang: a program that hangs is killed in time, so that an update can turn
// back.
func TestCommandsHang(t *testing.T) {
	const hang = "#!/bin/sh\nsleep 1000 &\nwait\n"
	r := newRig(t)
	for version, settings := range map[string]string{
		"1.0.0": settings("sleep", `,"state":"commands","commands":{"save":["./save.sh"],"apply":["./apply.sh"],"running":true}`),
		"2.0.0": settings("crash", `,"state":"commands","commands":{"save":["./save.sh"],"apply":["./apply.sh"],"running":true}`),
		"3.0.0": settings("sleep", `,"state":"commands","commands":{"save":["./save.sh"],"apply":["./apply.sh"],"timeout":"100ms"}`),
	} {
		h, err := r.tryStage(version, settings, map[string]string{"save.sh": hang, "apply.sh": hang})
		r.must(err)
		r.switchTo(h)
		r.start()
		ctx, cancel := context.WithTimeout(r.ctx, 4*time.Second)
		if version == "2.0.0" {
			r.eventually("it crashes", func() bool { return r.status().Restarts > 0 })
		}
		if _, err := r.u.Stop(ctx, updater.StopRequest{Component: name}); err != nil || r.status().Running {
			t.Errorf("%s: %v", version, err)
		}
		cancel()
		if version == "3.0.0" {
			err := r.u.Save(r.ctx, updater.SaveRequest{Component: name, Dir: t.TempDir()})
			if err == nil || !strings.Contains(err.Error(), "not done within 100ms") {
				t.Error(err)
			}
		}
	}
}

// TestCommandsLeave: what programs leave running is ended, whoever has called them: one
// that a killed updater has begun must not go on with a state that is another one by
// then. That something prints still is no failure.
func TestCommandsLeave(t *testing.T) {
	r := newRig(t)
	const begin = "#!/bin/sh\nset -e\n[ ! -e hang ] || { touch begun; sleep 1000; }\nsetsid sleep 1000 &\n"
	h, err := r.tryStage("1.0.0", commandSettings(""), map[string]string{"save.sh": begin + "echo x >\"$1/a\"\n", "apply.sh": begin + "cp -a \"$1\" ../../../elsewhere\n"})
	r.must(err)
	r.switchTo(h)
	version := r.glob(filepath.Join(r.h.Dir, "versions", "*", "files"))[0]
	left := func() int {
		n := 0
		for _, process := range glob("/proc/[0-9]*") {
			env, _ := os.ReadFile(process + "/environ")
			if strings.Contains(string(env), "TRANQUIL_COMMAND="+r.h.Dir+"\x00") && !zombie(filepath.Base(process)) {
				n++
			}
		}
		return n
	}
	if d := cmp.Diff(files{"a": "x\n"}, r.read(r.save())); d != "" || left() > 0 {
		t.Errorf("%d are left; %s", left(), d)
	}
	r.apply(r.dir(files{"b": "new"}))
	r.fill(version, files{"hang": ""})
	killed := exec.Command("./apply.sh", r.h.Path("incoming")) // by an updater that is no more
	killed.Dir, killed.Env = version, append(os.Environ(), "TRANQUIL_COMMAND="+r.h.Dir)
	r.must(killed.Start())
	r.eventually("it has begun", func() bool { return len(glob(filepath.Join(version, "begun"))) > 0 })
	r.must(os.Remove(filepath.Join(version, "hang")))
	r.start()
	if err := killed.Wait(); err == nil || left() > 0 {
		t.Errorf("it goes on: %v, %d are left", err, left())
	}
	if d := cmp.Diff(files{"b": "new"}, r.read(r.h.Path("elsewhere"))); d != "" {
		t.Error(d)
	}
}

// TestCommandsWithoutState: where there is no saved state, what is elsewhere is taken on;
// and none is saved that could not be told from that.
func TestCommandsWithoutState(t *testing.T) {
	r := newRig(t)
	r.switchTo(r.stageCommands("1.0.0", ""))
	r.fill(r.h.Path("elsewhere"), files{"a": "there"})
	r.apply(r.dir(nil))
	r.start()
	if d := cmp.Diff(files{"a": "there"}, r.read(r.h.Path("elsewhere"))); d != "" {
		t.Error(d)
	}
	r.stop(time.Minute)
	r.must(os.Remove(filepath.Join(r.h.Path("elsewhere"), "a")))
	if err := r.u.Save(r.ctx, updater.SaveRequest{Component: name, Dir: t.TempDir()}); err == nil || !strings.Contains(err.Error(), "has left nothing") {
		t.Error(err)
	}
}
