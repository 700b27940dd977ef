package pluginhost

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

const (
	firstPause = 100 * time.Millisecond // after the second failure in a row
	maxPause   = 30 * time.Second
	healthy    = time.Minute // who lived so long before it died did not fail in a row

	lookEvery = time.Second      // at what its process takes, when it was asked for something or takes more than ever
	lookLast  = 16 * time.Second // and when it does neither, ever less often
)

// A slot is the place of one component type's updater process.
type slot struct {
	host   *Host
	config updater.LaunchConfig
	typ    string
	answer time.Duration // time for a sign of life
	may    updater.Usage // what its process may take

	asked chan struct{} // somebody asks for the updater

	turn     chan struct{} // holds a token while somebody works on the fields below
	client   *updater.Client
	started  time.Time
	failures int // in a row
	last     error
}

func newSlot(h *Host, c Config, o Options) *slot {
	return &slot{
		host: h, config: launchConfig(c, o), typ: c.Type, answer: cmp.Or(c.Answer, defaultAnswer),
		may:   updater.Usage{Memory: cmp.Or(c.Memory, defaultMemory), Files: cmp.Or(c.Files, defaultFiles), Threads: maxThreads},
		asked: make(chan struct{}, 1), turn: make(chan struct{}, 1),
	}
}

// get returns the process that runs, or starts one after the pause that the
// failures so far demand.
func (s *slot) get(ctx context.Context) (*updater.Client, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, retry("cannot wait for updater %s: %w", s.typ, ctx.Err())
	}
	if s.alive() {
		select {
		case s.asked <- struct{}{}:
		default:
		}
		return s.client, nil
	}
	if err := s.pause(ctx); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		s.failures, s.last = s.failures+1, err
		return nil, err
	}
	return s.client, nil
}

// alive reports whether the process runs, and buries it if it has ended.
func (s *slot) alive() bool {
	if s.client == nil {
		return false
	}
	select {
	case <-s.client.Exited():
	default:
		return true
	}
	s.client.Kill()
	why := cmp.Or(s.client.Evicted(), "its process died")
	s.client = nil
	if time.Since(s.started) > healthy {
		s.failures = 0
	}
	s.failures, s.last = s.failures+1, errors.New(why)
	return false
}

// pause waits before a start, so that an updater which dies at once again and
// again does not keep the device busy.
func (s *slot) pause(ctx context.Context) error {
	if s.failures < 2 {
		return nil
	}
	select {
	case <-time.After(pauseAfter(s.failures)):
		return nil
	case <-ctx.Done():
	case <-s.host.ctx.Done():
	}
	return retry("cannot start updater %s yet: it failed %d times in a row, last: %w", s.typ, s.failures, s.last)
}

func pauseAfter(failures int) time.Duration {
	if failures < 2 {
		return 0
	}
	return min(firstPause<<min(failures-2, 20), maxPause)
}

func (s *slot) start(ctx context.Context) error {
	if s.host.ctx.Err() != nil {
		return fmt.Errorf("cannot start updater %s: the agent is ending", s.typ)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.host.ctx, cancel)()
	c, err := updater.Launch(ctx, s.config)
	if err != nil && passing(err) {
		return retry("%w", err)
	}
	if err != nil {
		return err
	}
	if got := c.Capabilities().Type; got != s.typ {
		c.Kill()
		return fmt.Errorf("cannot use updater %s for components of type %q: it is for type %q", s.config.Path, s.typ, got)
	}
	s.config.Logger.Info("updater started", "path", s.config.Path)
	s.client, s.started = c, time.Now()
	s.host.wg.Go(func() { s.supervise(c) })
	return nil
}

// supervise starts the updater anew when it dies, since it may be what keeps
// its components running.
func (s *slot) supervise(c *updater.Client) {
	if !s.watch(c) {
		return
	}
	for s.host.ctx.Err() == nil {
		s.config.Logger.Warn("updater died, starting it again")
		if _, err := s.get(s.host.ctx); err == nil {
			return
		} else if !errors.Is(err, updater.ErrRetry) {
			s.config.Logger.Error("updater cannot be started again", "cause", err)
			return
		}
	}
}

// watch returns true when the process has died, and sees to it that one does
// which takes too much, or is frozen: all that is asked of it would wait until
// its own deadline, which may be hours away. It returns false when the host is closed.
func (s *slot) watch(c *updater.Client) bool {
	pinged, pause, most := time.Now(), lookEvery, updater.Usage{}
	for next := pinged.Add(pause); ; {
		look := time.NewTimer(min(time.Until(next), s.answer-time.Since(pinged)))
		select {
		case <-c.Exited():
			look.Stop()
			return true
		case <-s.host.ctx.Done():
			look.Stop()
			return false
		case <-s.asked:
			look.Stop()
			pause = lookEvery
			if soon := time.Now().Add(pause); soon.Before(next) {
				next = soon
			}
			continue
		case <-look.C:
		}
		u, err := c.Usage() // an error: it has ended
		if why := s.exceeded(u); err == nil && why != "" {
			s.config.Logger.Error("updater takes too much and is killed", "cause", why)
			c.Evict(why)
		}
		if pause = min(4*pause, lookLast); grow(&most, u) {
			pause = lookEvery
		}
		next = time.Now().Add(pause)
		if time.Since(pinged) >= s.answer {
			s.ping(c)
			pinged = time.Now()
		}
	}
}

// grow reports whether a process takes more than ever, and notes that.
func grow(most *updater.Usage, u updater.Usage) bool {
	before := *most
	most.Memory, most.Files, most.Threads = max(most.Memory, u.Memory), max(most.Files, u.Files), max(most.Threads, u.Threads)
	return *most != before
}

// exceeded says what of its limits a process is over.
func (s *slot) exceeded(u updater.Usage) string {
	switch {
	case u.Memory > s.may.Memory:
		return fmt.Sprintf("it has %d bytes in memory, and may have %d", u.Memory, s.may.Memory)
	case u.Files > s.may.Files:
		return fmt.Sprintf("it has %d files open, and may have %d", u.Files, s.may.Files)
	case u.Threads > s.may.Threads:
		return fmt.Sprintf("it has %d threads, and may have %d", u.Threads, s.may.Threads)
	}
	return ""
}

// ping kills a process that gives no sign of life.
func (s *slot) ping(c *updater.Client) {
	ctx, cancel := context.WithTimeout(s.host.ctx, s.answer)
	defer cancel()
	if err := c.Ping(ctx); err != nil && ctx.Err() != nil && s.host.ctx.Err() == nil {
		s.config.Logger.Error("updater is frozen and is killed", "silent", s.answer, "cause", err)
		c.Evict(fmt.Sprintf("it gave no sign of life for %s", s.answer))
	}
}

// close kills the process. The host's context has ended, so none follows.
func (s *slot) close() {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	if s.client != nil {
		s.client.Kill()
		s.client = nil
	}
}

// retry returns an error that wraps updater.ErrRetry besides its own causes.
func retry(format string, args ...any) error {
	return fmt.Errorf("%w (%w)", fmt.Errorf(format, args...), updater.ErrRetry)
}
