package self

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/durable"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// An Updater handles the one component of the type. It is the agent's own program,
// launched by it as any updater.
type Updater struct {
	dir   string
	agent func() (executable string, pid int)
}

var (
	_ updater.UpdaterWithProbe   = (*Updater)(nil)
	_ updater.UpdaterWithStatus  = (*Updater)(nil)
	_ updater.UpdaterWithConfirm = (*Updater)(nil)
)

// Open makes the updater of the agent that has launched it.
func Open(env updater.Environment) (updater.Updater, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return &Updater{dir: env.Data, agent: func() (string, int) { return executable, os.Getppid() }}, nil
}

const (
	handleVersion = 1
	digestLength  = 12
)

func (u *Updater) running() string {
	executable, _ := u.agent()
	return running(u.dir, executable)
}

// Stage unpacks a version and has its program tell its version: one that cannot run
// here is found out before anything has changed.
func (u *Updater) Stage(ctx context.Context, r updater.StageRequest) (a updater.StageResponse, err error) {
	id, err := u.stage(ctx, r)
	if err != nil {
		return a, fmt.Errorf("cannot stage %s %s: %w", r.Component, r.Version, err)
	}
	return updater.StageResponse{Handle: updater.Handle{Version: handleVersion, Data: []byte(id)}}, nil
}

func (u *Updater) stage(ctx context.Context, r updater.StageRequest) (id string, err error) {
	switch {
	case r.MediaType != pack.MediaTypeArtifact:
		return "", fmt.Errorf("the artifact is %q, must be %q", r.MediaType, pack.MediaTypeArtifact)
	case strings.ContainsAny(r.Version, "/\x00") || strings.HasPrefix(r.Version, "."):
		return "", fmt.Errorf("%q is no version", r.Version)
	}
	sum, err := digest(ctx, r.Artifact)
	if err != nil {
		return "", err
	}
	id = r.Version + "-" + sum
	if err := u.forgive(id); err != nil {
		return "", err
	}
	if u.whole(ctx, id, r.Version) {
		return id, nil
	}
	half := filepath.Join(u.dir, "versions", "."+id+".new")
	if err := os.RemoveAll(half); err != nil {
		return "", err
	}
	artifact, err := os.Open(r.Artifact)
	if err != nil {
		return "", err
	}
	defer artifact.Close()
	if err := pack.Unpack(artifact, half, pack.Limits{}, true); err != nil {
		return "", err
	}
	if err := cmp.Or(check(ctx, filepath.Join(half, Program), r.Version), checkUpdaters(ctx, half), seal(half)); err != nil {
		return "", errors.Join(err, os.RemoveAll(half))
	}
	if id == u.running() {
		return id, mend(half, versionDir(u.dir, id))
	}
	if err := errors.Join(os.RemoveAll(versionDir(u.dir, id)), os.Rename(half, versionDir(u.dir, id))); err != nil {
		return "", err
	}
	return id, durable.Sync(filepath.Dir(half))
}

// whole reports whether a version is there as it was staged.
func (u *Updater) whole(ctx context.Context, id, version string) bool {
	if check(ctx, program(u.dir, id), version) != nil {
		return false
	}
	names, err := damaged(versionDir(u.dir, id))
	return err == nil && len(names) == 0
}

func digest(ctx context.Context, name string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil))[:digestLength], ctx.Err()
}

// checkTime bounds how long a program may take to tell its version.
const checkTime = time.Minute

// check has an agent's program tell its version.
func check(ctx context.Context, name, version string) error {
	if err := checkProgram(name); err != nil {
		return fmt.Errorf("the artifact has no program %s: %w", Program, err)
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	out, err := ask(ctx, name)
	if err != nil {
		return fmt.Errorf("%s of the artifact does not run here: %w", Program, err)
	}
	if said := string(bytes.TrimSpace(out)); said != Program+" "+version {
		return fmt.Errorf("%s of the artifact says that it is %.100q, not version %s", Program, said, version)
	}
	return nil
}

// updaterPrefix begins the names of updaters.
const updaterPrefix = "tranquil-updater-"

// checkUpdaters has each updater of a version say how it is used. What cannot be run
// here would leave its components to nobody.
func checkUpdaters(ctx context.Context, dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, updaterPrefix+"*"))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	for _, name := range names {
		if checkProgram(name) != nil {
			continue // it is none
		}
		_, err := ask(ctx, name)
		if ended, is := errors.AsType[*exec.ExitError](err); is && ended.Exited() {
			continue // it says that an agent has to start it
		}
		if err != nil {
			return fmt.Errorf("%s of the artifact does not run here: %w", filepath.Base(name), err)
		}
	}
	return nil
}

// ask runs a program that was just written. A process that was forked while it was, and
// has not become another program yet, still has it open for writing: that passes.
func ask(ctx context.Context, name string) (out []byte, err error) {
	for {
		cmd := exec.CommandContext(ctx, name, "version")
		cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // with ours it would take itself for an updater
		if out, err = cmd.Output(); !errors.Is(err, syscall.ETXTBSY) || ctx.Err() != nil {
			return out, err
		}
		time.Sleep(time.Millisecond)
	}
}

// forgive lets a version be tried again that was gone back from.
func (u *Updater) forgive(id string) error {
	n, err := readNote(u.dir)
	if err != nil || n.Abandoned != id {
		return err
	}
	n.Abandoned = ""
	return n.write(u.dir)
}

// Unstage removes a version, or whatever was begun of it.
func (u *Updater) Unstage(_ context.Context, r updater.UnstageRequest) error {
	if err := u.unstage(r); err != nil {
		return fmt.Errorf("cannot unstage %s %s: %w", r.Component, r.Version, err)
	}
	return nil
}

