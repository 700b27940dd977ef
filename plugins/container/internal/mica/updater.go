// Package mica is the container updater on a HARTING MICA, whose Base OS runs the containers.
package mica

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/plugins/internal/mica"
	"github.com/tranquil-iot/tranquil/plugins/internal/service"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// kind is the type of the components.
const kind = "container"

// An Updater handles the containers of a MICA. Each version is a container of its
// own on the Base OS, named COMPONENT.ID; the version switched to, and the state
// of a stopped component, are in the component's home:
//
//	versions/ID.json   a staged version
//	current            symbolic link to one of them
//	state/             the state while the component does not run
//	ran                the container that has the state while it runs
type Updater struct {
	base *mica.Base
	data string
	log  *slog.Logger
}

var (
	_ updater.UpdaterWithState    = (*Updater)(nil)
	_ updater.UpdaterWithSnapshot = (*Updater)(nil)
	_ updater.UpdaterWithProbe    = (*Updater)(nil)
	_ updater.UpdaterWithStatus   = (*Updater)(nil)
)

// New makes an updater of the containers of a Base OS.
func New(base *mica.Base, env updater.Environment) updater.Updater {
	return &Updater{base, env.Data, env.Logger}
}

// Close ends the connection.
func (u *Updater) Close() error {
	u.base.Close()
	return nil
}

// A home is where the updater keeps what is not on the Base OS.
type home struct{ name, dir string }

func (h home) path(elem ...string) string {
	return filepath.Join(append([]string{h.dir}, elem...)...)
}
func (h home) state() string { return h.path("state") }
func (h home) ran() string   { return h.path("ran") }

