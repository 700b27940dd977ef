package updatertest

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

func TestMain(m *testing.M) {
	if updater.Launched() {
		updater.Main("application", openReference(os.Getenv("BROKEN")))
	}
	goleak.VerifyTestMain(m)
}

func suite(broken string) Suite {
	return Suite{
		Type: "application",
		Open: openReference(broken),
		Env:  []string{"BROKEN=" + broken},
		Artifact: func(t testing.TB, version string) Artifact {
			path := filepath.Join(t.TempDir(), "artifact")
			if err := os.WriteFile(path, []byte("program "+version), 0o600); err != nil {
				t.Fatal(err)
			}
			return Artifact{Path: path, MediaType: "text/plain", Settings: settings}
		},
		Running: func(_ testing.TB, env updater.Environment, component string) string {
			version := get(filepath.Join(env.Data, filepath.Base(component), "running"))
			if get(filepath.Join(env.Data, filepath.Base(component), "versions", version)) == "" {
				return "" // its files are gone
			}
			return version
		},
	}
}

func TestReference(t *testing.T) { Run(t, suite("")) }

// TestBroken shows that each broken promise makes the kit fail.
func TestBroken(t *testing.T) {
	for broken, proof := range map[string]string{
		"stages once":             "Stage can be repeated",
		"stage stops":             "Stage leaves the running version and the artifact alone",
		"stage consumes":          "Stage leaves the running version and the artifact alone",
		"unstages once":           "Unstage can be repeated",
		"unstages by handle":      "Unstage with a zero handle removes what Stage left",
		"unstages all":            "Unstage can be repeated",
		"switch starts":           "Switch goes there and back",
		"switches once":           "Switch goes there and back",
		"ignores the zero handle": "Switch to the zero handle leaves nothing to start",
		"starts once":             "Start can be repeated",
		"stops once":              "Stop can be repeated",
		"never stops":             "Stop really stops",
		"stops all":               "Components do not disturb one another",
		"save moves":              "Save leaves the component its own state",
		"apply merges":            "Apply takes over what Save saved",
		"applies once":            "Apply can be repeated",
		"apply not atomic":        "Apply can be repeated",
		"switch loses state":      "State survives Switch and Unstage",
		"snapshot stops":          "Snapshot leaves the component running",
		"save trusts":             "Save saves what is there now, whatever a snapshot holds",
		"quiesce stops":           "Quiesce and Resume can be repeated",
		"resumes never":           "Quiesce and Resume can be repeated",
		"confirms once":           "Confirm can be repeated, and leaves a way back",
		"always healthy":          "Probe tells the truth",
		"never healthy":           "Probe tells the truth",
		"status of what runs":     "Status tells the truth",
		"half-staged":             "Stage can be killed and repeated",
		"handle in memory":        "A restarted updater knows its handles",
		"runs in memory":          "A restarted updater stops what runs",
	} {
		t.Run(broken, func(t *testing.T) {
			c := find(t, proof)
			s := suite(broken)
			s.Ready = 50 * time.Millisecond
			failures := record(t, func(tb testing.TB) { c.run(newRig(tb, s, c.kills)) })
			if failures == "" {
				t.Errorf("%q passes", proof)
			}
			t.Logf("%s: %s", proof, failures)
		})
	}
}

func find(t *testing.T, name string) check {
	for _, c := range checks() {
		if c.name == name {
			return c
		}
	}
	t.Fatalf("no check is called %q", name)
	return check{}
}

// A recorder is a testing.TB that notes failures instead of failing.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures strings.Builder
}

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(&r.failures, format+"\n", args...)
}

func (r *recorder) Error(args ...any) { r.Errorf("%s", fmt.Sprint(args...)) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// record runs f and returns what would have failed.
func record(t *testing.T, f func(testing.TB)) string {
	r := &recorder{TB: t}
	done := make(chan struct{})
	go func() { defer close(done); f(r) }()
	<-done
	return r.failures.String()
}
