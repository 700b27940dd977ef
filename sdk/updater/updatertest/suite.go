// Package updatertest proves that an updater keeps the promises of package
// updater. An author's whole test is a TestMain and one test:
//
//	func TestMain(m *testing.M) { updatertest.Main(m, "application", open) }
//
//	func TestUpdater(t *testing.T) {
//		updatertest.Run(t, updatertest.Suite{
//			Type:     "application",
//			Open:     open,
//			Artifact: func(t testing.TB, version string) updatertest.Artifact { … },
//			Running:  func(t testing.TB, env updater.Environment, component string) string { … },
//		})
//	}
//
// Every guarantee is one subtest. All run twice: "in process", over a real gRPC
// connection, where a debugger and the coverage see the author's code; and "as
// a process", where the updater is also killed and started again, between
// calls and in the middle of them. Since most of it is waiting, subtests run in
// parallel, each with an updater, directories and components of its own.
package updatertest

import (
	"os"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Suite says what is tested and how the kit can see what the updater did.
type Suite struct {
	// Type of the components that the updater handles.
	Type string
	// Open makes the updater, as in its main. If what it returns has a
	// method Close() error, the kit calls that in the end. Without it the
	// updater is tested as a process only, and Program names it.
	Open updater.Open
	// Artifact makes the artifact of a version, "1.0.0" or "2.0.0", of a
	// component that runs until it is stopped.
	Artifact func(t testing.TB, version string) Artifact
	// Running looks, without asking the updater, which version of a
	// component runs; "" if none. It may be asked for several components at
	// once. The kit asks again for up to Ready when it waits for a start, but
	// never when it waits for a stop. Default: the updater's own Status is
	// believed.
	Running func(t testing.TB, env updater.Environment, component string) string

	// Program is the updater's executable for the runs as a process. Empty:
	// the test binary, whose TestMain has to call Main.
	Program string
	// Env has further variables for that process, as KEY=VALUE.
	Env []string
	// Change makes another valid state of the files in dir. Default: it adds
	// a file. Needed if components refuse files that they do not know.
	Change func(t testing.TB, dir string)
	// Boot boots the device, for an updater whose components are the device:
	// they run, and end, with a boot only, and there is one. The kit calls it
	// before it starts the updater, and whenever a call has returned
	// [updater.ErrReboot]; then that call comes again. Running tells what the
	// device has booted. Default: components stop and start.
	Boot func(t testing.TB, env updater.Environment)
	// Ready is how long a component may take from Start until it is seen
	// running and healthy. Default: 10 s.
	Ready time.Duration
}

// Artifact is what the agent tells Stage about a component artifact.
type Artifact struct {
	Path      string // of the file
	MediaType string
	Settings  []byte // JSON
}

// Main is the TestMain of a test that calls Run: the test binary is the updater
// when the kit launches it, and runs the tests otherwise.
func Main(m *testing.M, componentType string, open updater.Open) {
	if updater.Launched() {
		updater.Main(componentType, open)
	}
	os.Exit(m.Run())
}

// Run runs every check that the updater's capabilities ask for.
func Run(t *testing.T, s Suite) {
	for _, mode := range []struct {
		name      string
		asProcess bool
	}{{"in process", false}, {"as a process", true}} {
		if s.Open == nil && !mode.asProcess {
			continue
		}
		t.Run(mode.name, func(t *testing.T) {
			caps := newRig(t, s, mode.asProcess).u.Capabilities()
			for _, c := range checks() {
				if c.needs(caps) && (mode.asProcess || !c.kills) {
					t.Run(c.name, func(t *testing.T) { t.Parallel(); c.run(newRig(t, s, mode.asProcess)) })
				}
			}
		})
	}
}

// A check proves one guarantee on a rig of its own.
type check struct {
	name  string
	needs func(updater.Capabilities) bool
	kills bool // only for an updater that is a process
	run   func(*rig)
}

func always(updater.Capabilities) bool     { return true }
func state(c updater.Capabilities) bool    { return c.State }
func snapshot(c updater.Capabilities) bool { return c.Snapshot }
func quiesce(c updater.Capabilities) bool  { return c.Quiesce }

func stateAndSnapshot(c updater.Capabilities) bool { return c.State && c.Snapshot }

func probe(c updater.Capabilities) bool  { return c.Probe }
func status(c updater.Capabilities) bool { return c.Status }

func confirm(c updater.Capabilities) bool { return c.Confirm }

// checks lists all guarantees.
func checks() []check {
	list := []check{
		{"Stage can be repeated", always, false, stageTwice},
		{"Stage leaves the running version and the artifact alone", always, false, stageDisturbsNothing},
		{"Unstage can be repeated", always, false, unstageTwice},
		{"Unstage succeeds when nothing is there", always, false, unstageMissing},
		{"Unstage with a zero handle removes what Stage left", always, false, unstageZeroHandle},
		{"Switch goes there and back", always, false, switchAndBack},
		{"Switch to the zero handle leaves nothing to start", always, false, switchToNothing},
		{"Start can be repeated", always, false, startTwice},
		{"Stop can be repeated", always, false, stopTwice},
		{"Stop really stops", always, false, stopStops},
		{"Components do not disturb one another", always, false, twoComponents},
		{"Save leaves the component its own state", state, false, saveLeavesState},
		{"Apply takes over what Save saved", state, false, applyRoundTrip},
		{"Apply can be repeated", state, false, applyTwice},
		{"State survives Switch and Unstage", state, false, stateSurvives},
		{"Snapshot leaves the component running", snapshot, false, snapshotDisturbsNothing},
		{"Save saves what is there now, whatever a snapshot holds", stateAndSnapshot, false, saveAfterSnapshot},
		{"Quiesce and Resume can be repeated", quiesce, false, quiesceAndResume},
		{"Probe tells the truth", probe, false, probeIsTrue},
		{"Status tells the truth", status, false, statusIsTrue},
		{"Confirm can be repeated, and leaves a way back", confirm, false, confirmTwice},
		{"Components outlive the updater", always, true, componentOutlives},
		{"A restarted updater knows its handles", always, true, handlesOutlive},
		{"A restarted updater stops what runs", always, true, restartedStops},
		{"A restarted updater knows the status", status, true, statusOutlives},
	}
	for _, i := range interruptions {
		list = append(list,
			check{i.method + " can be cancelled and repeated", i.needs, false, i.cancelled},
			check{i.method + " can be killed and repeated", i.needs, true, i.killed})
	}
	return list
}
