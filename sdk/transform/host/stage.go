package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/space"
)

// A stage is one step of a run: it makes a directory from a directory.
type stage struct {
	*run
	Step
	module module
	index  int
	last   bool   // its result must be durable
	only   []File // the files to look at; nil: all
	memo   string // directory of the result made before, with its indexes beside it; "": there is none

	old     *os.Root // memo
	pieced  []*split // files that were made of pieces
	tried   bool     // whether the split holds
	keyed   string   // see key
	crew    crew
	judging sync.Mutex
	judge   *worker // nil until there is something to hold against the schema

	entries []entry // of the input
	in, out *os.Root
	total   int64 // bytes the module will read
	read    int64 // bytes it has read
	shown   int64 // as progress
}

// apply makes the directory to from the directory from, and returns it.
func (s *stage) apply(ctx context.Context, from, to string) (string, error) {
	if err := os.Mkdir(to, 0o700); err != nil {
		return "", err
	}
	var err error
	if s.in, err = os.OpenRoot(from); err != nil {
		return "", fmt.Errorf("cannot read state: %w", err)
	}
	defer s.in.Close()
	if s.out, err = os.OpenRoot(to); err != nil {
		return "", err
	}
	defer s.out.Close()
	defer s.dismiss()
	if s.memo != "" {
		if s.old, err = os.OpenRoot(s.memo); err != nil {
			return "", err
		}
		defer s.old.Close()
	}
	if s.only == nil {
		s.entries, err = s.listAtRest(ctx, from)
	} else {
		s.entries, err = pick(s.in, s.only)
	}
	if err != nil {
		return "", err
	}
	if s.Mode == Tree {
		err = s.tree(ctx)
	} else {
		err = s.filter(ctx)
	}
	return to, err
}

// listAtRest lists a whole state, in which no journal may be waiting.
func (s *stage) listAtRest(ctx context.Context, dir string) ([]entry, error) {
	entries, err := list(ctx, s.in)
	switch {
	case errors.Is(err, errSpecial) && s.Mode == Tree:
		return nil, fmt.Errorf("%w: a transform in tree mode cannot carry it; remove it from the state, or use mode filter", err)
	case errors.Is(err, errSpecial):
		return nil, fmt.Errorf("%w: remove it from the state; on a device a filter leaves symbolic links as they are", err)
	case err != nil:
		return nil, err
	}
	for _, e := range entries {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if e.regular() {
			if err := s.CheckJournal(dir, e.path); err != nil {
				return nil, err
			}
		}
	}
	return entries, nil
}

// checkCarried asks [Step.CheckCarried] about the files of a whole state.
func (s *stage) checkCarried(in, out string) error {
	for _, e := range s.entries {
		if e.regular() {
			if err := s.CheckCarried(in, out, e.path); err != nil {
				return err
			}
		}
	}
	return nil
}

// openFiles is how many split files are worked on at a time: each needs three
// of the few files that a process may have open.
const openFiles = 64

// filter runs the module over each file that the step is about, and copies the rest.
func (s *stage) filter(ctx context.Context) (err error) {
	if err := s.makeDirs(ctx); err != nil {
		return err
	}
	defer func() { s.crew.dismiss(s, err == nil) }()
	var touched []entry
	for _, e := range s.entries {
		if e.regular() && s.touches(e) {
			touched = append(touched, e)
			s.total += e.size
		}
	}
	s.crew.more = len(touched) > openFiles
	b := batch{stage: s, tasks: s.samples(touched)}
	defer b.close()
	for _, e := range s.entries {
		if err := b.add(ctx, e); err != nil {
			return err
		}
		if len(b.splits) == openFiles {
			if err := b.run(ctx); err != nil {
				return err
			}
		}
	}
	if err := b.run(ctx); err != nil {
		return err
	}
	return finishDirs(ctx, s.out, s.entries, s.last)
}

// A batch is some files of a stage.
type batch struct {
	*stage
	tasks  []task
	splits []*split
}

