package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/audit"
)

// A scene is one part of the demo. An error ends the demo; a claim that does
// not hold is written into the table, and the demo goes on.
type scene struct {
	title string
	play  func(context.Context, *demo) error
}

// A demo is one run of all scenes.
type demo struct {
	dir     string
	verbose bool
	console *console
	table   table

	built     rig.Built
	system    *rig.System
	dashboard *rig.Process
	watching  sync.WaitGroup
	stopWatch context.CancelFunc
}

func (d *demo) play(ctx context.Context, scenes []scene) error {
	for i, s := range scenes {
		d.console.title(i+1, s.title)
		if err := s.play(ctx, d); err != nil {
			return fmt.Errorf("scene %d, %s: %w", i+1, s.title, err)
		}
	}
	return nil
}

// say tells what happens.
func (d *demo) say(format string, args ...any) { d.console.say("demo", bold, format, args...) }

// claim writes down something that the demo promises, and whether it is so.
func (d *demo) claim(what, expected, seen string, holds bool) {
	d.claimAfter("", what, expected, seen, holds)
}

// claimAfter is claim for what happened with a downtime.
func (d *demo) claimAfter(downtime, what, expected, seen string, holds bool) {
	d.table.rows = append(d.table.rows, row{what, expected, seen, downtime, holds})
	style, sign := green, "✓"
	if !holds {
		style, sign = red, "✗"
	}
	if downtime != "" {
		downtime = ", downtime " + downtime
	}
	d.console.say("claim", style, "%s %s: expected %s, seen %s%s", sign, what, expected, seen, downtime)
}

// audited verifies the state of the component that runs.
func (d *demo) audited() (audit.Report, error) {
	running, err := d.running()
	if err != nil {
		return audit.Report{}, err
	}
	report, err := audit.Dir(running.State)
	if err == nil {
		d.console.say("audit", cyan, "%s", report)
	}
	return report, err
}

// running returns the one process of the component.
func (d *demo) running() (rig.Running, error) {
	processes := d.system.Components(rig.SensorAdapter)
	if len(processes) != 1 {
		return rig.Running{}, fmt.Errorf("%d processes of %s run, not one", len(processes), rig.SensorAdapter)
	}
	return processes[0], nil
}

// showState prints the beginning of each kind of file of the state.
func (d *demo) showState(title string) error {
	running, err := d.running()
	if err != nil {
		return err
	}
	d.say("%s", title)
	for _, name := range []string{"calibration.json", "total.json", "history/000001.json"} {
		b, err := os.ReadFile(filepath.Join(running.State, name))
		if err != nil {
			return err
		}
		text := strings.TrimSpace(string(b))
		if len(text) > 100 {
			text = text[:100] + " …"
		}
		d.console.say("state", faint, "%-20s %s", name, text)
	}
	return nil
}

// observe starts what shows events and logs while the scenes go on.
func (d *demo) observe(ctx context.Context) {
	ctx, d.stopWatch = context.WithCancel(ctx)
	d.watching.Go(func() { d.watch(ctx) })
	d.watching.Go(func() { d.follow(ctx, "dashboard", d.dashboard) })
	if d.verbose {
		d.watching.Go(func() { d.follow(ctx, "agent", d.system.Agent) })
	}
}

// close ends everything that the demo has started.
func (d *demo) close() {
	if d.stopWatch != nil {
		d.stopWatch()
		d.watching.Wait()
	}
	if d.system != nil {
		d.system.Close()
	}
}

// stay leaves everything running and tells what can be tried.
func (d *demo) stay(ctx context.Context) {
	d.console.print("\nEverything goes on running until Ctrl-C. In a browser (which does not know the certificate yet):\n")
	page, password := d.system.Web()
	d.console.print("  " + page + "  user admin, password " + password)
	d.console.print("\nIn another terminal:\n")
	for _, variable := range d.system.Env {
		name, value, _ := strings.Cut(variable, "=")
		d.console.print(fmt.Sprintf("  export %s='%s'", name, value))
	}
	tool := d.system.Program("tranquil")
	for _, command := range []string{
		"device show " + d.system.Device,
		"events " + d.system.Device,
		"update " + d.system.Device + " " + rig.SensorAdapter + " 2.0.0      # and back",
		"twin get " + d.system.Device,
	} {
		d.console.print("  " + tool + " " + command)
	}
	d.console.print("  tail -f " + d.system.Agent.Log)
	<-ctx.Done()
}

// showLogs prints the end of each log, for whoever looks for the cause.
func (d *demo) showLogs() {
	for _, path := range logs(d.dir) {
		d.console.print("\n" + d.console.style(bold, "… "+path))
		d.console.print(rig.Tail(path, 25))
	}
}

// logs returns all logs below dir that hold something.
func logs(dir string) []string {
	var found []string
	filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".log") {
			return nil
		}
		if info, err := entry.Info(); err == nil && info.Size() > 0 {
			found = append(found, path)
		}
		return nil
	})
	return found
}
