package fleet

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

const agentItself = "tranquil/agent"

// builtVersion is what programs say that were built without another version.
const builtVersion = "0.0.0-dev"

// selfUpdating lists the agent among the components, and has its updaters come with it.
var selfUpdating = []rig.Edit{
	rig.Replace(`components = ["application/sensor-adapter"]`, `components = ["application/sensor-adapter", "tranquil/agent"]`),
	func(config string) string {
		before, _, _ := strings.Cut(config, "[[updater]]")
		return before + "[[updater]]\ntype = \"application\"\npath = \"tranquil-updater-application\"\n\n[[updater]]\ntype = \"tranquil\"\n"
	},
}

const agentRecipe = `type = "tranquil"
name = "agent"
version = %q

[probe]
probation = "200ms"
deadline = %q

[[artifact]]
path = "files"
os = "linux"
arch = %q
`

// publishAgent publishes a version of the agent: the one that runs, which says that it is
// another version.
func publishAgent(t *testing.T, s *rig.System, version string) {
	t.Helper()
	program, err := os.ReadFile(s.Program("tranquil-agent"))
	must(t, err)
	if len(version) != len(builtVersion) || !bytes.Contains(program, []byte(builtVersion)) {
		t.Fatalf("the agent does not say %s", builtVersion)
	}
	publishProgram(t, s, version, "1m", bytes.ReplaceAll(program, []byte(builtVersion), []byte(version)))
}

// publishScript publishes a version that is the agent that runs behind a script.
func publishScript(t *testing.T, s *rig.System, version, deadline, script string) {
	t.Helper()
	publishProgram(t, s, version, deadline, []byte("#!/bin/sh\n[ \"$1\" != version ] || exec echo tranquil-agent "+version+"\n"+script+"\n"))
}

func publishProgram(t *testing.T, s *rig.System, version, deadline string, program []byte) {
	t.Helper()
	dir := t.TempDir()
	files := filepath.Join(dir, "files")
	must(t, os.Mkdir(files, 0o700))
	must(t, os.Link(s.Program("tranquil-agent"), filepath.Join(files, "agent")))
	must(t, os.Link(s.Program("tranquil-updater-application"), filepath.Join(files, "tranquil-updater-application")))
	must(t, os.WriteFile(filepath.Join(files, "tranquil-agent"), program, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "tranquil.toml"), fmt.Appendf(nil, agentRecipe, version, deadline, built.Arch), 0o600))
	out, err := s.CLI(t.Context(), "package", "build", dir, "-o", dir)
	must(t, err)
	file, _, _ := strings.Cut(out, "\n")
	must(t, s.Push(t.Context(), file))
	must(t, s.Wish(t.Context(), agentItself, fmt.Sprintf(`{"version": %q}`, version)))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// agentEnds awaits how an update of the agent has ended.
func agentEnds(t *testing.T, s *rig.System, version, result string) rig.Component {
	t.Helper()
	r, err := s.Await(t.Context(), version+" of the agent is "+result, rig.UpdateTime, func(r rig.Reported) bool {
		u := r.Components[agentItself].Update
		return u.To == version && u.Result != ""
	})
	must(t, err)
	c := r.Components[agentItself]
	if c.Update.Result != result {
		t.Fatalf("%+v", c)
	}
	return c
}

// program is what a process runs.
func program(pid int) string {
	name, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return name
}

