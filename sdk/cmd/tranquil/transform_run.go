package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/replica"
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
	report, err := c.transform(s, state, out, work)
	if err != nil {
		return c.advise(single, withLog(err))
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

// transform makes the new state. A filter leaves symbolic links as they are, of
// which the sandbox knows nothing.
func (c *transformRunCmd) transform(s *session, state, out, work string) (host.Report, error) {
	h, err := c.host(s)
	if err != nil {
		return host.Report{}, err
	}
	links, err := c.links(state)
	if err != nil {
		return host.Report{}, err
	}
	if len(links) > 0 {
		plain := filepath.Join(work, "old")
		if err := copyPlain(s.ctx, state, plain); err != nil {
			return host.Report{}, fmt.Errorf("cannot read state: %w", err)
		}
		state = plain
	}
	bar := s.bar("transform")
	report, err := h.Run(s.ctx, []host.Step{c.step()}, state, out, bar.show)
	bar.clear()
	for name, target := range links {
		if err == nil {
			err = os.Symlink(target, filepath.Join(out, name))
		}
	}
	return report, err
}

func (c *transformRunCmd) step() host.Step {
	return host.Step{Module: c.Module, From: c.From, To: c.To, Mode: c.Mode, Files: c.Only, Format: c.Format, Split: c.Split, Params: c.Param}
}

// links returns the targets of the symbolic links in a state that a filter is for.
func (c *transformRunCmd) links(state string) (map[string]string, error) {
	links := map[string]string{}
	if c.Mode == host.Tree {
		return links, nil
	}
	err := filepath.WalkDir(state, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || entry.Type().IsRegular() || path == state {
			return err
		}
		if entry.Type() != fs.ModeSymlink {
			return fmt.Errorf("cannot read state: %s is neither a file nor a directory nor a symbolic link", path)
		}
		name, err := filepath.Rel(state, path)
		if err == nil {
			links[name], err = os.Readlink(path)
		}
		return err
	})
	return links, err
}

// copyPlain copies the directories and files of a state.
func copyPlain(ctx context.Context, from, to string) error {
	root, err := filepath.EvalSymlinks(from)
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		case entry.Type().IsRegular():
			return replica.Copy(ctx, path, filepath.Join(to, name))
		}
		return nil
	})
}

// advise adds what whoever has forgotten --mode tree looks for.
func (c *transformRunCmd) advise(single bool, err error) error {
	failed, ok := errors.AsType[*host.Error](err)
	if single || c.Mode == host.Tree || len(c.Only) > 0 || !ok || failed.Class != host.Exit && failed.Class != host.Refused {
		return err
	}
	return fmt.Errorf("%w\n(it was given one file at a time; if it is for the whole state, say --mode tree; if for some files, --only PATTERN)", err)
}

// readymade lets a ready-made transform be named rather than its module.
func (c *transformRunCmd) readymade() error {
	known, named := readymades[c.Module]
	_, err := os.Stat(c.Module)
	if err == nil || !named && strings.ContainsAny(c.Module, "./") {
		return nil
	}
	if !named {
		return fmt.Errorf("there is no file %s, and it is none of the ready-made %s", c.Module, strings.Join(slices.Sorted(maps.Keys(readymades)), ", "))
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
		return false, c.outside()
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

// outside refuses to remove a directory with the input in it, and to make one in
// the input.
func (c *transformRunCmd) outside() error {
	in, errIn := filepath.Abs(c.Input)
	out, errOut := filepath.Abs(c.Output)
	if strings.HasPrefix(in, out+string(filepath.Separator)) {
		return fmt.Errorf("%s is not replaced, since the input is in it", c.Output)
	}
	if strings.HasPrefix(out, in+string(filepath.Separator)) {
		return fmt.Errorf("%s would be a part of the input: name another output", c.Output)
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
		if err := c.closed(); err != nil {
			return "", false, err
		}
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

// closed refuses a database that is in use: a part of it is in the files beside it.
func (c *transformRunCmd) closed() error {
	step := c.step()
	step.Files = nil // it is one file, whatever its name
	dir, name := filepath.Split(c.Input)
	for _, suffix := range []string{"-wal", "-journal"} {
		if _, err := os.Lstat(c.Input + suffix); err != nil {
			continue
		}
		if err := step.CheckJournal(dir, name+suffix); err != nil {
			return err
		}
	}
	return nil
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
	out := s.out
	if l, is := out.(legible); is { // the file as it is
		out = l.Writer
	}
	_, err = io.Copy(out, f)
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
