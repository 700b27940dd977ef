package exec

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
	"github.com/tranquil-iot/tranquil/sdk/updater/updatertest"
)

func TestConformance(t *testing.T) {
	for mode, content := range map[string]string{
		stateDirectory: settings("served", `,"health":{"http":"/v1/health"}`),
		stateHandover:  settings("handover", `,"state":"handover","health":{"http":"/v1/health"}`),
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			updatertest.Run(t, suite(content))
		})
	}
	t.Run(stateCommands, func(t *testing.T) {
		t.Parallel()
		s := suite(commandSettings(""))
		s.Open, s.StateOnly = nil, true // the rest is as above
		updatertest.Run(t, s)
	})
	t.Run(driverSystemd, func(t *testing.T) { // with the other commands; the state in a directory is the same for both drivers
		t.Parallel()
		m, s := newMachine(t), suite(unitSettings("served", `,"health":{"http":"/v1/health"},"state":"commands","commands":{"save":["./save.sh"],"apply":["./apply.sh"],"running":true}`))
		s.Open, s.Env = m.driver().Open, []string{systemdVariable + "=" + m.dir}
		updatertest.Run(t, s)
	})
}

// kept are the programs for a state that is kept elsewhere, of which there is always some.
var kept = map[string]string{
	"save.sh":  "#!/bin/sh\nset -e\ncd ../../..\nmkdir -p elsewhere\n[ -e elsewhere/base ] || echo 1 >elsewhere/base\ncp -a elsewhere/. \"$1\"\n",
	"apply.sh": "#!/bin/sh\nset -e\ncd ../../..\nrm -rf elsewhere\ncp -a \"$1\" elsewhere\n",
}

func suite(content string) updatertest.Suite {
	return updatertest.Suite{
		Type: Type,
		Open: open,
		Artifact: func(t testing.TB, version string) updatertest.Artifact {
			path := artifact(t, map[string]string{"about": version, "save.sh": kept["save.sh"], "apply.sh": kept["apply.sh"]})
			return updatertest.Artifact{Path: path, MediaType: pack.MediaTypeArtifact, Settings: []byte(content)}
		},
		Running: running,
		Program: plain,
	}
}

// running finds the component's process by its environment.
func running(t testing.TB, env updater.Environment, name string) (version string) {
	for _, process := range glob("/proc/[0-9]*") { // no further: that would list each of these directories
		data, _ := os.ReadFile(process + "/environ")
		if !bytes.Contains(data, []byte(component.EnvComponent+"="+name+"\x00")) {
			continue
		}
		vars := map[string]string{}
		for _, entry := range strings.Split(string(data), "\x00") {
			key, value, _ := strings.Cut(entry, "=")
			vars[key] = value
		}
		if strings.HasPrefix(vars[component.EnvState], env.Data+"/") {
			version = vars[component.EnvVersion]
		}
	}
	return version
}
