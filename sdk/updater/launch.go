package updater

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/tranquil-iot/tranquil/sdk/updater/proto"
)

// ErrChecksum says that an updater's executable is not the pinned one. The
// operator has to put the right file in place, or to pin the new checksum.
var ErrChecksum = errors.New("the updater's checksum is not the pinned one")

// maxRun is how long the path of Run may be in bytes, so that a socket below
// it with go-plugin's names fits into the 107 bytes of a unix socket's path.
const maxRun = 107 - len("/p/plugin-dir4294967295/plugin4294967295")

// LaunchConfig says which updater to start and where it works. Two updaters
// never share Data or Run at the same time.
type LaunchConfig struct {
	Path   string       // of the executable, which only the agent's user may write
	SHA256 string       // of the executable, in hex, as [Checksum] returns it
	Data   string       // the updater's durable directory; made if missing
	Run    string       // directory for sockets, at most 67 bytes long; made if missing
	Link   string       // the agent's unix socket, meant for components
	User   *User        // that it runs as; nil: as this process
	Env    []string     // further variables, KEY=VALUE
	Logger *slog.Logger // gets the updater's log; default slog.Default
}

// Launch starts an updater process and connects to it. The executable is
// refused with [ErrChecksum] if it is not the pinned one. ctx bounds the start
// only, to 30 s if it has no deadline; the process runs until [Client.Kill] or
// until this process dies.
func Launch(ctx context.Context, cfg LaunchConfig) (*Client, error) {
	c, err := launch(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("cannot start updater %s: %w", cfg.Path, err)
	}
	return c, nil
}

func launch(ctx context.Context, cfg LaunchConfig) (*Client, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if err := verify(cfg); err != nil {
		return nil, err
	}
	sockets, err := makeDirs(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	p := newProcess(command(cfg), newLogWriter(cfg.Logger))
	gp := plugin.NewClient(clientConfig(p, sockets, cfg.Logger))
	c := &Client{exited: p.exited, process: p}
	if cfg.User != nil {
		c.given = &given{cfg.Data, *cfg.User}
	}
	c.kill = sync.OnceFunc(func() { p.Kill(context.Background()); gp.Kill() })
	err = connect(ctx, c, p, gp)
	if err == nil && cfg.User != nil && c.caps.State {
		err = errors.New("it handles states, which are files of all owners, and must not have a user of its own")
	}
	if err != nil {
		c.Kill()
		return nil, explainStart(ctx, p, err)
	}
	return c, nil
}

// connect does the handshake and the first call.
func connect(ctx context.Context, c *Client, p *process, gp *plugin.Client) error {
	defer context.AfterFunc(ctx, func() { p.Kill(ctx) })()
	rpc, err := gp.Client()
	if err != nil {
		return err
	}
	api, err := rpc.Dispense(pluginName)
	if err != nil {
		return err
	}
	c.api = api.(proto.UpdaterClient)
	return c.announce(ctx)
}

// explainStart makes of err one line that tells how the dead process ended and
// what it said last.
func explainStart(ctx context.Context, p *process, err error) error {
	switch state := p.cmd.ProcessState; {
	case ctx.Err() != nil:
		err = fmt.Errorf("it was not ready in time: %w", ctx.Err())
	case state != nil && state.Exited() && p.log.last != "":
		err = fmt.Errorf("its process ended: %s", state)
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	if text = text[:min(len(text), 500)]; p.log.last != "" {
		text += "; it said last: " + p.log.last[:min(len(p.log.last), 500)]
	}
	return &startError{text, err}
}

// startError is err with a text of one line and a bounded length: parts of it
// come from outside.
type startError struct {
	text string
	err  error
}

func (e *startError) Error() string { return strings.ToValidUTF8(e.text, "?") }
func (e *startError) Unwrap() error { return e.err }

func clientConfig(p *process, sockets string, log *slog.Logger) *plugin.ClientConfig {
	return &plugin.ClientConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: map[int]plugin.PluginSet{protocolVersion: {pluginName: &wire{}}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, dir string) (runner.Runner, error) {
			p.cmd.Env, p.dir = append(p.cmd.Env, spec.Env...), dir
			if as := p.cmd.SysProcAttr; as != nil {
				return p, os.Chown(dir, int(as.Credential.Uid), int(as.Credential.Gid))
			}
			return p, nil
		},
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: sockets},
		SkipHostEnv:      true,
		StartTimeout:     startTimeout,
		SyncStdout:       newLogWriter(log),
		SyncStderr:       newLogWriter(log),
		Logger:           newHCLog(log),
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)),
		},
	}
}

// command returns the unstarted updater with its minimal environment.
func command(cfg LaunchConfig) *exec.Cmd {
	cmd := exec.Command(cfg.Path)
	cmd.Dir = cfg.Data
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"),
		envData + "=" + cfg.Data,
		envRun + "=" + cfg.Run,
		envLink + "=" + cfg.Link,
	}, cfg.Env...)
	if u := cfg.User; u != nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: []uint32{}}}
	}
	return cmd
}

// makeDirs makes the updater's directories, enterable by this user only, and
// returns an empty one for the plugin's socket.
func makeDirs(cfg LaunchConfig) (sockets string, err error) {
	if !filepath.IsAbs(cfg.Run) || !filepath.IsAbs(cfg.Data) {
		return "", errors.New("its Data and Run directories must be absolute paths")
	}
	if len(cfg.Run) > maxRun {
		return "", fmt.Errorf("the path of its Run directory is too long for sockets: %q has %d bytes, allowed are %d", cfg.Run, len(cfg.Run), maxRun)
	}
	sockets = filepath.Join(cfg.Run, "p")
	if err := os.RemoveAll(sockets); err != nil { // what a dead agent left
		return "", err
	}
	for _, dir := range []string{cfg.Data, cfg.Run, sockets} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return "", err
		}
		if u := cfg.User; u != nil {
			if err := os.Chown(dir, int(u.UID), int(u.GID)); err != nil {
				return "", err
			}
		}
	}
	return sockets, os.Chmod(cfg.Run, 0o700)
}

// Checksum returns the SHA-256 of a file in hex: what LaunchConfig and the
// agent's configuration pin.
func Checksum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("cannot compute checksum: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("cannot compute checksum: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func verify(cfg LaunchConfig) error {
	sum, err := Checksum(cfg.Path)
	if err != nil {
		return err
	}
	if !strings.EqualFold(sum, cfg.SHA256) {
		return fmt.Errorf("%w: it has %s, pinned is %q", ErrChecksum, sum, cfg.SHA256)
	}
	return nil
}