// A version is one that is staged. Its container is named by component and id.
type version struct {
	ID       string `json:"-"`
	Version  string
	Settings Settings
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

func (u *Updater) home(component string) (home, error) {
	name, ok := strings.CutPrefix(component, kind+"/")
	if !ok || !validName.MatchString(name) {
		return home{}, fmt.Errorf("%q is no component of type %q on a MICA", component, kind)
	}
	return home{name, filepath.Join(u.data, name)}, nil
}

// container is what the Base OS calls a version.
func (h home) container(id string) string { return h.name + "." + id }

func (h home) note(id string) string { return h.path("versions", id+".json") }

func (h home) version(id string) (v version, err error) {
	data, err := os.ReadFile(h.note(id))
	if errors.Is(err, fs.ErrNotExist) {
		return v, fmt.Errorf("%s is not staged", id)
	}
	if err == nil {
		err = json.Unmarshal(data, &v)
	}
	v.ID = id
	return v, err
}

func (h home) currentID() (string, error) {
	target, err := os.Readlink(h.path("current"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSuffix(filepath.Base(target), ".json"), err
}

// Stage has the Base OS make a container of the artifact. One that is there
// already was made whole, since the note of it is written last.
func (u *Updater) Stage(ctx context.Context, r updater.StageRequest) (updater.StageResponse, error) {
	h, err := u.home(r.Component)
	if err != nil {
		return updater.StageResponse{}, err
	}
	id, err := u.stage(ctx, h, r)
	if err != nil {
		return updater.StageResponse{}, fmt.Errorf("cannot stage %s %s: %w", r.Component, r.Version, mica.Retry(err))
	}
	return updater.StageResponse{Handle: handle(id)}, nil
}

func handle(id string) updater.Handle { return updater.Handle{Version: 1, Data: []byte(id)} }

var validID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_+-]{0,127}$`)

func parseHandle(h updater.Handle) (string, error) {
	id := string(h.Data)
	if h.Version != 1 || !validID.MatchString(id) {
		return "", fmt.Errorf("handle of format %d is not this updater's: stage the version again", h.Version)
	}
	return id, nil
}

func (u *Updater) stage(ctx context.Context, h home, r updater.StageRequest) (id string, err error) {
	if r.MediaType != pack.MediaTypeArtifact {
		return "", fmt.Errorf("artifact is %q, must be %q", r.MediaType, pack.MediaTypeArtifact)
	}
	settings, err := parseSettings(r.Settings)
	if err != nil {
		return "", err
	}
	if id, err = versionID(ctx, r); err != nil {
		return "", err
	}
	there, err := u.containers(ctx, h)
	if err != nil {
		return "", err
	}
	if _, staged := there[id]; !staged || !disk.Exists(h.note(id)) {
		if err := u.install(ctx, h, id, r.Artifact, staged); err != nil {
			return "", err
		}
	}
	note, err := json.Marshal(version{Version: r.Version, Settings: settings})
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(h.path("versions"), 0o700); err != nil {
		return "", err
	}
	return id, disk.WriteFile(h.note(id), note, 0o600)
}

// versionID has no dots, with which names on the Base OS are told apart.
func versionID(ctx context.Context, r updater.StageRequest) (string, error) {
	f, err := os.Open(r.Artifact)
	if err != nil {
		return "", err
	}
	defer f.Close()
	hash := sha256.New()
	fmt.Fprintf(hash, "%d\n%s", len(r.Settings), r.Settings)
	if _, err := io.Copy(hash, service.Bounded(ctx, f)); err != nil {
		return "", err
	}
	return prefix(r.Version) + hex.EncodeToString(hash.Sum(nil))[:12], nil
}

// prefix begins the ids of a version.
func prefix(version string) string { return strings.ReplaceAll(version, ".", "_") + "-" }

// install uploads the file that is in the artifact and makes a container of it,
// in place of what an earlier try may have left.
func (u *Updater) install(ctx context.Context, h home, id, artifact string, replace bool) error {
	image, done, err := unpack(ctx, h, artifact)
	if err != nil {
		return err
	}
	defer done()
	name := h.container(id)
	if err := u.base.Upload(ctx, name, image); err != nil {
		return err
	}
	if replace {
		if err := u.base.Do(ctx, mica.Delete, nil, "{name}", name); err != nil {
			return err
		}
	}
	return u.base.Do(ctx, mica.Install, nil, "{name}", name, "{upload}", name)
}

// unpack returns the one file that is in an artifact: the image as the Base OS
// takes it.
func unpack(ctx context.Context, h home, artifact string) (image string, done func(), err error) {
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp(h.dir, ".artifact-")
	if err != nil {
		return "", nil, err
	}
	done = func() { os.RemoveAll(dir) }
	f, err := os.Open(artifact)
	if err == nil {
		err = errors.Join(pack.Unpack(service.Bounded(ctx, f), dir, pack.Limits{}, false), f.Close())
	}
	files, _ := os.ReadDir(dir)
	if err == nil && (len(files) != 1 || !files[0].Type().IsRegular()) {
		err = errors.New("the artifact is not the one file of an image")
	}
	if err != nil {
		done()
		return "", nil, err
	}
	return filepath.Join(dir, files[0].Name()), done, nil
}

// containers lists the component's containers on the Base OS by id, and whether
// they run.
func (u *Updater) containers(ctx context.Context, h home) (map[string]bool, error) {
	var all []struct{ Name, State string }
	if err := u.base.Do(ctx, mica.List, &all); err != nil {
		return nil, err
	}
	own := map[string]bool{}
	for _, c := range all {
		if id, is := strings.CutPrefix(c.Name, h.name+"."); is && validID.MatchString(id) {
			own[id] = c.State == "running"
		}
	}
	return own, nil
}

// Unstage has the Base OS remove the containers of a version.
func (u *Updater) Unstage(ctx context.Context, r updater.UnstageRequest) error {
	h, err := u.home(r.Component)
	if err == nil {
		err = u.unstage(ctx, h, r)
	}
	if err != nil {
		return fmt.Errorf("cannot unstage %s %s: %w", r.Component, r.Version, mica.Retry(err))
	}
	return nil
}

func (u *Updater) unstage(ctx context.Context, h home, r updater.UnstageRequest) error {
	current, err := h.currentID()
	if err != nil {
		return err
	}
	one := ""
	if !r.Handle.IsZero() {
		if one, err = parseHandle(r.Handle); err != nil {
			return err
		}
		if one == current {
			return errors.New("it is the version switched to: switch to another first")
		}
	}
	there, err := u.containers(ctx, h)
	if err != nil {
		return err
	}
	for id := range there {
		if id == current || id != one && (one != "" || !isOf(id, r.Version)) {
			continue
		}
		if err := u.base.Do(ctx, mica.Delete, nil, "{name}", h.container(id)); err != nil {
			return err
		}
		if err := disk.Remove(h.note(id)); err != nil {
			return err
		}
	}
	return nil
}

func isOf(id, version string) bool {
	rest, ok := strings.CutPrefix(id, prefix(version))
	return ok && len(rest) == 12
}

// Switch replaces a link atomically; the Base OS knows nothing of it.
func (u *Updater) Switch(_ context.Context, r updater.SwitchRequest) error {
	h, err := u.home(r.Component)
	if err == nil {
		err = h.switchTo(r.Handle)
	}
	if err != nil {
		return fmt.Errorf("cannot switch %s: %w", r.Component, err)
	}
	return nil
}

func (h home) switchTo(to updater.Handle) error {
	if to.IsZero() {
		return disk.Remove(h.path("current"))
	}
	id, err := parseHandle(to)
	if err != nil {
		return err
	}
	if _, err := h.version(id); err != nil {
		return err
	}
	return disk.Symlink(filepath.Join("versions", id+".json"), h.path("current"))
}

// Start gives the container its state and starts it.
func (u *Updater) Start(ctx context.Context, r updater.StartRequest) error {
	h, err := u.home(r.Component)
	if err == nil {
		err = u.start(ctx, h)
	}
	if err != nil {
		return fmt.Errorf("cannot start %s: %w", r.Component, mica.Retry(err))
	}
	return nil
}

func (u *Updater) start(ctx context.Context, h home) error {
	id, err := h.currentID()
	if err == nil && id == "" {
		err = errors.New("it is not installed: stage a version and switch to it first")
	}
	if err != nil {
		return err
	}
	v, err := h.version(id)
	if err != nil {
		return err
	}
	there, err := u.containers(ctx, h)
	if err != nil {
		return err
	}
	if there[id] && !disk.Exists(h.state()) {
		return nil // it runs on its state
	}
	if runs(there) {
		if _, err := u.stop(ctx, h, 0); err != nil {
			return err
		}
	}
	if ran, err := os.ReadFile(h.ran()); err == nil && string(ran) != id { // another container may have the state
		if err := u.takeState(ctx, h, there); err != nil {
			return err
		}
	}
	if err := u.giveState(ctx, h, v); err != nil {
		return err
	}
	return u.base.Do(ctx, mica.Start, nil, "{name}", h.container(id))
}

func runs(there map[string]bool) bool {
	for _, running := range there {
		if running {
			return true
		}
	}
	return false
}

// Stop stops whatever of the component runs, and takes its state.
func (u *Updater) Stop(ctx context.Context, r updater.StopRequest) (updater.StopResponse, error) {
	h, err := u.home(r.Component)
	var forced bool
	if err == nil {
		forced, err = u.stop(ctx, h, r.Grace)
	}
	if err != nil {
		return updater.StopResponse{}, fmt.Errorf("cannot stop %s: %w", r.Component, mica.Retry(err))
	}
	return updater.StopResponse{Forced: forced}, nil
}

func (u *Updater) stop(ctx context.Context, h home, grace time.Duration) (forced bool, err error) {
	there, err := u.containers(ctx, h)
	if err != nil {
		return false, err
	}
	for id, running := range there {
		if !running {
			continue
		}
		limit := grace
		if v, err := h.version(id); limit == 0 && err == nil {
			limit = time.Duration(v.Settings.Grace)
		}
		if limit == 0 {
			limit = service.DefaultGrace
		}
		var answer struct{ Forced bool }
		seconds := fmt.Sprint(int(limit.Seconds() + 0.999))
		if err := u.base.Do(ctx, mica.Stop, &answer, "{name}", h.container(id), "{seconds}", seconds); err != nil {
			return forced, err
		}
		forced = forced || answer.Forced
	}
	err = u.takeState(ctx, h, there)
	if err != nil && ctx.Err() == nil && !errors.Is(err, mica.ErrLost) { // Save tries again; who needs no state can do without
		u.log.Warn("the state cannot be taken out of the container", "container", h.name, "cause", err)
		err = nil
	}
	return forced, err
}
