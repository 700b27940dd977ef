package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// methods are the assumed ones. Each is alone.
var methods = map[string]func(*base, context.Context, map[string]string) (any, error){
	"get_containers":    (*base).list,
	"upload":            (*base).upload,
	"install_container": (*base).install,
	"delete_container":  (*base).remove,
	"start_container":   (*base).start,
	"stop_container":    (*base).stop,
	"export_directory":  (*base).export,
	"download":          (*base).download,
	"import_directory":  (*base).restore,
	"get_base":          (*base).version,
	"update_firmware":   (*base).flash,
	"reboot":            (*base).reboot,
}

func newBase(data, password string) (*base, error) {
	data, err := filepath.Abs(data)
	if err != nil {
		return nil, err
	}
	b := &base{data: data, password: password, slots: map[string]string{}, tokens: map[string]string{}}
	for _, dir := range []string{"containers", "files"} {
		if err := os.MkdirAll(filepath.Join(data, dir), 0o700); err != nil {
			return nil, err
		}
	}
	return b, nil
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,200}$`)

// container is the directory of a container, which has to be there.
func (b *base) container(name string) (string, error) {
	dir := filepath.Join(b.data, "containers", name)
	if _, err := os.Stat(dir); err != nil || !validName.MatchString(name) {
		return "", refuse("there is no container %q", name)
	}
	return dir, nil
}

// file is where something is uploaded to, or downloaded from.
func (b *base) file(place string) (string, error) {
	if !validName.MatchString(place) {
		return "", refuse("%q is no place", place)
	}
	return filepath.Join(b.data, "files", place), nil
}

// command runs a program; what it prints is in the error.
func command(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w: %.500s", name, err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

// lxc runs one of LXC's tools on a container.
func (b *base) lxc(ctx context.Context, tool, name string, args ...string) (string, error) {
	return command(ctx, tool, append([]string{"-P", filepath.Join(b.data, "containers"), "-n", name}, args...)...)
}

func (b *base) running(ctx context.Context, name string) bool {
	state, err := b.lxc(ctx, "lxc-info", name, "-s", "-H")
	return err == nil && state != "STOPPED"
}

func (b *base) list(ctx context.Context, _ map[string]string) (any, error) {
	entries, err := os.ReadDir(filepath.Join(b.data, "containers"))
	list := []map[string]string{}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		state := "stopped"
		if b.running(ctx, e.Name()) {
			state = "running"
		}
		list = append(list, map[string]string{"name": e.Name(), "state": state})
	}
	return list, err
}

func (b *base) upload(_ context.Context, p map[string]string) (any, error) {
	path, err := b.file(p["upload"])
	if err != nil {
		return nil, err
	}
	offset, errOffset := strconv.ParseInt(p["offset"], 10, 64)
	data, errData := base64.StdEncoding.DecodeString(p["data"])
	if errOffset != nil || errData != nil || offset < 0 {
		return nil, refuse("bad piece of an upload")
	}
	flags := os.O_WRONLY | os.O_CREATE
	if offset == 0 {
		flags |= os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	_, err = f.WriteAt(data, offset)
	return offset + int64(len(data)), errors.Join(err, f.Close())
}

const config = `lxc.uts.name = %[1]s
lxc.rootfs.path = dir:%[2]s/rootfs
lxc.init.cmd = /sbin/init
lxc.mount.auto = proc:mixed sys:ro
lxc.tty.max = 0
lxc.console.path = none
lxc.net.0.type = empty
lxc.net.0.flags = up
lxc.cap.drop = sys_module sys_rawio sys_time mac_admin mac_override
`

func (b *base) install(ctx context.Context, p map[string]string) (any, error) {
	archive, err := b.file(p["upload"])
	if err != nil {
		return nil, err
	}
	name := p["name"]
	dir := filepath.Join(b.data, "containers", name)
	if _, err := os.Stat(dir); err == nil || !validName.MatchString(name) {
		return nil, refuse("there is a container %q already, or it is no name", name)
	}
	half := filepath.Join(b.data, "containers", "."+name)
	if err := errors.Join(os.RemoveAll(half), os.MkdirAll(filepath.Join(half, "rootfs"), 0o755)); err != nil {
		return nil, err
	}
	if _, err := command(ctx, "tar", "-xpf", archive, "--numeric-owner", "-C", filepath.Join(half, "rootfs")); err != nil {
		return nil, refuse("the image is no archive: %v", err)
	}
	text := fmt.Sprintf(config, strings.ReplaceAll(name, ".", "-"), dir)
	err = errors.Join(os.WriteFile(filepath.Join(half, "config"), []byte(text), 0o600), os.Remove(archive))
	if err == nil {
		err = os.Rename(half, dir)
	}
	return "installed", err
}

func (b *base) remove(ctx context.Context, p map[string]string) (any, error) {
	dir, err := b.container(p["name"])
	if err != nil {
		return nil, err
	}
	if b.running(ctx, p["name"]) {
		if _, err := b.lxc(ctx, "lxc-stop", p["name"], "-k"); err != nil {
			return nil, err
		}
	}
	return "deleted", os.RemoveAll(dir)
}

func (b *base) start(ctx context.Context, p map[string]string) (any, error) {
	if _, err := b.container(p["name"]); err != nil {
		return nil, err
	}
	if b.running(ctx, p["name"]) {
		return "runs", nil
	}
	_, err := b.lxc(ctx, "lxc-start", p["name"], "-d")
	return "started", err
}

func (b *base) stop(ctx context.Context, p map[string]string) (any, error) {
	if _, err := b.container(p["name"]); err != nil {
		return nil, err
	}
	if !b.running(ctx, p["name"]) {
		return map[string]bool{"forced": false}, nil
	}
	if _, err := strconv.Atoi(p["timeout"]); err != nil {
		return nil, refuse("bad timeout")
	}
	if _, err := b.lxc(ctx, "lxc-stop", p["name"], "--nokill", "-t", p["timeout"]); err == nil && !b.running(ctx, p["name"]) {
		return map[string]bool{"forced": false}, nil
	}
	_, err := b.lxc(ctx, "lxc-stop", p["name"], "-k")
	return map[string]bool{"forced": true}, err
}

// stopAll ends what runs, with the Base OS.
func (b *base) stopAll() error {
	entries, err := os.ReadDir(filepath.Join(b.data, "containers"))
	for _, e := range entries {
		if b.running(context.Background(), e.Name()) {
			_, failed := b.lxc(context.Background(), "lxc-stop", e.Name(), "-k")
			err = errors.Join(err, failed)
		}
	}
	return err
}

// directory is that of a container, on this device. No link of the container is
// followed.
func (b *base) directory(p map[string]string) (string, error) {
	dir, err := b.container(p["name"])
	if err != nil {
		return "", err
	}
	inside := strings.TrimPrefix(filepath.Clean(p["directory"]), "/")
	root, err := os.OpenRoot(filepath.Join(dir, "rootfs"))
	if err != nil {
		return "", err
	}
	defer root.Close()
	info, err := root.Lstat(inside)
	if errors.Is(err, fs.ErrNotExist) {
		err = root.MkdirAll(inside, 0o755)
	} else if err == nil && !info.IsDir() {
		err = refuse("%q is no directory", inside)
	}
	return filepath.Join(dir, "rootfs", inside), err
}

func (b *base) export(ctx context.Context, p map[string]string) (any, error) {
	dir, err := b.directory(p)
	if err != nil {
		return nil, err
	}
	b.downloads++
	place := fmt.Sprintf("download-%d", b.downloads)
	path, err := b.file(place)
	if err != nil {
		return nil, err
	}
	if _, err := command(ctx, "tar", "-cf", path, "--numeric-owner", "--warning=no-file-changed", "-C", dir, "."); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	return map[string]any{"download": place, "size": info.Size()}, nil
}

const piece = 256 << 10 // bytes of a download

func (b *base) download(_ context.Context, p map[string]string) (any, error) {
	path, err := b.file(p["download"])
	if err != nil {
		return nil, err
	}
	offset, err := strconv.ParseInt(p["offset"], 10, 64)
	if err != nil || offset < 0 {
		return nil, refuse("bad offset")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, refuse("there is no such download")
	}
	defer f.Close()
	data := make([]byte, piece)
	n, err := f.ReadAt(data, offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return map[string]any{"data": data[:n]}, nil
}

func (b *base) restore(ctx context.Context, p map[string]string) (any, error) {
	dir, err := b.directory(p)
	if err != nil {
		return nil, err
	}
	archive, err := b.file(p["upload"])
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
	}
	if err != nil {
		return nil, err
	}
	if _, err := command(ctx, "tar", "-xpf", archive, "--numeric-owner", "-C", dir); err != nil {
		return nil, err
	}
	return "imported", nil
}