func (u *Updater) unstage(r updater.UnstageRequest) error {
	n, err := readNote(u.dir)
	if err != nil {
		return err
	}
	names := []string{string(r.Handle.Data)}
	if r.Handle.IsZero() {
		if names, err = u.of(r.Version); err != nil {
			return err
		}
	}
	for _, name := range names {
		if name == "" || name == n.Current || name == u.running() {
			if !r.Handle.IsZero() {
				return errors.New("it is the version that runs or is to run: switch to another first")
			}
			continue
		}
		if delete(n.Proven, name); n.Abandoned == name {
			n.Abandoned = ""
		}
		if n.Before == name { // what was installed is left to go back to
			n.Before = ""
		}
		if err := errors.Join(n.write(u.dir), os.RemoveAll(versionDir(u.dir, name))); err != nil {
			return err
		}
	}
	return nil
}

// of lists what there is of a version, whole or half done.
func (u *Updater) of(version string) (names []string, err error) {
	entries, err := os.ReadDir(filepath.Join(u.dir, "versions"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	for _, entry := range entries {
		plain := strings.TrimSuffix(strings.TrimPrefix(entry.Name(), "."), ".new")
		if rest, is := strings.CutPrefix(plain, version+"-"); is && len(rest) == digestLength {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

// Switch succeeds when the version runs.
func (u *Updater) Switch(_ context.Context, r updater.SwitchRequest) error {
	if err := u.switchTo(r.Handle); err != nil {
		return fmt.Errorf("cannot switch %s: %w", r.Component, err)
	}
	return nil
}

func (u *Updater) switchTo(h updater.Handle) error {
	n, err := readNote(u.dir)
	if err != nil {
		return err
	}
	id, runs := string(h.Data), u.running()
	switch {
	case !h.IsZero() && h.Version != handleVersion:
		return fmt.Errorf("handle of format %d is not this updater's: stage the version again", h.Version)
	case id == runs && id == n.Current && id == n.Wanted:
		return nil
	case id == runs && id == n.Current:
		n.Wanted = id
		return n.write(u.dir)
	case id == runs: // another one was to run, and does not yet
		n.Current, n.Wanted, n.Before, n.Trial = id, id, "", nil
		return n.write(u.dir)
	case id != "" && n.Abandoned == id && n.Current != id:
		return fmt.Errorf("the agent was started %d times as %s and has not proven itself: it runs as before", maxStarts, id)
	}
	if id != "" {
		if err := checkProgram(program(u.dir, id)); err != nil {
			return fmt.Errorf("%s is not staged: %w", id, err)
		}
	}
	if n.Current != id {
		n.Current, n.Wanted, n.Before, n.Trial = id, id, runs, nil
		if id != "" && !n.Proven[id] {
			n.Trial = &trial{}
		}
		if err := n.write(u.dir); err != nil {
			return err
		}
	}
	return fmt.Errorf("the agent has to start anew: %w", updater.ErrReboot)
}

// Start finds the agent running, or asks for another start.
func (u *Updater) Start(_ context.Context, r updater.StartRequest) error {
	n, err := readNote(u.dir)
	if err == nil {
		err = u.runs(n)
	}
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", r.Component, err)
	}
	return nil
}

// runs is nil if the version that was asked for does. One that was gone back from is not
// asked for again, and what runs then is not it.
func (u *Updater) runs(n note) error {
	switch {
	case n.Wanted == "":
		return errors.New("no version was switched to")
	case n.Wanted == n.Abandoned && n.Wanted != n.Current:
		return fmt.Errorf("the agent was started %d times as %s and has not proven itself: it runs as before", maxStarts, n.Wanted)
	case u.running() != n.Wanted:
		return fmt.Errorf("the agent that runs is not %s: %w", n.Wanted, updater.ErrReboot)
	}
	return nil
}

// Stop has nothing to do: the agent ends with its next start.
func (u *Updater) Stop(context.Context, updater.StopRequest) (updater.StopResponse, error) {
	return updater.StopResponse{}, nil
}

// Probe wants the agent to run the version, and its server to have taken it: one
// that nobody can reach could not be mended from afar.
func (u *Updater) Probe(context.Context, updater.ProbeRequest) (a updater.ProbeResponse, err error) {
	n, err := readNote(u.dir)
	if err != nil {
		return a, err
	}
	if _, pid := u.agent(); u.runs(n) != nil {
		a.Reason = u.runs(n).Error()
	} else if !isRegistered(u.dir, pid) {
		a.Reason = "it is not registered with its server"
	}
	a.Healthy = a.Reason == ""
	return a, nil
}

// Status tells which version is to run, and whether it does.
func (u *Updater) Status(context.Context, updater.StatusRequest) (a updater.StatusResponse, err error) {
	n, err := readNote(u.dir)
	if err != nil || n.Current == "" {
		return a, err
	}
	return updater.StatusResponse{
		Version: n.Current[:max(0, len(n.Current)-digestLength-1)], Running: u.running() == n.Current,
		Handle: updater.Handle{Version: handleVersion, Data: []byte(n.Current)},
	}, nil
}

// Confirm ends the trial of the version that runs.
func (u *Updater) Confirm(_ context.Context, r updater.ConfirmRequest) error {
	n, err := readNote(u.dir)
	if err == nil {
		err = u.runs(n)
	}
	if err != nil {
		return fmt.Errorf("cannot confirm %s: %w", r.Component, err)
	}
	if n.Proven == nil {
		n.Proven = map[string]bool{}
	}
	n.Proven[n.Current], n.Trial, n.Before, n.Abandoned = true, nil, "", ""
	return n.write(u.dir)
}
