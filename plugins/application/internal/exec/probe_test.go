package exec

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

func TestProbe(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/good" {
			http.Error(w, "too hot", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	for _, test := range []struct{ name, role, health, reason string }{
		{"none", "sleep", `{}`, ""},
		{"URL", "sleep", `{"http":"` + server.URL + `/good"}`, ""},
		{"bad URL", "sleep", `{"http":"` + server.URL + `/bad"}`, "too hot"},
		{"no listener", "sleep", `{"http":"http://127.0.0.1:1/"}`, "refused"},
		{"socket", "served", `{"http":"/v1/health"}`, ""},
		{"other path", "served", `{"http":"/other"}`, "404"},
		{"no socket", "sleep", `{"http":"/v1/health"}`, "does not listen"},
		{"command", "sleep", `{"command":["sh","-c","test -d $TRANQUIL_STATE && test -f about"]}`, ""},
		{"bad command", "sleep", `{"command":["sh","-c","echo too cold; exit 1"]}`, "too cold"},
		{"no command", "sleep", `{"command":["no-such-program"]}`, "no-such-program"},
		{"file", "healthy", `{"file":"healthy"}`, ""},
		{"no file", "sleep", `{"file":"healthy"}`, "has not made"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			if p := r.probe(); p.Healthy {
				t.Error("healthy before it is installed")
			}
			r.install(test.role, `,"health":`+test.health)
			var p updater.ProbeResponse
			r.eventually("the expected probe", func() bool {
				p = r.probe()
				return p.Healthy == (test.reason == "") && strings.Contains(p.Reason, test.reason)
			})
			r.stop(time.Minute)
			if p := r.probe(); p.Healthy || p.Reason != "it does not run" {
				t.Errorf("after Stop: %+v", p)
			}
		})
	}
}

// TestProbeFileIsFresh: the file that an earlier process made does not count.
func TestProbeFileIsFresh(t *testing.T) {
	r := newRig(t)
	h := r.stage("1.0.0", settings("sleep", `,"health":{"file":"healthy"}`))
	r.switchTo(h)
	r.fill(filepath.Join(r.h.Path("versions", string(h.Data)), "files"), files{"healthy": ""})
	r.start()
	if r.probe().Healthy {
		t.Error("healthy by an old file")
	}
}

func TestProbeSick(t *testing.T) {
	r := newRig(t)
	r.install("served", `,"health":{"http":"/v1/health"}`)
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	r.fill(r.h.State(), files{"sick": ""})
	if p := r.probe(); p.Healthy || !strings.Contains(p.Reason, "I am sick") {
		t.Errorf("probe says %+v", p)
	}
}

func TestQuiesce(t *testing.T) {
	r := newRig(t)
	both := func() {
		t.Helper()
		r.must(r.u.Quiesce(r.ctx, updater.QuiesceRequest{Component: name}))
		r.must(r.u.Resume(r.ctx, updater.ResumeRequest{Component: name}))
	}
	both() // not installed
	r.install("sleep", "")
	err := r.u.Quiesce(r.ctx, updater.QuiesceRequest{Component: name})
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "serves no control socket") {
		t.Errorf("not served: %v", err)
	}
	r.must(r.u.Resume(r.ctx, updater.ResumeRequest{Component: name}))
	r.stop(time.Minute)
	r.install("served", `,"health":{"http":"/v1/health"}`)
	r.eventually("healthy", func() bool { return r.probe().Healthy })
	both()
	if d := cmp.Diff(files{"quiesced": "", "resumed": ""}, r.read(r.h.State())); d != "" {
		t.Error(d)
	}
}
