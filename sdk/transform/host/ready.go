package host

import (
	"context"
	"sync"
	"time"
)

// readyFor is how long a sandbox waits for work before it ends.
const readyFor = 15 * time.Minute

// readyJobs is for how many runs of the module a waiting sandbox has CPU time,
// as the kernel counts; the host counts for each run.
const readyJobs = 1000

// A lounge is where sandboxes wait that have compiled a module.
type lounge struct {
	mu      sync.Mutex
	waiting map[module]*guest
}

type guest struct {
	*worker
	end *time.Timer
}

// Ready starts a sandbox for each module of the steps and lets it compile the
// module, so that the next run of a step has to wait for neither. A sandbox
// waits for 15 minutes, or until [Host.Close].
//
// A module that is refused or does not compile is an *[Error].
func (h *Host) Ready(ctx context.Context, steps []Step) error {
	for _, step := range steps {
		if step.Module == "" {
			continue
		}
		m, err := openModule(step.Module, step.Digest)
		if err == nil {
			err = h.ready(ctx, m)
		}
		if err != nil {
			return step.name(err, "")
		}
	}
	return nil
}

func (h *Host) ready(ctx context.Context, m module) error {
	w, err := h.worker(ctx, m, readyJobs)
	if err != nil {
		return err
	}
	l := &h.lounge
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == nil {
		l.waiting = map[module]*guest{}
	}
	if old := l.waiting[m]; old != nil {
		old.close()
	}
	g := &guest{worker: w}
	g.end = time.AfterFunc(readyFor, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.waiting[m] == g {
			delete(l.waiting, m)
			w.close()
		}
	})
	l.waiting[m] = g
	return nil
}

// Close ends the sandboxes that wait. The host can be used on.
func (h *Host) Close() {
	h.lounge.mu.Lock()
	defer h.lounge.mu.Unlock()
	for m, g := range h.lounge.waiting {
		g.end.Stop()
		g.close()
		delete(h.lounge.waiting, m)
	}
}

// worker returns a sandbox for some runs of a module: one that waits, if it
// still lives, or a new one.
func (h *Host) worker(ctx context.Context, m module, jobs int) (*worker, error) {
	if jobs <= readyJobs {
		if w := h.lounge.take(m); w != nil {
			return w, nil
		}
	}
	return h.startWorker(ctx, m, jobs)
}

func (l *lounge) take(m module) *worker {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := l.waiting[m]
	if g == nil {
		return nil
	}
	delete(l.waiting, m)
	g.end.Stop()
	select {
	case <-g.done: // the system has ended it
		g.close()
		return nil
	default:
		return g.worker
	}
}