// TestAgentUpdatesItself: the agent and its updaters are a component like any other. The
// process stays the same, and the components do not hear of it. A version that
// does not come up is left after three starts, one that its server does not see after its
// deadline, and the device is never without an agent.
func TestAgentUpdatesItself(t *testing.T) {
	t.Parallel()
	s := startWith(t, selfUpdating, "1.0.0", "2.0.0")
	agent, adapter := s.Agent.PID(), s.Components(rig.SensorAdapter)[0].PID
	const run = `exec "$(dirname "$0")/agent" "$@"`

	publishAgent(t, s, "2.0.0-dev")
	agentEnds(t, s, "2.0.0-dev", "updated")
	if now := program(agent); !strings.Contains(now, "/tranquil/versions/2.0.0-dev-") {
		t.Errorf("the agent is %s", now)
	}
	update(t, s, "2.0.0") // by the updater that came along
	if now := s.Components(rig.SensorAdapter)[0].PID; now == adapter {
		t.Error("the component was not updated")
	} else {
		adapter = now
	}

	publishScript(t, s, "3.0.0", "1m", "exit 1")
	for starts := 0; ; starts++ { // as an init does
		if r, err := s.Reported(t.Context()); err == nil && r.Components[agentItself].Update.To == "3.0.0" && r.Components[agentItself].Update.Result != "" {
			break
		}
		if s.Agent.Ended() {
			must(t, s.StartAgent(t.Context()))
		}
		if starts > 3000 {
			t.Fatal("the update does not end")
		}
		time.Sleep(100 * time.Millisecond)
	}
	if c := agentEnds(t, s, "3.0.0", "turned back"); c.Version != "2.0.0-dev" || !strings.Contains(c.Update.Cause, "has not proven itself") {
		t.Errorf("%+v", c)
	}

	relay, err := rig.NewRelay(s.Bridge())
	must(t, err)
	defer relay.Close()
	s.Via = relay.Addr()
	s.Agent.Stop()
	must(t, s.StartAgent(t.Context()))
	gate := filepath.Join(t.TempDir(), "gate")
	publishScript(t, s, "4.0.0", "3s", "echo $$ >"+gate+"\nwhile [ ! -e "+gate+".open ]; do sleep 0.05; done\n"+run)
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(gate); err == nil {
			break
		}
		if time.Since(begin) > rig.UpdateTime {
			t.Fatal("4.0.0 was not started")
		}
	}
	relay.Cut(true)
	must(t, os.WriteFile(gate+".open", nil, 0o600))
	for begin := time.Now(); !strings.Contains(program(s.Agent.PID()), "/2.0.0-dev-"); time.Sleep(20 * time.Millisecond) {
		if time.Since(begin) > rig.UpdateTime {
			t.Fatalf("the agent is %s", program(s.Agent.PID()))
		}
	}
	relay.Cut(false)
	if c := agentEnds(t, s, "4.0.0", "turned back"); c.Version != "2.0.0-dev" || !strings.Contains(c.Update.Cause, "not registered") {
		t.Errorf("%+v", c)
	}
	if now, _ := check(t, s); now.PID != adapter {
		t.Errorf("the component was started anew: process %d, was %d", now.PID, adapter)
	}

	if out, err := s.AgentCLI(t.Context(), "launch"); err == nil || !strings.Contains(err.Error(), "another agent works there") {
		t.Errorf("a second agent: %s, %v", out, err)
	}
	s.Agent.Kill()
	must(t, os.WriteFile(filepath.Join(s.Dir, "agent", "updater", "tranquil", "note.json"), []byte("{"), 0o600))
	must(t, s.StartAgent(t.Context()))
	r, err := s.Await(t.Context(), "the agent says that it runs as it was installed", rig.UpdateTime, func(r rig.Reported) bool {
		return strings.Contains(r.Components[agentItself].Outcome.Cause, "as it was installed on the device")
	})
	must(t, err)
	if c := r.Components[agentItself]; c.Version != "" || program(s.Agent.PID()) != s.Program("tranquil-agent") {
		t.Errorf("%s runs, %+v", program(s.Agent.PID()), c)
	}
	must(t, s.Wish(t.Context(), agentItself, `{"version": "2.0.0-dev", "attempt": 2}`))
	agentEnds(t, s, "2.0.0-dev", "updated")

	s.Agent.Kill()
	damaged, err := filepath.Glob(filepath.Join(s.Dir, "agent", "updater", "tranquil", "versions", "2.0.0-dev-*", "tranquil-updater-application"))
	if err != nil || len(damaged) != 1 {
		t.Fatal(damaged, err)
	}
	must(t, os.Remove(damaged[0])) // it may be running still
	must(t, os.WriteFile(damaged[0], []byte("\x7fELF"), 0o700))
	must(t, s.StartAgent(t.Context()))
	r, err = s.Await(t.Context(), "the agent says that it was damaged", rig.UpdateTime, func(r rig.Reported) bool {
		return strings.Contains(r.Components[agentItself].Outcome.Cause, "(tranquil-updater-application); version 2.0.0-dev was put in place again")
	})
	must(t, err)
	if now, _ := check(t, s); now.PID != adapter {
		t.Errorf("the component was started anew: process %d, was %d", now.PID, adapter)
	}
}
