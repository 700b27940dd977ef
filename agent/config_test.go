package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
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
