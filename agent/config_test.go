package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

func TestStateConfig(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want stateConfig
		err  string
	}{
		"defaults": {"", stateConfig{Keep: 2, KeepFor: duration(720 * time.Hour)}, ""},
		"all":      {"[state]\nkeep = 5\nkeep_for = \"0s\"\nkeep_space = 1048576\nkeep_packages = true\n", stateConfig{Keep: 5, KeepSpace: 1 << 20, KeepPackages: true}, ""},
		"negative": {"[state]\nkeep = -1\n", stateConfig{}, "cannot be negative"},
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
		"memory = 1000":        "memory is from 1 MiB to 1 GiB",
		"wall = \"-1s\"":       "cannot be negative",
		"stack = 1":            "unknown key",
		"memory = 99999999999": "memory is from 1 MiB to 1 GiB",
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
		"[files]\nurl = \"https://a\"\nalso = [\"http://b\"]":                                   "files.also http://b is plaintext",
		"[files]\nurl = \"https://a\"\nalso = [\"http://b\"]\ninsecure = true":                  "",
		"[files]\nurl = \"coap://b\"":                                                           "files.url coap://b is plaintext",
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