// add notes what a file needs, or copies it.
func (b *batch) add(ctx context.Context, e entry) error {
	switch {
	case !e.regular():
	case b.touches(e) && b.stage.splits(e):
		p, err := b.cut(ctx, e)
		if err != nil {
			return err
		}
		b.splits = append(b.splits, p)
		b.tasks = append(b.tasks, b.stage.tasks(p)...)
	case b.touches(e):
		b.tasks = append(b.tasks, task{entry: e})
	default:
		b.report.Carried++
		return b.copyFile(ctx, e)
	}
	return nil
}

// run does what was noted.
func (b *batch) run(ctx context.Context) error {
	if err := b.parallel(ctx, b.tasks); err != nil {
		return err
	}
	for _, p := range b.splits {
		if err := errors.Join(p.steady(), b.assemble(ctx, p)); err != nil {
			return b.name(err, p.path)
		}
		b.report.Transformed++
		b.report.Kept += len(p.pieces) - p.todo
	}
	b.pieced = append(b.pieced, b.splits...)
	b.close()
	b.tasks, b.splits = nil, nil
	return nil
}

func (b *batch) close() {
	for _, p := range b.splits {
		p.close()
	}
}

// touches reports whether the module is to run on a file. A stage without a
// module copies.
func (s *stage) touches(e entry) bool { return s.module.path != "" && s.matches(e.path) }

// A task is a file, or a piece of one.
type task struct {
	entry
	split  *split
	piece  int
	sample bool // of whether the split holds
}

// tasks are the pieces of a file that have to be transformed.
func (s *stage) tasks(p *split) []task {
	var all []task
	for i, q := range p.pieces {
		if !q.known {
			all = append(all, task{entry: p.entry, split: p, piece: i})
		} else {
			s.read += q.Size
		}
	}
	return all
}

// size is how many bytes the module will read, or a little more.
func (t task) size() int64 {
	if t.split != nil {
		return t.split.pieces[t.piece].Size
	}
	return t.entry.size
}

// One more sandbox is worth its start for so much.
const (
	worthFiles = 16
	worthBytes = 2 << 20
)

// sandboxes returns how many are to share the tasks: also those that wait, which
// cost no start.
func (s *stage) sandboxes(tasks []task) int {
	var bytes int64
	for _, t := range tasks {
		if !t.sample {
			bytes += t.size()
		}
	}
	worth := 1 + len(tasks)/worthFiles + int(bytes/worthBytes)
	return min(len(tasks), runtime.GOMAXPROCS(0), max(worth, s.host.lounge.seated(s.module)))
}

