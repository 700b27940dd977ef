package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// limits returns the ceiling with its defaults, or what is below it.
func (h *Host) limits(below Limits) Limits {
	l := h.Ceiling
	setDefault(&l.Memory, 128<<20)
	setDefault(&l.CPU, time.Minute)
	setDefault(&l.Wall, 5*time.Minute)
	setDefault(&l.Compile, 2*time.Minute)
	setDefault(&l.Log, 64<<10)
	l.Memory, l.CPU, l.Wall = lower(l.Memory, below.Memory), lower(l.CPU, below.CPU), lower(l.Wall, below.Wall)
	l.Compile, l.Output, l.Log = lower(l.Compile, below.Compile), lower(l.Output, below.Output), lower(l.Log, below.Log)
	return l
}

// lower returns the lower of two limits, of which zero is none.
func lower[T int64 | time.Duration](a, b T) T {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

// output is how much may be made of so many bytes.
func (l Limits) output(size int64) int64 {
	setDefault(&l.Output, 2*size+16<<20)
	return l.Output
}

func tooMuch(limit int64) string { return fmt.Sprintf("more than %d bytes", limit) }

func setDefault[T int64 | time.Duration](v *T, value T) {
	if *v == 0 {
		*v = value
	}
}

func (h *Host) log() *slog.Logger {
	if h.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return h.Log
}

// A module is a file that has passed the static check, with what it may use.
type module struct {
	path   string
	sum    [sha256.Size]byte
	limits Limits
}

// A checked module has passed the static check.
type checked struct {
	digest string // as in [Step]
	memory int64  // bytes that it may have
}

// module checks the module of a step. One that has passed is not read
// again, if the step has a digest: a sandbox has compiled that module, or will
// take no other. To check one takes longer than many a transform.
func (h *Host) module(step Step) (module, error) {
	path, err := filepath.Abs(step.Module) // the sandbox has another working directory
	if err != nil {
		return module{}, err
	}
	limits := h.limits(step.Limits)
	if sum, is := h.checked.Load(checked{step.Digest, limits.Memory}); is {
		return module{path, sum.([sha256.Size]byte), limits}, nil
	}
	data, err := readModule(path, limits.Memory)
	if err != nil {
		return module{}, err
	}
	m := module{path, sha256.Sum256(data), limits}
	if step.Digest == "" {
		return m, nil
	}
	if step.Digest != "sha256:"+hex.EncodeToString(m.sum[:]) {
		return module{}, badModule("its digest is not %s", step.Digest)
	}
	h.checked.Store(checked{step.Digest, limits.Memory}, m.sum)
	return m, nil
}

// Compile checks and compiles a module in a sandbox, so that the next Run
// finds it in the cache and starts at once. On processors for which the engine
// has no compiler it only checks.
func (h *Host) Compile(ctx context.Context, path string) error {
	m, err := h.module(Step{Module: path})
	if err != nil {
		return err
	}
	w, err := h.startWorker(ctx, m, 0)
	if err != nil {
		return err
	}
	w.close()
	return nil
}

// Run applies a chain of steps to the state in the directory in and leaves the
// result in the directory out, which must be empty or missing. out appears
// whole or not at all, durable, and shares no file with in; files that no step
// touches are copied. Permissions are kept, times and owners are not. Links
// and special files are refused. Beside out, a directory out+".work" exists
// meanwhile; leftovers of it are removed.
//
// progress gets the work done and the total, in bytes of input times steps,
// from one goroutine at a time, and may be nil. What a module did wrong is
// returned as *[Error].
func (h *Host) Run(ctx context.Context, steps []Step, in, out string, progress func(done, total int64)) (Report, error) {
	begin := time.Now()
	r := &run{host: h, work: out + ".work", progress: progress, steps: len(steps)}
	if err := replica.RemoveAll(r.work); err != nil {
		return Report{}, fmt.Errorf("cannot clean up before the transform: %w", err)
	}
	if err := os.Remove(out); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Report{}, fmt.Errorf("cannot transform into a directory that is not empty: %w", err)
	}
	defer replica.RemoveAll(r.work)
	result, err := r.chain(ctx, steps, in)
	if err != nil {
		return Report{}, err
	}
	if err := publish(result, out); err != nil {
		return Report{}, fmt.Errorf("cannot finish the transform: %w", err)
	}
	r.report.Wall = time.Since(begin)
	return r.report, nil
}

// A run is one call of Run.
type run struct {
	host     *Host
	work     string // directory for what is under way
	progress func(done, total int64)
	steps    int

	mu     sync.Mutex
	report Report
}

// chain applies the steps one after the other, each to the result of the one
// before, and returns the directory of the last result.
func (r *run) chain(ctx context.Context, steps []Step, in string) (string, error) {
	modules := make([]module, len(steps))
	for i, step := range steps {
		if err := step.check(); err != nil {
			return "", err
		}
		var err error
		if modules[i], err = r.host.module(step); err != nil {
			return "", step.name(err, "")
		}
	}
	if err := os.MkdirAll(r.work, 0o700); err != nil {
		return "", err
	}
	if len(steps) == 0 {
		s := stage{run: r, last: true}
		return s.apply(ctx, in, filepath.Join(r.work, "copy"))
	}
	for i, step := range steps {
		s := stage{run: r, Step: step, module: modules[i], index: i, last: i == len(steps)-1}
		out, err := s.apply(ctx, in, filepath.Join(r.work, strconv.Itoa(i)))
		if err == nil {
			err = s.checkCarried(in, out)
		}
		if err != nil {
			return "", step.name(err, "")
		}
		if i > 0 { // a long chain does not need the room for all at once
			if err := replica.RemoveAll(in); err != nil {
				return "", err
			}
		}
		in = out
	}
	return in, nil
}

// publish makes a complete directory appear as out.
func publish(dir, out string) error {
	if err := move(dir, out); err != nil {
		return err
	}
	return durable.Sync(filepath.Dir(out))
}

// move renames a directory. Only root can move one that it may not write to, so
// the mode of such a one comes last.
func move(dir, out string) error {
	err := os.Rename(dir, out)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return err
	}
	if err := os.Rename(dir, out); err != nil {
		return err
	}
	moved, err := os.Open(out)
	if err != nil {
		return err
	}
	return errors.Join(moved.Chmod(info.Mode().Perm()), moved.Sync(), moved.Close())
}
