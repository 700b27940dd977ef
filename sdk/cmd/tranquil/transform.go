package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

type transformCmd struct {
	New   transformNewCmd   `cmd:"" help:"Make a project for a transform, in one of several languages."`
	Check transformCheckCmd `cmd:"" help:"Tell whether a device could run a module, and why not, without running it."`
	Run   transformRunCmd   `cmd:"" help:"Transform a file or a directory, in the sandbox of the device."`
	Test  transformTryCmd   `cmd:"" help:"Test the transforms of a tranquil.toml on examples and variations of them."`
	Bench transformBenchCmd `cmd:"" help:"Measure the transforms of a tranquil.toml, and tell what a device will need."`
}

// A sandbox is where the commands run modules, with the limits of a device.
type sandbox struct {
	Memory  int64         `default:"128" placeholder:"MIB" help:"Limit of linear memory, in MiB, up to 1024."`
	CPU     pack.Duration `default:"1m" help:"Limit of CPU time for one run, 1ms to 24h."`
	Wall    pack.Duration `default:"5m" help:"Limit of time for one run, 1ms to 24h."`
	Output  int64         `placeholder:"MIB" help:"Limit of one result, in MiB (default: twice the input and 16 MiB)."`
	Verbose bool          `short:"v" help:"Show what the module writes to stderr."`
}

// A runner is a sandbox that says what it runs: native code accepts what Wasm
// has no memory for, so an author learns from the module what every device does.
type runner struct {
	sandbox
	Native bool `help:"Use the native code of a ready-made transform, as an agent of this release does."`
}

func (r *runner) host(s *session) (*host.Host, error) {
	h, err := r.sandbox.host(s)
	if err == nil {
		h.Wasm = !r.Native
	}
	return h, err
}

// host returns a host whose compiled modules last from one command to the next.
func (b *sandbox) host(s *session) (*host.Host, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("cannot find a place for compiled modules: %w", err)
	}
	h := &host.Host{
		Cache:   filepath.Join(dir, "tranquil", "transforms"),
		Ceiling: host.Limits{Memory: b.Memory << 20, CPU: time.Duration(b.CPU), Wall: time.Duration(b.Wall), Output: b.Output << 20},
	}
	if b.Verbose {
		h.Log = slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return h, nil
}

// lower returns the limits of one run of an edge.
func (b *sandbox) lower(edge host.Limits) host.Limits {
	l := host.Limits{Memory: b.Memory << 20, CPU: time.Duration(b.CPU), Wall: time.Duration(b.Wall), Output: b.Output << 20}
	if edge.Memory > 0 {
		l.Memory = min(l.Memory, edge.Memory)
	}
	if edge.CPU > 0 {
		l.CPU = min(l.CPU, edge.CPU)
	}
	if edge.Wall > 0 {
		l.Wall = min(l.Wall, edge.Wall)
	}
	return l
}

// Validate refuses what no recipe could say either; kong calls it.
func (b *sandbox) Validate() error {
	given := []string{"memory", "cpu", "wall"}
	if b.Output != 0 {
		given = append(given, "output")
	}
	limits := pack.TransformLimits{Memory: mebibytes(b.Memory), CPU: b.CPU, Wall: b.Wall, Output: mebibytes(b.Output)}
	if err := limits.Check(given...); err != nil {
		return errors.New("--" + strings.ReplaceAll(err.Error(), "\n", "; --"))
	}
	return nil
}

// mebibytes is how many bytes a flag means, or more than any limit may be.
func mebibytes(n int64) int64 {
	if n > math.MaxInt64>>20 || n < math.MinInt64>>20 {
		return n
	}
	return n << 20
}

type transformCheckCmd struct {
	Modules []string `arg:"" name:"module" help:"Wasm modules."`
	Memory  int64    `default:"128" placeholder:"MIB" help:"Memory that the device grants, in MiB, up to 1024: the module must begin with no more."`
}

// Help tells what the check does not.
func (transformCheckCmd) Help() string {
	return `The module is looked at as a device does before it runs one (sdk/transform/ABI.md, section 4) and compiled in the sandbox. ` +
		`It is never run, so whether it is a good transform this does not tell: "tranquil transform run" runs it on a state, ` +
		`"tranquil transform test" on examples, there and back.`
}

// Validate refuses an amount of memory that no device could grant.
func (c *transformCheckCmd) Validate() error {
	return (&sandbox{Memory: c.Memory, CPU: pack.Duration(time.Minute), Wall: pack.Duration(time.Minute)}).Validate()
}

func (c *transformCheckCmd) Run(s *session) error {
	h, err := (&sandbox{Memory: c.Memory}).host(s)
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range c.Modules {
		if err := c.check(s, h, path); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}

func (c *transformCheckCmd) check(s *session, h *host.Host, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("cannot read transform: %w", err)
	}
	begin := time.Now()
	if err := h.Compile(s.ctx, path); err != nil {
		return err
	}
	fmt.Fprintf(s.out, "%s can run on a device: %s, compiled or found in the cache in %v; it was not run\n",
		path, amount(info.Size()), time.Since(begin).Round(time.Millisecond))
	return nil
}
