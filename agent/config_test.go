package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/settings"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

func TestStateConfig(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want stateConfig
		err  string
	}{
		"defaults": {"", stateConfig{Keep: 2, KeepFor: settings.Duration(720 * time.Hour)}, ""},
		"all":      {"[state]\nkeep = 5\nkeep_for = \"0s\"\nkeep_space = 1048576\nkeep_packages = true\n", stateConfig{Keep: 5, KeepSpace: 1 << 20, KeepPackages: true}, ""},
		"negative": {"[state]\nkeep = -1\n", stateConfig{}, "agent.toml, line 3: state: keep: cannot be negative"},
		"unknown":  {"[state]\nkeep_age = \"1h\"\n", stateConfig{}, "unknown key"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "agent.toml")
			if err := os.WriteFile(file, []byte("endpoint = \"d\"\n"+test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			c, err := readConfig(file)
			if test.err == "" && (err != nil || c.State != test.want) || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %+v, %v", c.State, err)
			}
		})
	}
}

func TestTransformConfig(t *testing.T) {
	for text, want := range map[string]string{
		"memory = 16777216\ncpu = \"2s\"\noutput = 1000": "",
		"memory = 1000":        "agent.toml, line 3: transform: memory: 1000 bytes is not between 65536 (64 KiB) and 1073741824 (1 GiB)",
		"wall = \"-1s\"":       "line 3: transform: wall: -1s is not between 1ms and 24h",
		"wall = 5":             "line 3: transform wall: 5 is a whole number; it takes a duration in quotes, with its units",
		"stack = 1":            "line 3: transform: unknown key \"stack\": there are memory, output, log, cpu, wall, compile",
		"menory = 1":           "line 3: transform: unknown key \"menory\": did you mean \"memory\"?",
		"memory = 99999999999": "memory: 99999999999 bytes is not between",
	} {
		file := filepath.Join(t.TempDir(), "agent.toml")
		if err := os.WriteFile(file, []byte("endpoint = \"d\"\n[transform]\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := readConfig(file)
		if want == "" && (err != nil || c.Transform.limits() != host.Limits{Memory: 16 << 20, CPU: 2 * time.Second, Output: 1000}) ||
			want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: got %+v, %v", text, c.Transform, err)
		}
	}
}

func TestFilesConfig(t *testing.T) {
	for text, want := range map[string]string{
		"[files]\nurl = \"https://a\"\nalso = [\"coap://127.0.0.1\", \"https://b\"]":            "",
		"[files]\nurl = \"https://a\"\nalso = [\"http://b\"]":                                   "files: also: http://b is plaintext",
		"[files]\nurl = \"https://a\"\nalso = [\"http://b\"]\ninsecure = true":                  "",
		"[files]\nurl = \"coap://b\"":                                                           "files: url: coap://b is plaintext",
		"[[metered]]\ninterface = \"wwan0\"\nbudget = 1000\n[[metered]]\ninterface = \"wwan1\"": "",
		"[[metered]]\nbudget = 1000":                                                            "interface is its name",
		"[[metered]]\ninterface = \"wwan0\"\nbudget = -1":                                       "budget is in bytes",
		"[[metered]]\ninterface = \"wwan0\"\nbudget = 1000\nper = \"day\"":                      "unknown key",
	} {
		file := filepath.Join(t.TempDir(), "agent.toml")
		if err := os.WriteFile(file, []byte("endpoint = \"d\"\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readConfig(file)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// What could never do what it is written for is found when the agent starts.
func TestNamesInTheConfig(t *testing.T) {
	const updater = "[[updater]]\ntype = \"application\"\npath = \"/u\"\nsha256 = \"00\"\n"
	dependant := func(component, of, policy string) string {
		return "components = [\"application/a\", \"application/b\"]\n" + updater +
			"[[dependant]]\ncomponent = \"application/" + component + "\"\nof = \"application/" + of + "\"\npolicy = \"" + policy + "\"\n"
	}
	for text, want := range map[string]string{
		dependant("b", "a", "stop"):                                       "",
		dependant("program", "a", "tell"):                                 "",
		dependant("b", "other", "tell"):                                   "line 9: dependant 1: of: application/other is none of the components",
		dependant("other", "a", "stop"):                                   "line 8: dependant 1: component: application/other is none of the components, and nobody else can be stopped",
		"components = [\"application/a\", \"application/a\"]\n" + updater: "line 2: components: application/a is listed twice",
		"[lwm2m]\nserver = \"coap://[::1]:5683\"":                         "",
		"[lwm2m]\nserver = \"coap+tcp://localhost\"":                      "",
		"[lwm2m]\nserver = \"coap://10.0.0.1\"":                           "line 3: lwm2m: server: coap://10.0.0.1 is plaintext beyond this machine",
		"[lwm2m]\nserver = \"coap://10.0.0.1\"\ninsecure = true":          "",
	} {
		file := filepath.Join(t.TempDir(), "agent.toml")
		if err := os.WriteFile(file, []byte("endpoint = \"d\"\n"+text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readConfig(file)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
