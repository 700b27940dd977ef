package main

import (
	"cmp"
	"os"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/agent/internal/self"
)

// findUpdaters completes what the configuration says of updaters: those that came
// with the agent need not be written down.
func (c *config) findUpdaters() {
	for _, component := range c.Components {
		kind, _, _ := strings.Cut(component, "/")
		known := slices.ContainsFunc(c.Updaters, func(u updaterConfig) bool { return u.Type == kind })
		if !known && (kind == self.Type || came(kind)) {
			c.Updaters = append(c.Updaters, updaterConfig{Type: kind})
		}
	}
	for i := range c.Updaters {
		if u := &c.Updaters[i]; u.Type != self.Type {
			u.Path = cmp.Or(u.Path, updaterOf(u.Type))
		}
	}
}

// came reports whether an updater came with the agent.
func came(kind string) bool {
	path, err := beside(updaterOf(kind))
	if err == nil {
		_, err = os.Stat(path)
	}
	return err == nil
}

func updaterOf(kind string) string { return "tranquil-updater-" + kind }
