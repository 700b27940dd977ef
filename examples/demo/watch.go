package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// watch shows where updates are, from the hub's events, until ctx ends.
func (d *demo) watch(ctx context.Context) {
	var shown rig.Update
	for reported, err := range d.system.Follow(ctx) {
		if err != nil {
			return
		}
		c := reported.Components[rig.SensorAdapter]
		u := c.Update
		if u.Result != "" || u.Step == "" || !isNews(shown, u) {
			continue
		}
		back := shown.ID == u.ID && u.Progress < shown.Progress
		d.console.say("twin", cyan, "%s", describe(c, back))
		shown = u
	}
}

// isNews reports whether an update has come to another step, or far enough in
// a long one.
func isNews(shown, u rig.Update) bool {
	return u.ID != shown.ID || u.Step != shown.Step || math.Abs(u.Progress-shown.Progress) >= 0.025
}

// describe tells of a step in one line.
func describe(c rig.Component, back bool) string {
	u := c.Update
	step := u.Step
	if back {
		step = "undo " + step
	}
	line := fmt.Sprintf("%-14s  %-14s  %s %3.0f %%", u.Phase, step, bar(u.Progress, 20), 100*u.Progress)
	if c.Stale && u.UnavailableUntil != nil {
		line += "  stale until " + u.UnavailableUntil.Local().Format("15:04:05")
	}
	return line
}

func bar(fraction float64, width int) string {
	full := min(max(int(fraction*float64(width)+0.5), 0), width)
	return strings.Repeat("█", full) + strings.Repeat("░", width-full)
}

// follow shows the lines that a process writes into its log, until ctx ends.
func (d *demo) follow(ctx context.Context, source string, p *rig.Process) {
	f, err := os.Open(p.Log)
	if err != nil {
		return
	}
	defer f.Close()
	lines, line := bufio.NewReader(f), ""
	for {
		part, err := lines.ReadString('\n')
		line += part
		switch {
		case err == nil:
			d.console.say(source, faint, "%s", strings.TrimRight(line, "\n"))
			line = ""
		case err != io.EOF:
			return
		default:
			select {
			case <-ctx.Done():
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}
