package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/transforms/native"
)

type transformRunCmd struct {
	Module string `arg:"" help:"Wasm module, or the name of a ready-made transform: jq, jsonpatch, rename, sqlite, identity."`
	Input  string `arg:"" optional:"" help:"File, or directory that holds a whole state (default: one file on stdin)."`
	Output string `arg:"" optional:"" help:"File or directory to make (default: stdout, for one file)."`

	From   int               `default:"1" help:"Schema of the state."`
	To     int               `default:"2" help:"Schema to transform it to."`
	Mode   string            `enum:"filter,tree" default:"filter" help:"filter: file by file; tree: the whole state at once."`
	Only   []string          `help:"Patterns of the files that a filter is for (default: all)."`
	Format string            `default:"bytes" help:"Format of the result: json, ndjson, sqlite, tar or bytes."`
	Split  string            `enum:",lines" default:"" help:"lines: each line is transformed by itself, so files may be cut between lines, as the package's edge says."`
	Param  map[string]string `short:"p" placeholder:"NAME=VALUE" mapsep:"none" help:"Param for the module; may be given several times."`
	File   string            `default:"state" help:"Path in the state of a single file, as the module sees it."`
	Force  bool              `short:"f" help:"Replace the output if it is there."`
	Quiet  bool              `short:"q" help:"Do not show what was used of the limits."`

	runner
}

func (c *transformRunCmd) Run(s *session) error {
	if err := c.readymade(); err != nil {
		return err
	}
	h, err := c.host(s)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "tranquil-transform-")
	if err != nil {
		return fmt.Errorf("cannot make room for the state: %w", err)
	}
	defer os.RemoveAll(work)
	state, single, err := c.state(s, work)
	if err != nil {
		return err
	}
	there, err := c.occupied(single)
	if err != nil {
		return err
	}
	out := filepath.Join(work, "new")
	if !single {
		out = c.Output
	}
	if !single && there {
		out = c.Output + suffixNew
	}
	step := host.Step{Module: c.Module, From: c.From, To: c.To, Mode: c.Mode, Files: c.Only, Format: c.Format, Split: c.Split, Params: c.Param}
	bar := s.bar("transform")
	report, err := h.Run(s.ctx, []host.Step{step}, state, out, bar.show)
	bar.clear()
	if err != nil {
		return withLog(err)
	}
	if single {
		if err := c.deliver(s, filepath.Join(out, filepath.FromSlash(c.File))); err != nil {
			return err
		}
	} else if there {
		if err := errors.Join(os.RemoveAll(c.Output), os.Rename(out, c.Output)); err != nil {
			return fmt.Errorf("cannot replace %s: %w; the new state is in %s", c.Output, err, out)
		}
	}
	if c.Quiet {
		return nil
	}
	return c.usage(s.err, report)
}

// readymade lets a ready-made transform be named rather than its module.
func (c *transformRunCmd) readymade() error {
	known, named := readymades[c.Module]
	if _, err := os.Stat(c.Module); !named || err == nil {
		return nil
	}
	if err := native.Check(c.Module, c.Param); err != nil {
		return err
	}
	if known.mode != "" {
		c.Mode = known.mode
	}
	if len(known.formats) > 0 && c.Format == pack.FormatBytes {
		c.Format = known.formats[0]
	}
	var err error
	c.Module, err = findModule(c.Module)
	return err
}

// suffixNew is of what takes the place of an output when it is whole.
const suffixNew = ".new"

// occupied reports whether the output is there and shall be replaced, and
// refuses one that must not be.
func (c *transformRunCmd) occupied(single bool) (bool, error) {
	if c.Output == "" || c.Output == "-" {
		return false, nil
	}
	info, err := os.Lstat(c.Output)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	kind, isOne := "directory", info.IsDir()
	if single {
		kind, isOne = "file", info.Mode().IsRegular()
	}
	if !isOne {
		return false, fmt.Errorf("%s is there already and is no %s: name another output", c.Output, kind)
	}
	if c.Force {
		return true, c.outside()
	}
	if entries, err := os.ReadDir(c.Output); err == nil && len(entries) == 0 {
		return false, nil
	}
	return false, fmt.Errorf("%s is there already: --force replaces it", c.Output)
}

// outside refuses to remove a directory with the input in it.
func (c *transformRunCmd) outside() error {
	in, errIn := filepath.Abs(c.Input)
	out, errOut := filepath.Abs(c.Output)
	if strings.HasPrefix(in, out+string(filepath.Separator)) {
		return fmt.Errorf("%s is not replaced, since the input is in it", c.Output)
	}
	return errors.Join(errIn, errOut)
}

// state returns the directory to transform, and whether it was made for one file.
func (c *transformRunCmd) state(s *session, work string) (dir string, single bool, err error) {
	in := s.in
	if c.Input != "" && c.Input != "-" {
		info, err := os.Stat(c.Input)
		if err != nil {
			return "", false, fmt.Errorf("cannot read state: %w", err)
		}
		if info.IsDir() {
			if c.Output == "" {
				return "", false, errors.New("name the directory for the new state as well")
			}
			return c.Input, false, nil
		}
		f, err := os.Open(c.Input)
		if err != nil {
			return "", false, fmt.Errorf("cannot read state: %w", err)
		}
		defer f.Close()
		in = f
	}
	if !filepath.IsLocal(c.File) {
		return "", false, fmt.Errorf("--file %s leads out of the state", c.File)
	}
	dir = filepath.Join(work, "old")
	path := filepath.Join(dir, filepath.FromSlash(c.File))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", false, err
	}
	return dir, true, writeFrom(path, in)
}

// deliver hands out the result of a single file.
func (c *transformRunCmd) deliver(s *session, path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the new state has no file %s: give directories to see what it has", c.File)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if c.Output != "" && c.Output != "-" {
		next := c.Output + suffixNew
		if err := writeFrom(next, f); err != nil {
			return err
		}
		return os.Rename(next, c.Output)
	}
	_, err = io.Copy(s.out, f)
	return err
}

func writeFrom(path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// usage shows what the run took of what it was given.
func (c *transformRunCmd) usage(out io.Writer, r host.Report) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name string, used, limit any) { fmt.Fprintf(w, "%s\t%v\tof %v\n", name, used, limit) }
	output := "twice the input and 16 MiB"
	if c.sandbox.Output > 0 {
		output = amount(c.sandbox.Output << 20)
	}
	fmt.Fprintf(w, "files\t%d transformed\t%d taken over\n", r.Transformed, r.Carried)
	fmt.Fprintf(w, "read\t%s\n", amount(r.In))
	row("written", amount(r.Out), output)
	if r.Native {
		fmt.Fprintf(w, "memory\t%s\tof native code: as Wasm it may be more than %s\n", amount(r.Memory), amount(c.Memory<<20))
	} else {
		row("memory", amount(r.Memory), amount(c.Memory<<20))
	}
	row("CPU time", r.CPU.Round(time.Millisecond), c.CPU)
	for _, file := range r.Unchecked {
		fmt.Fprintf(w, "WARNING\t%s is too large for SQLite's integrity check: only its format was checked\n", file)
	}
	row("time", fmt.Sprintf("%v with the start", r.Wall.Round(time.Millisecond)), c.Wall)
	return w.Flush()
}

// withLog adds what the module wrote to its log to the one line of the error.
func withLog(err error) error {
	e, ok := errors.AsType[*host.Error](err)
	if !ok || e.MoreLog() == "" {
		return err
	}
	return fmt.Errorf("%w\nits log:\n%s", err, e.MoreLog())
}
