package service

import (
	"bytes"
	"context"
	"io"
	"os"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
)

// A Runner keeps a component running once it was started, whatever becomes of
// the updater. A driver that is none has [Supervised] do it.
type Runner interface {
	// Find returns how the component runs, if it does.
	Find(ctx context.Context, h Home) (status supervisor.Status, runs bool, err error)
	// Start returns when the component's process was started.
	Start(ctx context.Context, h Home, v Version, spec supervisor.Spec) error
	// Stop returns when nothing of the component is left: politely until grace
	// has passed, then by force. asked, unless it is nil, is called once the
	// component has been asked.
	Stop(ctx context.Context, h Home, grace time.Duration, asked func() error) (forced bool, err error)
	// LastLines returns what the component printed last, since it was started; "" if
	// nobody knows, see [Home.Begun].
	LastLines(h Home) string
}

// A Preparer is a runner that needs something for each version.
type Preparer interface {
	// Prepare does what a start then need not wait for.
	Prepare(ctx context.Context, h Home, v Version, spec supervisor.Spec) error
	// Forget removes what was prepared for a version, by its id.
	Forget(ctx context.Context, h Home, id string) error
}

func (h Home) runner() Runner {
	if r, is := h.driver.(Runner); is {
		return r
	}
	return Supervised{}
}

func (h Home) prepare(ctx context.Context, v Version) error {
	p, is := h.driver.(Preparer)
	if !is {
		return nil
	}
	spec, err := h.spec(v)
	if err != nil {
		return err
	}
	return p.Prepare(ctx, h, v, spec)
}

func (h Home) forget(ctx context.Context, id string) error {
	p, is := h.driver.(Preparer)
	if !is {
		return nil
	}
	return p.Forget(ctx, h, id)
}

// Supervised runs components below a supervisor of our own: see package supervisor.
type Supervised struct{}

// SuperviseArg is the first argument of the updater's own program when it is
// to be a supervisor; the second is the directory for supervisor.Run.
const SuperviseArg = "supervise"

const (
	logSize = 1 << 20 // bytes of a log file
	logKeep = 4       // older ones
)

// Find asks the supervisor.
func (Supervised) Find(ctx context.Context, h Home) (status supervisor.Status, runs bool, err error) {
	p, err := supervisor.Find(ctx, h.Run())
	if err != nil || p == nil {
		return status, false, err
	}
	defer p.Close()
	return p.Status, true, nil
}

// Start starts a supervisor.
func (Supervised) Start(ctx context.Context, h Home, _ Version, spec supervisor.Spec) error {
	return supervisor.Start(ctx, []string{SuperviseArg}, h.Run(), spec)
}

// Stop ends the supervisor, and what a killed one has left.
func (Supervised) Stop(ctx context.Context, h Home, grace time.Duration, asked func() error) (forced bool, err error) {
	return supervisor.Stop(ctx, h.Run(), h.mark(), grace, asked)
}

// LastLines returns the end of the component's log.
func (Supervised) LastLines(h Home) string {
	const lines, size = 5, 1 << 10
	file, err := os.Open(h.logFile())
	if err != nil {
		return ""
	}
	defer file.Close()
	from := h.printedBefore()
	if info, err := file.Stat(); err == nil {
		from = max(from, info.Size()-size)
	}
	tail, _ := io.ReadAll(io.NewSectionReader(file, from, size))
	all := bytes.Split(bytes.TrimSpace(tail), []byte("\n"))
	return string(bytes.ToValidUTF8(bytes.Join(all[max(0, len(all)-lines):], []byte("\n")), []byte("?")))
}
