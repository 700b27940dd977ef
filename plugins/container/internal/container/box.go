package container

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/plugins/container/internal/image"
	"github.com/tranquil-iot/tranquil/plugins/internal/service"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// A Box is a container as an engine has to run it. Its root file system has all
// mounts already when the engine comes to it.
type Box struct {
	Engine   string
	Name     string // on the device
	Dir      string // of the engine's files
	Root     string // directory of the root file system
	Command  []string
	Env      []string // the whole environment, KEY=VALUE
	Cwd      string
	UID, GID int
	Halt     int // the signal that asks it to end
	Limits   Limits
	Base     int     // of the device's users that the container's are, if it is unprivileged; else 0
	Mounts   []Mount // into Root
	Grant    Grant
	Devices  []Device // of Grant
	Run      []string
}

// A Mount is a directory of the device that the container has too.
type Mount struct {
	Source, Target string
	ReadOnly       bool
}

// Where a container finds what it shares with its agent.
const (
	shared        = "/tranquil"
	controlDir    = shared + "/control"
	controlSocket = "socket"
	agentDir      = shared + "/agent"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// newBox is what settings and image say of a version that was unpacked into dir.
func newBox(dir string, s Settings) (b Box, err error) {
	config, err := image.ReadConfig(dir)
	if err != nil {
		return b, err
	}
	b = Box{Root: image.Root(dir), Cwd: cmp.Or(s.Dir, config.WorkingDir, "/"), Limits: s.Limits}
	if b.Command = s.Command; b.Command == nil {
		b.Command = slices.Concat(config.Entrypoint, config.Cmd)
	}
	if len(b.Command) == 0 {
		return b, errors.New("nobody says what it runs: name a command in the settings")
	}
	if b.UID, b.GID, err = identity(b.Root, cmp.Or(s.User, config.User)); err != nil {
		return b, err
	}
	if b.Halt, err = signalNumber(cmp.Or(s.Halt, config.StopSignal, "SIGTERM")); err != nil {
		return b, err
	}
	b.Env = environment(config.Env, s.Env)
	if s.Unprivileged {
		b.Base = idBase
	}
	return b, b.check()
}

// check holds against its rules what an image says.
func (b Box) check() error {
	errs := []error{checkPath("dir", b.Cwd), service.CheckCommand("command", b.Command)}
	for _, variable := range b.Env {
		errs = append(errs, checkLine("env", variable))
	}
	return errors.Join(errs...)
}

// environment joins the variables of the image and of the settings, of which the
// later ones count.
func environment(ofImage []string, ofSettings map[string]string) []string {
	vars := map[string]string{"PATH": defaultPath}
	for _, variable := range ofImage {
		if key, value, ok := strings.Cut(variable, "="); ok && key != "" {
			vars[key] = value
		}
	}
	maps.Copy(vars, ofSettings)
	return list(vars)
}

func list(vars map[string]string) (list []string) {
	for _, key := range slices.Sorted(maps.Keys(vars)) {
		if !strings.HasPrefix(key, "TRANQUIL_") {
			list = append(list, key+"="+vars[key])
		}
	}
	return list
}

// idBase begins the numbers of the device's users that unprivileged containers
// get, 65,536 each; the range is one that systemd leaves to containers as well
// (UIDS-GIDS.md).
const (
	idBase  = 0x20000000
	idSlots = 1 << 13
)

// settle tells the container who it is.
func (b *Box) settle(h service.Home, v service.Version, s Settings) error {
	if b.Base != 0 {
		n, err := slot(h)
		if err != nil {
			return fmt.Errorf("cannot give the container users of its own: %w", err)
		}
		b.Base += n << 16
	}
	b.Env = append(b.Env, component.EnvComponent+"="+h.Component, component.EnvVersion+"="+v.Version,
		component.EnvControl+"="+controlDir+"/"+controlSocket)
	if dir, is := s.State[whole]; is {
		b.Env = append(b.Env, component.EnvState+"="+dir)
	}
	return nil
}

// share lists what the container has of the device: its state, the directory of
// its control socket, and that of the agent's link, if there is nothing else.
func (b *Box) share(h service.Home, s Settings, control string) {
	for _, name := range s.names() {
		b.Mounts = append(b.Mounts, Mount{Source: filepath.Join(h.State(), name), Target: s.State[name]})
	}
	b.Mounts = append(b.Mounts, Mount{Source: control, Target: controlDir})
	if dir, link := filepath.Split(h.Link); own(dir, link) {
		b.Mounts = append(b.Mounts, Mount{filepath.Clean(dir), agentDir, true})
		b.Env = append(b.Env, component.EnvLink+"="+agentDir+"/"+link)
	}
}

// own reports whether the agent's link has a directory of its own. The socket may
// not be there yet, or again; a mount of the socket itself would stay the old one.
func own(dir, link string) bool {
	if link == "" || os.MkdirAll(dir, 0o755) != nil {
		return false
	}
	entries, err := os.ReadDir(dir)
	return err == nil && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() != link })
}

// claimState makes the directories of the state that are missing. An empty one
// belongs to whom the image has that directory belong to, or else to the user
// that the container runs as.
func (b Box) claimState() error {
	for _, m := range b.Mounts {
		entries, err := os.ReadDir(m.Source)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if len(entries) > 0 || m.ReadOnly {
			continue
		}
		if err := b.claim(m); err != nil {
			return fmt.Errorf("cannot make %s: %w", m.Target, err)
		}
	}
	return nil
}

func (b Box) claim(m Mount) error {
	if err := os.MkdirAll(m.Source, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(b.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	if info, err := root.Lstat(strings.TrimPrefix(m.Target, "/")); err == nil && info.IsDir() {
		return replica.Give(m.Source, filepath.Join(b.Root, m.Target))
	}
	return errors.Join(os.Chown(m.Source, b.UID, b.GID), os.Chmod(m.Source, 0o755))
}

const boxName = "box.json"

// write notes the box for who enters it and for a later updater. After a power
// cut nothing runs that it would tell of.
func (b Box) write() error {
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	path := filepath.Join(b.Dir, boxName)
	return errors.Join(os.WriteFile(path+".new", data, 0o600), os.Rename(path+".new", path))
}

func readBox(dir string) (b Box, err error) {
	data, err := os.ReadFile(filepath.Join(dir, boxName))
	if err == nil {
		err = json.Unmarshal(data, &b)
	}
	if err != nil {
		return b, fmt.Errorf("cannot read how the container was started: %w", err)
	}
	return b, nil
}
