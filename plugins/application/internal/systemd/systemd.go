// Package systemd has components run as units of systemd, which supervises them,
// starts them again when they crash, and keeps their journal.
//
// Each version of a component has units of its own, named after it, which are
// written before the component stops: a start need not have systemd read its
// configuration again. They are gone after a boot, unless the component is to run
// before the agent does. All that is known of a unit is in its name and its
// description, so whoever asks needs no memory.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// A Manager is systemd's, of a device or of a user.
type Manager struct {
	Socket    string // that it listens on
	Transient string // directory of units that a boot forgets
	Permanent string // directory of the others
	Target    string // that those are wanted by
	User      bool   // it is not the device's
}

// Device is the manager of a device. Its own socket needs no system bus, and lets
// in nobody but root.
var Device = Manager{
	Socket: "/run/systemd/private", Transient: "/run/systemd/system",
	Permanent: "/etc/systemd/system", Target: "multi-user.target",
}

// Here returns why there is no such manager.
func (m Manager) Here() error {
	if _, err := os.Stat(m.Socket); err != nil {
		return fmt.Errorf(`this device does not run systemd: use the driver "exec": %w`, err)
	}
	return nil
}

func (m Manager) connect(ctx context.Context) (*dbus.Conn, error) {
	conn, err := dbus.NewConnection(func() (*godbus.Conn, error) {
		conn, err := godbus.Dial("unix:path="+m.Socket, godbus.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		if err := conn.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
			conn.Close()
			return nil, err
		}
		return conn, nil
	})
	if ctx.Err() != nil { // it closes the connection: what that says is of no interest
		return nil, fmt.Errorf("cannot reach systemd: %w", ctx.Err())
	}
	if err != nil {
		return nil, fmt.Errorf("cannot reach systemd: %w (%w)", err, updater.ErrRetry)
	}
	return conn, nil
}

// files are the paths of units whose names begin so.
func (m Manager) files(prefix string) []string {
	var all []string
	for _, dir := range []string{m.Transient, m.Permanent} {
		entries, _ := os.ReadDir(dir) // none: no units
		for _, entry := range entries {
			if name := entry.Name(); strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix) {
				all = append(all, filepath.Join(dir, name))
			}
		}
	}
	return all
}

// Has reports whether there are units whose names begin so.
func (m Manager) Has(prefix string) bool { return len(m.files(prefix)) > 0 }

// Install writes units, and has systemd read them. It refuses what systemd does
// not understand.
func (m Manager) Install(ctx context.Context, units []Unit) error {
	if err := m.Here(); err != nil {
		return err
	}
	conn, err := m.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	known := false // to systemd, in another form
	for _, u := range units {
		changed, replaced, err := m.write(u)
		if err != nil {
			return err
		}
		if known = known || replaced; changed {
			if err := m.verify(ctx, m.path(u)); err != nil {
				return errors.Join(err, os.Remove(m.path(u))) // lest it counts as verified
			}
		}
	}
	if known {
		if err := conn.ReloadContext(ctx); err != nil {
			return fmt.Errorf("systemd cannot read its units again: %w", err)
		}
	}
	for _, u := range units {
		if err := loaded(ctx, conn, u.Name); err != nil {
			return err
		}
	}
	return nil
}

func (m Manager) path(u Unit) string {
	if u.Stay {
		return filepath.Join(m.Permanent, u.Name)
	}
	return filepath.Join(m.Transient, u.Name)
}

// write reports whether there was another file of that name, or none.
func (m Manager) write(u Unit) (changed, replaced bool, err error) {
	text := u.Text(m.Target)
	old, err := os.ReadFile(m.path(u))
	if err == nil && string(old) == text {
		return false, false, nil
	}
	replaced = err == nil
	if err := os.MkdirAll(filepath.Dir(m.path(u)), 0o755); err != nil {
		return false, false, err
	}
	return true, replaced, disk.WriteFile(m.path(u), []byte(text), 0o644)
}

// verify has systemd say what it would pass over in silence: a misspelt option.
func (m Manager) verify(ctx context.Context, file string) error {
	cmd := exec.CommandContext(ctx, "systemd-analyze", "verify", "--man=no", file)
	if m.User {
		cmd.Args = append(cmd.Args, "--user")
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+filepath.Dir(filepath.Dir(m.Socket)))
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return nil
	}
	for line := range strings.Lines(string(out)) {
		if place, problem, about := strings.Cut(line, file+":"); about && !strings.Contains(place, ":") {
			return fmt.Errorf("systemd does not understand the unit: line %s", strings.TrimSpace(problem))
		}
	}
	return ctx.Err()
}

// loaded returns why systemd cannot run a unit.
func loaded(ctx context.Context, conn *dbus.Conn, name string) error {
	properties, err := conn.GetUnitPropertiesContext(ctx, name)
	if err != nil {
		return fmt.Errorf("systemd does not know %s: %w", name, err)
	}
	if state := text(properties, "LoadState"); state != "loaded" {
		reason := ""
		if values, ok := properties["LoadError"].([]any); ok && len(values) == 2 {
			reason, _ = values[1].(string)
		}
		return fmt.Errorf("systemd does not accept %s: %s: %s", name, state, reason)
	}
	return nil
}

// Remove removes the units of a version, which do not run.
func (m Manager) Remove(ctx context.Context, prefix string) error {
	files := m.files(prefix)
	if len(files) == 0 {
		return nil
	}
	if err := m.disable(prefix); err != nil {
		return err
	}
	for _, file := range files {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	conn, err := m.connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.ReloadContext(ctx)
}

// enable has a boot start a unit.
func (m Manager) enable(u Unit) error {
	dir := filepath.Join(m.Permanent, m.Target+".wants")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return disk.Symlink(filepath.Join("..", u.Name), filepath.Join(dir, u.Name))
}

// disable has no boot start units whose names begin so.
func (m Manager) disable(prefix string) error {
	dir := filepath.Join(m.Permanent, m.Target+".wants")
	links, err := filepath.Glob(filepath.Join(dir, prefix+"*"))
	if err != nil || len(links) == 0 {
		return err
	}
	for _, link := range links {
		err = errors.Join(err, os.Remove(link))
	}
	return errors.Join(err, disk.SyncNames(dir))
}
