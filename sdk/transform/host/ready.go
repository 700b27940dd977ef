package host

import (
	"context"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"
)

// readyFor is how long a sandbox waits for work before it ends.
const readyFor = 15 * time.Minute

// readyJobs is for how many runs of the module a waiting sandbox has CPU time,
// as the kernel counts; the host counts for each run.
const readyJobs = 1000

// readySandboxes is how many wait for a module, if there are as many processors.
// The second halves the time that some small changes take, most of which is the
// begin of each run; more would cost memory, while the component still runs.
const readySandboxes = 2

// readyAtAll is how many wait at a time, of all modules: a chain may have many
// steps, and each that waits costs memory. What does not find a seat has been
// compiled, and starts when it is its turn.
const readyAtAll = 8

// A lounge is where sandboxes wait that have compiled a module.
type lounge struct {
	mu      sync.Mutex
	waiting map[module][]*guest
}

type guest struct {
	*worker
	end *time.Timer
}

// Ready starts sandboxes for each module of the steps and lets them compile the
// module, so that the next run of a step has to wait for neither. A sandbox
// waits for 15 minutes, or until [Host.Close].
//
// A module that is refused or does not compile is an *[Error].
func (h *Host) Ready(ctx context.Context, steps []Step) error {
	for _, step := range steps {
		if step.Module == "" {
			continue
		}
		m, err := h.module(step)
		if err == nil {
			err = h.ready(ctx, m)
		}
		if err != nil {
			return step.name(err, "")
		}
	}
	return nil
}

// ready replaces those that wait. One is enough if there is no room for more.
func (h *Host) ready(ctx context.Context, m module) error {
	var fresh []*worker
	for range min(readySandboxes, runtime.GOMAXPROCS(0)) {
		w, err := h.worker(ctx, m, readyJobs)
		if err != nil && len(fresh) == 0 {
			return err
		}
		if err == nil {
			fresh = append(fresh, w)
		}
	}
	h.lounge.empty(m)
	for _, w := range fresh {
		if !h.lounge.seat(m, w) {
			w.close()
		}
	}
	return nil
}

// seat reports whether there is a seat for one more.
func (l *lounge) seat(m module, w *worker) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := 0
	for _, guests := range l.waiting {
		taken += len(guests)
	}
	if taken >= readyAtAll {
		return false
	}
	if l.waiting == nil {
		l.waiting = map[module][]*guest{}
	}
	g := &guest{worker: w}
	g.end = time.AfterFunc(readyFor, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if at := slices.Index(l.waiting[m], g); at >= 0 {
			l.waiting[m] = slices.Delete(l.waiting[m], at, at+1)
			w.close()
		}
	})
	l.waiting[m] = append(l.waiting[m], g)
	return true
}

// Close ends the sandboxes that wait. The host can be used on.
func (h *Host) Close() {
	h.lounge.mu.Lock()
	modules := slices.Collect(maps.Keys(h.lounge.waiting))
	h.lounge.mu.Unlock()
	for _, m := range modules {
		h.lounge.empty(m)
	}
}

// empty ends the sandboxes that wait for a module.
func (l *lounge) empty(m module) {
	for w := l.take(m, 0); w != nil; w = l.take(m, 0) {
		w.close()
	}
}

// worker returns a sandbox for some runs of a module: one that waits, if it
// still lives, or a new one.
func (h *Host) worker(ctx context.Context, m module, jobs int) (*worker, error) {
	if w := h.lounge.take(m, jobs); w != nil {
		return w, nil
	}
	if h.keeping.Load() > 0 {
		jobs = max(jobs, readyJobs)
	}
	return h.startWorker(ctx, m, jobs)
}

// Keep has sandboxes wait for the next run, as those of [Host.Ready] do, when
// they have ended one well: for many short runs of a few modules. Each run still
// has a memory of its own. Release ends those that wait.
func (h *Host) Keep() (release func()) {
	h.keeping.Add(1)
	return func() {
		h.keeping.Add(-1)
		h.Close()
	}
}

// leave ends a sandbox that has done its work, well or not, unless it is kept.
// Nobody has to wait until the system has cleared away its memory.
func (h *Host) leave(m module, w *worker, well bool) {
	if !well || h.keeping.Load() == 0 || !h.lounge.seat(m, w) {
		go w.close()
	}
}

// seated returns how many sandboxes wait for a module.
func (l *lounge) seated(m module) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.waiting[m])
}

// take returns the first that lives and has time for some runs, nil if there is
// none. It ends those before it.
func (l *lounge) take(m module, jobs int) *worker {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.waiting[m]) > 0 {
		g := l.waiting[m][0]
		l.waiting[m] = l.waiting[m][1:]
		g.end.Stop()
		if g.lives() && g.left >= jobs {
			return g.worker
		}
		g.close()
	}
	delete(l.waiting, m)
	return nil
}
