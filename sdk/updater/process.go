package updater

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process is an updater's child process, in the form of go-plugin's
// runner.Runner.
type process struct {
	cmd    *exec.Cmd
	log    *logWriter
	stdout *io.PipeReader // go-plugin reads the handshake from it
	exited chan struct{}  // closed when the process has ended
	err    error          // how it ended; read after exited
	dir    string         // where it may make its socket

	mu      sync.Mutex
	started bool
	killed  bool // on purpose
}

func newProcess(cmd *exec.Cmd, log *logWriter) *process {
	return &process{cmd: cmd, log: log, exited: make(chan struct{})}
}

// Start implements runner.Runner. A process killed before does not start.
func (p *process) Start(context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed {
		return os.ErrProcessDone
	}
	stdout, w := io.Pipe()
	p.stdout, p.cmd.Stdout, p.cmd.Stderr = stdout, w, p.log
	// Do not wait for what the process may have given its stderr to.
	p.cmd.WaitDelay = time.Second
	// The process ends when its stdin does. Wait closes our end, and the
	// kernel does if we die.
	if _, err := p.cmd.StdinPipe(); err != nil {
		return err
	}
	ours()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.started = true
	go func() {
		p.err = p.cmd.Wait()
		w.Close()
		p.log.flush()
		close(p.exited)
	}()
	return nil
}

// ours keeps all that is open in this process from the updater, also what others
// have opened: libraries, and who started us.
func ours() {
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return // not Linux, and what Go opens is not passed on anyway
	}
	for _, entry := range open {
		if fd, err := strconv.Atoi(entry.Name()); err == nil && fd > 2 {
			syscall.CloseOnExec(fd)
		}
	}
}

// Kill ends the process and returns when it is gone.
func (p *process) Kill(context.Context) error {
	p.mu.Lock()
	started := p.started
	p.killed = true
	p.mu.Unlock()
	if started {
		p.cmd.Process.Kill() // fails only if it has ended already
		<-p.exited
	}
	return nil
}

// Wait implements runner.Runner. A process that was killed ended well.
func (p *process) Wait(context.Context) error {
	<-p.exited
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed {
		return nil
	}
	return p.err
}

// ID is empty if the process never started: go-plugin then leaves it alone.
func (p *process) ID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.started {
		return ""
	}
	return strconv.Itoa(p.cmd.Process.Pid)
}

func (p *process) Name() string          { return p.cmd.Path }
func (p *process) Stdout() io.ReadCloser { return p.stdout }

// Stderr is empty, since logWriter reads it.
func (p *process) Stderr() io.ReadCloser { return io.NopCloser(strings.NewReader("")) }

func (p *process) Diagnose(context.Context) string { return "" }

// PluginToHost refuses an address outside the directory made for it: an
// updater must not make the agent talk to somebody else.
func (p *process) PluginToHost(network, address string) (string, string, error) {
	if network != "unix" || filepath.Dir(address) != p.dir {
		return "", "", fmt.Errorf("the updater listens on %s %q, but must on a unix socket in %s", network, address, p.dir)
	}
	return network, address, nil
}

func (p *process) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}
