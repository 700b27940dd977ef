package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/space"
)

// A gauge is one metric: its samples are written as Prometheus reads them (text
// format 0.0.4).
type gauge struct {
	w   io.Writer
	err error
}

// metric begins one.
func (g *gauge) metric(name, kind, help string) {
	g.printf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample writes a value with labels, as name and value in turn.
func (g *gauge) sample(name string, value float64, labels ...string) {
	var all []string
	for i := 0; i+1 < len(labels); i += 2 {
		all = append(all, labels[i]+`="`+strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(labels[i+1])+`"`)
	}
	if len(all) > 0 {
		name += "{" + strings.Join(all, ",") + "}"
	}
	g.printf("%s %s\n", name, strconv.FormatFloat(value, 'g', -1, 64))
}

// one is a metric with one sample.
func (g *gauge) one(name, kind, help string, value float64, labels ...string) {
	g.metric(name, kind, help)
	g.sample(name, value, labels...)
}

func (g *gauge) printf(format string, args ...any) {
	if g.err == nil {
		_, g.err = fmt.Fprintf(g.w, format, args...)
	}
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

// metrics writes how the agent and its components do.
func (a *agent) metrics(w io.Writer) error {
	g := &gauge{w: w}
	about := a.about()
	g.one("tranquil_agent_info", "gauge", "The agent, by version and device.", 1, "version", about.Version, "device", about.Endpoint)
	g.one("tranquil_agent_start_time_seconds", "gauge", "When the agent was started, in seconds since 1970.", float64(about.Started.Unix()))
	g.one("tranquil_agent_registered", "gauge", "1 if the LwM2M server has taken the device.", number(about.Registered))
	g.one("tranquil_agent_safe_mode", "gauge", "1 if the agent starts no update before it is repaired.", number(a.repair.Fault() != ""))
	g.process()
	if left, err := space.Left(a.config.Data, 0); err == nil {
		g.one("tranquil_disk_free_bytes", "gauge", "Free on the disk of the agent's data.", float64(left.Bytes))
		g.one("tranquil_disk_free_files", "gauge", "Files that it can take.", float64(left.Files))
	}
	a.componentMetrics(g)
	return g.err
}

// process writes what the agent itself takes.
func (g *gauge) process() {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil {
		spent := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
		g.one("process_cpu_seconds_total", "counter", "Processor time of the agent.", spent.Seconds())
	}
	if files, err := os.ReadDir("/proc/self/fd"); err == nil {
		g.one("process_open_fds", "gauge", "Files that the agent has open.", float64(len(files)))
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if len(fields) != 3 {
			continue
		}
		kilobytes, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "VmRSS:":
			g.one("process_resident_memory_bytes", "gauge", "Memory of the agent, with what it shares.", 1024*kilobytes)
		case "RssAnon:":
			g.one("tranquil_agent_private_memory_bytes", "gauge", "Memory of the agent alone.", 1024*kilobytes)
		}
	}
}

// componentMetrics are by component, and of updates also by how they have ended.
func (a *agent) componentMetrics(g *gauge) {
	views := a.views()
	each := func(name, help string, value func(engine.View) float64, labels func(engine.View) []string) {
		g.metric(name, "gauge", help)
		for _, v := range views {
			g.sample(name, value(v), append([]string{"component", v.Component}, labels(v)...)...)
		}
	}
	none := func(engine.View) []string { return nil }
	each("tranquil_component_info", "What is installed.", func(engine.View) float64 { return 1 }, func(v engine.View) []string { return []string{"version", v.Installed.Version} })
	each("tranquil_component_running", "1 if it runs.", func(v engine.View) float64 { return number(v.Running) }, none)
	each("tranquil_component_updating", "1 if an update is in progress.", func(v engine.View) float64 { return number(v.Progress != nil) }, none)
	each("tranquil_component_unavailable", "1 if it does not serve, since it is updated.", func(v engine.View) float64 { return number(v.Progress != nil && v.Progress.Stale) }, none)
	a.updateMetrics(g)
}

// updateMetrics count what is in the history of this device.
func (a *agent) updateMetrics(g *gauge) {
	outcomes, err := a.history.All()
	if err != nil {
		return
	}
	type way struct{ component, result string }
	var order []way
	count, last := map[way]float64{}, map[string]engine.Outcome{}
	var components []string
	for _, o := range outcomes {
		w := way{o.Component, o.Result}
		if count[w]++; count[w] == 1 {
			order = append(order, w)
		}
		if _, known := last[o.Component]; !known {
			components = append(components, o.Component)
		}
		last[o.Component] = o
	}
	g.metric("tranquil_updates_total", "counter", "Updates by how they have ended, as far back as this device remembers.")
	for _, w := range order {
		g.sample("tranquil_updates_total", count[w], "component", w.component, "result", w.result)
	}
	g.metric("tranquil_last_update_time_seconds", "gauge", "When the last update has ended, in seconds since 1970.")
	for _, c := range components {
		g.sample("tranquil_last_update_time_seconds", float64(last[c].At.Unix()), "component", c)
	}
	g.metric("tranquil_last_update_downtime_seconds", "gauge", "How long the component was away for it.")
	for _, c := range components {
		g.sample("tranquil_last_update_downtime_seconds", last[c].Downtime.Seconds(), "component", c)
	}
}
