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
// a process". There the updater is also killed and started again, between
// calls and in the middle of them; calls are cancelled in process, which is the
// same over either connection. Since most of it is waiting, subtests run in
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
	// the test binary, whose TestMain has to call Main, as of [Plain].
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
	// StateOnly leaves out what has nothing to do with the state, for an updater
	// that has proven the rest with another way of handling that.
	StateOnly bool
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
	if s.Program == "" {
		var err error
		if s.Program, err = Plain(t.TempDir()); err != nil {
			t.Fatal(err)
		}
	}
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
				twice := c.cancels && mode.asProcess && s.Open != nil
				if c.needs(caps) && (mode.asProcess || !c.kills) && !twice && (!s.StateOnly || c.concernsState(caps)) {
					t.Run(c.name, func(t *testing.T) { t.Parallel(); c.run(newRig(t, s, mode.asProcess)) })
				}
			}
		})
	}
}

// A check proves one guarantee on a rig of its own.
type check struct {
	name    string
	needs   func(updater.Capabilities) bool
	run     func(*rig)
	kills   bool // only for an updater that is a process
	cancels bool // once is enough
	moves   bool // the state may change hands meanwhile
}

// concernsState reports whether a check is for updaters that handle state.
func (c check) concernsState(caps updater.Capabilities) bool {
	caps.State, caps.Snapshot = false, false
	return c.moves || !c.needs(caps)
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
		{name: "Stage can be repeated", needs: always, run: stageTwice},
		{name: "Stage leaves the running version and the artifact alone", needs: always, run: stageDisturbsNothing},
		{name: "Unstage can be repeated", needs: always, run: unstageTwice},
		{name: "Unstage succeeds when nothing is there", needs: always, run: unstageMissing},
		{name: "Unstage with a zero handle removes what Stage left", needs: always, run: unstageZeroHandle},
		{name: "Switch goes there and back", needs: always, run: switchAndBack},
		{name: "Switch to the zero handle leaves nothing to start", needs: always, run: switchToNothing},
		{name: "Start can be repeated", needs: always, run: startTwice},
		{name: "Stop can be repeated", needs: always, run: stopTwice},
		{name: "Stop really stops", needs: always, run: stopStops},
		{name: "Components do not disturb one another", needs: always, run: twoComponents},
		{name: "Save leaves the component its own state", needs: state, run: saveLeavesState},
		{name: "Apply takes over what Save saved", needs: state, run: applyRoundTrip},
		{name: "Apply can be repeated", needs: state, run: applyTwice},
		{name: "State survives Switch and Unstage", needs: state, run: stateSurvives},
		{name: "Snapshot leaves the component running", needs: snapshot, run: snapshotDisturbsNothing},
		{name: "Save saves what is there now, whatever a snapshot holds", needs: stateAndSnapshot, run: saveAfterSnapshot},
		{name: "Quiesce and Resume can be repeated", needs: quiesce, run: quiesceAndResume},
		{name: "Probe tells the truth", needs: probe, run: probeIsTrue},
		{name: "Status tells the truth", needs: status, run: statusIsTrue},
		{name: "Confirm can be repeated, and leaves a way back", needs: confirm, run: confirmTwice},
		{name: "Components outlive the updater", needs: always, kills: true, run: componentOutlives},
		{name: "A restarted updater knows its handles", needs: always, kills: true, run: handlesOutlive},
		{name: "A restarted updater stops what runs", needs: always, kills: true, run: restartedStops},
		{name: "A restarted updater knows the status", needs: status, kills: true, run: statusOutlives},
	}
	for _, i := range interruptions {
		list = append(list,
			check{name: i.method + " can be cancelled and repeated", needs: i.needs, cancels: true, moves: i.moves, run: i.cancelled},
			check{name: i.method + " can be killed and repeated", needs: i.needs, kills: true, moves: i.moves, run: i.killed})
	}
	return list
}
