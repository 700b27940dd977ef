package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/sdk/transform/transformtest"
)

// armSlower is how many times longer a 1 GHz Cortex-A7 takes for the same code
// than a server's core of 2021. It is an estimate, from clock, width and cache.
const armSlower = 10

type transformBenchCmd struct {
	Dir      string        `arg:"" default:"." help:"Directory of a tranquil.toml with transforms (default: here)."`
	Cases    string        `placeholder:"DIR" help:"Directory of the examples (default: testdata beside the tranquil.toml)."`
	Size     int           `default:"4096" placeholder:"KIB" help:"Size to blow the examples up to, in KiB; the interpreter gets a sixteenth."`
	Downtime time.Duration `help:"Downtime to hold it against (default: maxDowntime of the tranquil.toml, or downtime)."`

	runner
}

func (c *transformBenchCmd) Run(s *session) error {
	recipe, edges, cases, err := readProject(c.Dir, c.Cases)
	if err != nil {
		return err
	}
	budget := cmp.Or(c.Downtime, time.Duration(recipe.MaxDowntime), time.Duration(recipe.Downtime))
	bar := s.bar("bench")
	for i, e := range edges {
		m, err := c.measure(s, e, cases, func(stage int, done, total int64) {
			bar.tell(percent(stages*i+stage, stages*len(edges), done, total), 100)
		})
		bar.clear()
		if err != nil {
			return withLog(err)
		}
		if err := m.print(s.out, budget); err != nil {
			return err
		}
	}
	return nil
}

// A measurement is what bench tells about one edge.
type measurement struct {
	edge                  transformtest.Edge
	engine                string        // of the rate compiled
	limits                host.Limits   // of one run
	compile               time.Duration // from nothing
	compiled, interpreted transformtest.Rate
}

// stages of the measurement of an edge: compiled and interpreted.
const stages = 2

// percent is how far a measurement is in one of its parts, which take about as
// long as each other.
func percent(part, parts int, done, total int64) int64 {
	return int64(100 * (float64(part) + float64(done)/float64(max(total, 1))) / float64(parts))
}

func (c *transformBenchCmd) measure(s *session, e transformtest.Edge, cases []transformtest.Case, progress func(stage int, done, total int64)) (measurement, error) {
	m := measurement{edge: e, engine: "compiled (amd64, arm64)", limits: c.lower(e.Limits)}
	if c.Native {
		m.engine = "native code, if there is any"
	}
	state, err := largest(e, cases)
	if err != nil {
		return m, err
	}
	h, err := c.host(s)
	if err != nil {
		return m, err
	}
	if h.Cache, err = os.MkdirTemp("", "tranquil-bench-"); err != nil {
		return m, fmt.Errorf("cannot make room for the benchmark: %w", err)
	}
	defer os.RemoveAll(h.Cache)
	progress(0, 0, 1)
	begin := time.Now()
	if err := h.Compile(s.ctx, e.Module); err != nil {
		return m, err
	}
	m.compile = time.Since(begin)
	if m.compiled, err = transformtest.Bench(s.ctx, h, e, state, c.Size<<10, func(done, total int64) { progress(0, done, total) }); err != nil {
		return m, err
	}
	slow := &host.Host{Cache: h.Cache, Ceiling: h.Ceiling, Interpret: true}
	m.interpreted, err = transformtest.Bench(s.ctx, slow, e, state, c.Size<<6, func(done, total int64) { progress(1, done, total) })
	return m, err
}

// largest returns the example with most of what an edge is about.
func largest(e transformtest.Edge, cases []transformtest.Case) (transformtest.State, error) {
	var found transformtest.State
	var most int64
	there := false
	for _, c := range cases {
		state := c.States[e.From]
		there = there || state != nil
		if size := e.Size(state); c.Refused == "" && size > most {
			found, most = state, size
		}
	}
	switch {
	case found != nil:
		return found, nil
	case there && len(e.Files) > 0:
		return nil, fmt.Errorf("transform %d → %d: no example that is accepted has anything in a file like %s, so there is nothing to measure", e.From, e.To, quoted(e.Files))
	case there:
		return nil, fmt.Errorf("transform %d → %d: no example that is accepted has anything in its files, so there is nothing to measure", e.From, e.To)
	}
	return nil, fmt.Errorf("transform %d → %d: there is no example of schema %d to measure with: put the files of such a state into testdata/NAME/%d", e.From, e.To, e.From, e.From)
}

func quoted(patterns []string) string {
	var b strings.Builder
	for i, p := range patterns {
		if i > 0 {
			b.WriteString(" or ")
		}
		fmt.Fprintf(&b, "%q", p)
	}
	return b.String()
}

func (m measurement) print(out io.Writer, budget time.Duration) error {
	fmt.Fprintf(out, "%d → %d, measured with %s, interpreted with %s\n",
		m.edge.From, m.edge.To, amount(m.compiled.Input), amount(m.interpreted.Input))
	if m.compiled.Small != "" {
		fmt.Fprintf(out, "(no larger file could be measured, so %s: %s)\n", m.says(), m.compiled.Small)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\tMB/s\tmemory of %s\tstart\t10 MB take\tin one run of %v", amount(m.limits.Memory), m.time())
	if budget > 0 {
		fmt.Fprintf(w, "\tin the downtime of %v", budget)
	}
	fmt.Fprintln(w)
	arm := m.interpreted
	arm.CPU *= armSlower
	arm.Start *= armSlower
	m.row(w, m.engine, m.compiled, budget)
	m.row(w, "interpreted", m.interpreted, budget)
	m.row(w, "ARMv7, estimated", arm, budget)
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "compiling takes %v, once, before the downtime; of the state only what changed since the rehearsal counts\n\n",
		m.compile.Round(time.Millisecond))
	return nil
}

// time is how long one run may take.
func (m measurement) time() time.Duration { return min(m.limits.CPU, m.limits.Wall) }

// leastInput is below what a rate would be that of the start.
const leastInput = 64 << 10

// says what can be told of the rates if no larger file could be measured.
func (m measurement) says() string {
	if m.compiled.Input < leastInput {
		return "there are no rates"
	}
	return "the rates mean little"
}

func (m measurement) row(w io.Writer, name string, r transformtest.Rate, budget time.Duration) {
	rate := []string{fmt.Sprintf("%.3g", r.PerSecond()/1e6), brief(r.Per(10e6)), within(r, m.time()), within(r, budget-r.Start)}
	if m.compiled.Small != "" && m.compiled.Input < leastInput {
		rate = []string{"?", "?", "?", "?"}
	}
	fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s", name, rate[0], amount(r.Memory), brief(r.Start), rate[1], rate[2])
	if budget > 0 {
		fmt.Fprintf(w, "\t%s", rate[3])
	}
	fmt.Fprintln(w)
}

// within says how much is transformed in a time, once the sandbox has started.
func within(r transformtest.Rate, time time.Duration) string {
	if time <= 0 {
		return "nothing: too short for the start"
	}
	return amount(int64(time.Seconds() * r.PerSecond()))
}

// brief rounds a duration to what matters of it.
func brief(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
