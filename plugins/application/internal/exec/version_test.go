package exec

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

func TestStageRefuses(t *testing.T) {
	files := map[string]string{"plain": "", "run.sh": ""}
	for _, test := range []struct{ name, version, settings, want string }{
		{"bad settings", "1.0.0", `{"command":["./run.sh"],"x":1}`, "unknown field"},
		{"missing program", "1.0.0", `{"command":["./gone"]}`, "not in the artifact"},
		{"program outside", "1.0.0", `{"command":["../../../../../bin/sh"]}`, "not in the artifact"},
		{"plain program", "1.0.0", `{"command":["./plain"]}`, "not an executable file"},
		{"bad version", "../1", `{"command":["./run.sh"]}`, "no version"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			_, err := r.tryStage(test.version, test.settings, files)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			r.must(r.u.Unstage(r.ctx, updater.UnstageRequest{Component: name, Version: test.version}))
			if left := glob(r.h.Path("versions", "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestStageRefusesArtifacts(t *testing.T) {
	r := newRig(t)
	broken := r.dir(map[string]string{"artifact": "no tar"})
	request := updater.StageRequest{
		Component: name, Version: "1.0.0", Artifact: filepath.Join(broken, "artifact"),
		MediaType: pack.MediaTypeArtifact, Settings: []byte(`{"command":["true"]}`),
	}
	if _, err := r.u.Stage(r.ctx, request); err == nil {
		t.Error("an artifact that is no tar+gzip was staged")
	}
	request.MediaType = "application/zip"
	if _, err := r.u.Stage(r.ctx, request); err == nil || !strings.Contains(err.Error(), "application/zip") {
		t.Errorf("another media type: error %v", err)
	}
	for _, component := range []string{"firmware/a", "application/", "application/../a", "application/.a", "a"} {
		request.Component = component
		if _, err := r.u.Stage(r.ctx, request); err == nil {
			t.Errorf("component %q was accepted", component)
		}
	}
}

// TestStageSideBySide: artifacts of one version do not overwrite each other.
func TestStageSideBySide(t *testing.T) {
	r := newRig(t)
	ids := map[string]bool{}
	for _, stage := range []struct{ settings, content string }{
		{`{"command":["true"]}`, "a"}, {`{"command":["true"]}`, "b"}, {`{"command":["false"]}`, "a"},
	} {
		h, err := r.tryStage("1.0.0", stage.settings, map[string]string{"about": stage.content})
		r.must(err)
		again, err := r.tryStage("1.0.0", stage.settings, map[string]string{"about": stage.content})
		r.must(err)
		if d := cmp.Diff(h, again); d != "" {
			t.Errorf("handle of the same version: %s", d)
		}
		ids[string(h.Data)] = true
	}
	if len(ids) != 3 {
		t.Errorf("3 different ones got %d directories", len(ids))
	}
}

// TestStageAfterPowerCut: a half unpacked version is not mistaken for a whole.
func TestStageAfterPowerCut(t *testing.T) {
	r := newRig(t)
	h := r.stage("1.0.0", `{"command":["true"]}`)
	id := string(h.Data)
	r.must(os.Rename(r.h.Path("versions", id), r.h.Path("versions", "."+id+".new")))
	r.must(os.Remove(filepath.Join(r.h.Path("versions", "."+id+".new"), "version.json")))
	if err := r.u.Switch(r.ctx, updater.SwitchRequest{Component: name, Handle: h}); err == nil {
		t.Error("switched to a half unpacked version")
	}
	r.switchTo(r.stage("1.0.0", `{"command":["true"]}`))
	if left := glob(r.h.Path("versions", ".*.new")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestUnstageKeepsCurrent(t *testing.T) {
	r := newRig(t)
	current := r.stage("1.0.0", `{"command":["true"]}`)
	r.switchTo(current)
	r.stage("1.0.0", `{"command":["false"]}`)
	r.stage("1.0.0-rc1", `{"command":["true"]}`)
	if err := r.u.Unstage(r.ctx, updater.UnstageRequest{Component: name, Version: "1.0.0", Handle: current}); err == nil {
		t.Error("the version switched to was removed")
	}
	r.must(r.u.Unstage(r.ctx, updater.UnstageRequest{Component: name, Version: "1.0.0"}))
	var left []string
	for _, path := range glob(r.h.Path("versions", "*")) {
		id := filepath.Base(path)
		left = append(left, id[:len(id)-12-1])
	}
	if d := cmp.Diff([]string{"1.0.0", "1.0.0-rc1"}, left); d != "" {
		t.Error(d)
	}
}

// TestSwitchCutOff: what a cut-off switch leaves does not disturb the next.
func TestSwitchCutOff(t *testing.T) {
	r := newRig(t)
	first, second := r.stage("1.0.0", `{"command":["true"]}`), r.stage("2.0.0", `{"command":["true"]}`)
	r.switchTo(first)
	r.must(os.Symlink("versions/"+string(second.Data), r.h.Path(".current.new")))
	if got := r.status().Version; got != "1.0.0" {
		t.Errorf("after a cut-off switch the version is %s", got)
	}
	r.switchTo(second)
	if got := r.status().Version; got != "2.0.0" {
		t.Errorf("after the switch the version is %s", got)
	}
}

func TestBadHandles(t *testing.T) {
	r := newRig(t)
	for _, h := range []updater.Handle{
		{Version: 2, Data: []byte("x")}, {Version: 1}, {Version: 1, Data: []byte("../x")}, {Version: 1, Data: []byte(".x")}, {Version: 1, Data: []byte("gone")},
	} {
		if err := r.u.Switch(r.ctx, updater.SwitchRequest{Component: name, Handle: h}); err == nil {
			t.Errorf("switched to %d %q", h.Version, h.Data)
		}
	}
}