// parallel lets a sandbox per processor work through the files. The first
// error stops all.
func (s *stage) parallel(ctx context.Context, tasks []task) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan task, len(tasks))
	for _, e := range tasks {
		queue <- e
	}
	close(queue)
	var group sync.WaitGroup
	for i := range s.sandboxes(tasks) {
		// One after the other: the first one fills the cache for the rest.
		w, err := s.crew.worker(ctx, s, i, len(tasks))
		if err != nil {
			cancel(err)
			break
		}
		group.Go(func() {
			if err := s.drain(ctx, w, queue); err != nil {
				cancel(err)
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// A crew are the sandboxes of a stage, from one batch to the next.
type crew struct {
	more    bool // there will be more than one batch
	workers []*worker
}

// worker returns the sandbox with a number, for some runs of the module.
func (c *crew) worker(ctx context.Context, s *stage, i, jobs int) (*worker, error) {
	if i < len(c.workers) && c.workers[i].left >= jobs {
		c.workers[i].left -= jobs
		return c.workers[i], nil
	}
	enough := jobs
	if c.more {
		enough = max(jobs, readyJobs)
	}
	w, err := s.host.worker(ctx, s.module, enough)
	if err != nil {
		return nil, err
	}
	if i == len(c.workers) {
		c.workers = append(c.workers, nil)
	} else {
		c.workers[i].close()
	}
	c.workers[i] = w
	w.left -= jobs
	return w, nil
}

// dismiss lets all sandboxes leave.
func (c *crew) dismiss(s *stage, well bool) {
	for _, w := range c.workers {
		s.host.leave(s.module, w, well)
	}
}

// drain lets one sandbox take tasks until there are none.
func (s *stage) drain(ctx context.Context, w *worker, queue <-chan task) error {
	b, err := s.newBench()
	if err != nil {
		return err
	}
	defer b.close()
	for t := range queue {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		switch {
		case t.sample:
			err = s.try(ctx, w, b, t.entry)
		case t.split != nil:
			err = s.piece(ctx, w, b, t.split, t.piece)
		default:
			err = s.file(ctx, w, t.entry)
		}
		if err != nil {
			return s.name(err, t.path)
		}
	}
	return nil
}

// file transforms one file.
func (s *stage) file(ctx context.Context, w *worker, e entry) error {
	in, err := s.in.Open(e.path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := create(s.out, e.path)
	if err != nil {
		return err
	}
	defer out.Close() // again, after finish
	if err := s.whole(ctx, w, in, out, e.path, e.size); err != nil {
		return err
	}
	if err := validate(ctx, s.Format, out); err != nil {
		return err
	}
	if err := s.hold(ctx, out, e.path); err != nil {
		return err
	}
	return finish(out, e.mode, s.last)
}

// whole is transform for what is no piece: then nothing is too little.
func (s *stage) whole(ctx context.Context, w *worker, in, out *os.File, file string, size int64) error {
	if err := s.transform(ctx, w, in, out, file, size); err != nil {
		return err
	}
	written, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if size > 0 && written == 0 {
		return &Error{Class: Invalid, Reason: "it ended well but wrote nothing"}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Transformed++
	return nil
}

// transform runs the module once, from in to out, which are at their start,
// and checks what holds for every format. The module must have read all of in:
// the sandbox reads through the same file offset.
func (s *stage) transform(ctx context.Context, w *worker, in, out *os.File, file string, size int64) error {
	before := w.cpuTime()
	result, log, err := s.execute(ctx, w, in, out, file, size)
	if err != nil {
		return err
	}
	cpu := max(w.cpuTime()-before, 0) // it may have ended
	s.tell(file, log)
	if result.Class == "" && cpu > s.module.limits.CPU { // between two looks at it
		result = outcome{Class: Deadline, Reason: fmt.Sprintf("more than %v of CPU time", s.module.limits.CPU)}
	}
	if result.Class != "" {
		return s.memoryHint(failure(result, log))
	}
	read, err := in.Seek(0, io.SeekCurrent)
	if err != nil {
		return err
	}
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if info.Size() < size {
		return errors.New("the state changed while it was read: it has become shorter")
	}
	read = min(read, info.Size()) // the sandbox's word
	written, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	// A reader of tar may stop at the first of two closing blocks.
	if rest := size - read; rest > 0 && (s.Mode != Tree || rest > 1024) {
		return &Error{Class: Invalid, Reason: fmt.Sprintf("it ended well but left %d of %d bytes of its input unread", rest, size), Log: log}
	}
	s.count(read, written, result, cpu)
	return nil
}

// execute runs the module once and returns its outcome and its log.
func (s *stage) execute(ctx context.Context, w *worker, in, out *os.File, file string, size int64) (outcome, string, error) {
	env, err := s.env(file)
	if err != nil {
		return outcome{}, "", err
	}
	limit := s.module.limits.output(size)
	room, release, err := s.host.ledger.promise(ctx, s.work, s.host.Reserve, space.Room{Bytes: limit, Files: 1})
	if err != nil {
		return outcome{}, "", err
	}
	defer release()
	if room.Bytes == 0 || room.Files == 0 {
		return outcome{}, "", s.full()
	}
	log := &excerpt{limit: int(s.module.limits.Log)}
	stderr, err := newDrain(func(r io.Reader) { _, _ = io.Copy(log, r) }) // a broken pipe ends the log, no more
	if err != nil {
		return outcome{}, "", err
	}
	var spoilt outcome
	stdout, err := newDrain(func(r io.Reader) {
		if spoilt = store(out, r, room.Bytes); spoilt.Class != "" {
			w.cmd.Process.Kill() // what it says then does not count
		}
	})
	if err != nil {
		stderr.end()
		return outcome{}, "", err
	}
	result, err := w.call(ctx, job{Args: s.args(file), Env: env, Output: room.Bytes},
		[]*os.File{in, stdout.into, stderr.into}, budget{s.module.limits.Wall, s.module.limits.CPU}, func() { s.tick(in) })
	if err != nil || result.Class == Deadline {
		w.close() // it still runs, and writes
	}
	stdout.end()
	stderr.end()
	if spoilt.Class != "" {
		result = spoilt
	}
	if result.Class == OutputLimit && room.Bytes < limit {
		result.Class, result.Reason = ResourceLimit, s.full().Reason
	}
	return result, withoutTrace(log.String()), err
}

// failure makes an outcome an error, with the line of the log that says why.
func failure(result outcome, log string) *Error {
	e := &Error{Class: result.Class, Code: result.Code, Reason: result.Reason, Log: log}
	if result.Class == Exit || result.Class == Refused {
		e.explain(log)
	}
	if result.Note != "" && e.Class != ResourceLimit {
		e.Reason = strings.TrimSpace(fmt.Sprintf("%s (%s)", e.Reason, result.Note))
	}
	return e
}

// explain takes the reason of an exit from the log.
func (e *Error) explain(log string) {
	lines := strings.Split(log, "\n")
	e.Reason = strings.TrimPrefix(firstLine(lines[len(lines)-1]), string(Refused)+": ") // the class says that
	for _, line := range lines {
		// A Go program that crashes exits with 2 as well.
		if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
			e.Class, e.Reason = Exit, firstLine(line)
			if strings.Contains(line, outOfMemory) || strings.Contains(line, "cannot allocate memory") {
				e.Class = ResourceLimit
			}
			break
		}
	}
}

// outOfMemory is the reason of a module that has met its limit of memory.
const outOfMemory = "out of memory"

// memoryHint tells of a module that had too little memory what there was, and
// who can give more.
func (s *stage) memoryHint(e *Error) *Error {
	if e.Class != ResourceLimit || !strings.Contains(e.Reason, outOfMemory) {
		return e
	}
	who := "grant transforms more"
	if own := s.Limits.Memory; own > 0 && own <= s.module.limits.Memory {
		who = "raise memory in the limits of the transform"
	}
	e.Reason = fmt.Sprintf("%s: the limit is %s, %s", e.Reason, mebibytes(s.module.limits.Memory), who)
	return e
}

func (s *stage) unchecked(file string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Unchecked = append(s.report.Unchecked, file)
}

// count adds a finished run of the module to the report and the progress.
func (s *stage) count(read, written int64, result outcome, cpu time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.In += read
	s.report.Out += written
	s.report.Memory = max(s.report.Memory, result.Memory)
	s.report.Native = s.report.Native || result.Native
	s.report.CPU = max(s.report.CPU, cpu)
	s.report.TotalCPU += cpu
	s.read += read
	s.show(s.read)
}

// tick shows how far the module is in the file it reads.
func (s *stage) tick(in *os.File) {
	read, err := in.Seek(0, io.SeekCurrent)
	if err != nil {
		return // a look that failed is no reason to stop
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.show(s.read + min(read, s.total)) // the offset is the sandbox's word
}

// show reports progress, which never goes back: of several sandboxes each adds but
// its own file to what is done. Every step counts as much as this one.
func (s *stage) show(read int64) {
	if s.progress == nil || s.total == 0 {
		return
	}
	s.shown = max(s.shown, min(read, s.total))
	s.progress(int64(s.index)*s.total+s.shown, int64(s.steps)*s.total)
}
