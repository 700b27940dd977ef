package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/plugins/container/internal/image"
)

// unpacked makes what image.Unpack would.
func unpacked(t *testing.T, config string, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	err := errors.Join(os.Mkdir(image.Root(dir), 0o755), os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600))
	for name, content := range files {
		path := filepath.Join(image.Root(dir), name)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644))
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

const ofImage = `{"User":"web:www","Env":["A=image","B=image","TRANQUIL_STATE=/x","=","C"],"Entrypoint":["/e"],"Cmd":["c"],"WorkingDir":"/w","StopSignal":"SIGQUIT"}`

var accounts = map[string]string{"etc/passwd": "root:x:0:0::/:\nweb:x:33:34::/:/bin/sh\n", "etc/group": "www:x:44:\n"}

// TestNewBox: what the settings do not say the image says.
func TestNewBox(t *testing.T) {
	for name, c := range map[string]struct {
		settings string
		want     Box
	}{
		"image": {`{}`, Box{
			Command: []string{"/e", "c"}, Env: []string{"A=image", "B=image", "PATH=" + defaultPath}, Cwd: "/w", UID: 33, GID: 44, Halt: 3,
		}},
		"settings": {`{"command":["/s"],"env":{"B":"settings","PATH":"/bin"},"dir":"/d","user":"7","halt":"SIGPWR","limits":{"pids":9},"unprivileged":true}`, Box{
			Command: []string{"/s"}, Env: []string{"A=image", "B=settings", "PATH=/bin"}, Cwd: "/d", UID: 7, Halt: 30, Limits: Limits{PIDs: 9}, Base: idBase,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := unpacked(t, ofImage, accounts)
			s, err := parseSettings([]byte(c.settings))
			if err != nil {
				t.Fatal(err)
			}
			got, err := newBox(dir, s)
			if err != nil {
				t.Fatal(err)
			}
			c.want.Root = image.Root(dir)
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestBadImage: an image is believed no more than settings are.
func TestBadImage(t *testing.T) {
	for config, want := range map[string]string{
		`{}`:                                "nobody says what it runs",
		`{"Cmd":["a\u0000"]}`:               "zero byte",
		`{"Cmd":["a"],"WorkingDir":"a"}`:    "no clean absolute path",
		`{"Cmd":["a"],"Env":["A=b\nc"]}`:    "control characters",
		`{"Cmd":["a"],"User":"nobody"}`:     "no such user",
		`{"Cmd":["a"],"User":"web:nobody"}`: "no such group",
		`{"Cmd":["a"],"User":"-1"}`:         "no such user",
		`{"Cmd":["a"],"User":"99999"}`:      "no such user",
		`{"Cmd":["a"],"User":"high"}`:       "none that a container has",
		`{"Cmd":["a"],"StopSignal":"x"}`:    "no signal",
	} {
		_, err := newBox(unpacked(t, config, map[string]string{"etc/passwd": accounts["etc/passwd"] + "high:x:70000:0::/:\n"}), Settings{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", config, err, want)
		}
	}
}

// TestAccountsAreTheContainers: a link in the container does not make the device's
// accounts those of the container.
func TestAccountsAreTheContainers(t *testing.T) {
	dir := unpacked(t, `{}`, map[string]string{"etc/group": ""})
	if err := os.Symlink("/etc/passwd", filepath.Join(image.Root(dir), "etc", "passwd")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := identity(image.Root(dir), "daemon"); err == nil || !strings.Contains(err.Error(), "escapes") {
		t.Errorf("error %v", err)
	}
}

// TestReach: no symbolic link on the way to a mount's target is followed.
func TestReach(t *testing.T) {
	root, outside := t.TempDir(), t.TempDir()
	err := errors.Join(os.Symlink(outside, filepath.Join(root, "out")), os.Mkdir(filepath.Join(root, "a"), 0o755),
		os.Symlink("../out", filepath.Join(root, "a", "out")), os.WriteFile(filepath.Join(root, "file"), nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/out", "/out/x", "/a/out", "/a/out/x", "/file", "/file/x"} {
		if fd, err := reach(root, dir); err == nil || !strings.Contains(err.Error(), "is no directory") {
			t.Errorf("%s: %d, error %v", dir, fd, err)
		}
	}
	if left, err := os.ReadDir(outside); len(left) > 0 || err != nil {
		t.Errorf("outside there is %v, %v", left, err)
	}
	fd, err := reach(root, "/a/b/c")
	if err != nil {
		t.Fatal(err)
	}
	got, _ := os.Readlink(fdPath(fd))
	want, _ := filepath.EvalSymlinks(filepath.Join(root, "a/b/c"))
	if got != want {
		t.Errorf("reached %s, want %s", got, want)
	}
}

// TestClaimState: an empty directory of the state is as the image has it.
func TestClaimState(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can give files to others")
	}
	dir := unpacked(t, `{}`, map[string]string{"var/db/.keep": ""})
	ofImage := filepath.Join(image.Root(dir), "var/db")
	if err := errors.Join(os.Chown(ofImage, 5, 6), os.Chmod(ofImage, 0o750|fs.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	state := t.TempDir()
	b := Box{Root: image.Root(dir), UID: 7, GID: 8, Mounts: []Mount{
		{Source: filepath.Join(state, "db"), Target: "/var/db"},
		{Source: filepath.Join(state, "new"), Target: "/not/there"},
		{Source: filepath.Join(state, "full"), Target: "/full"},
		{Source: state, Target: "/ro", ReadOnly: true},
	}}
	if err := errors.Join(os.Mkdir(filepath.Join(state, "full"), 0o700), os.WriteFile(filepath.Join(state, "full", "x"), nil, 0o600), b.claimState()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"db": "dgrwxr-x--- 5:6", "new": "drwxr-xr-x 7:8", "full": "drwx------ 0:0"} {
		if got := look(t, filepath.Join(state, name)); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// TestLinkOfItsOwn: a container gets the directory of the agent's link if there is
// nothing else in it, and no other of the agent's sockets ever.
func TestLinkOfItsOwn(t *testing.T) {
	run := t.TempDir()
	for _, name := range []string{"link/agent.sock", "shared/agent.sock", "shared/control.sock"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(run, name)), 0o755), os.WriteFile(filepath.Join(run, name), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for link, want := range map[string]bool{"/link/agent.sock": true, "/not/yet.sock": true, "/shared/agent.sock": false, "/link/": false} {
		if dir, name := filepath.Split(run + link); own(dir, name) != want {
			t.Errorf("%s: want %v", link, want)
		}
	}
}

func look(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	s := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%v %d:%d", info.Mode(), s.Uid, s.Gid)
}

// FuzzAccounts: whatever a container's accounts are, its program runs as one that
// a container has, or not at all.
func FuzzAccounts(f *testing.F) {
	f.Add("web:www", accounts["etc/passwd"], accounts["etc/group"])
	f.Add("0", ":::\n0:x:-1:99999999999", "")
	f.Fuzz(func(t *testing.T, user, passwd, group string) {
		root := t.TempDir()
		err := errors.Join(os.Mkdir(filepath.Join(root, "etc"), 0o755), os.WriteFile(filepath.Join(root, "etc/passwd"), []byte(passwd), 0o600),
			os.WriteFile(filepath.Join(root, "etc/group"), []byte(group), 0o600))
		if err != nil {
			t.Fatal(err)
		}
		if uid, gid, err := identity(root, user); err == nil && (uid < 0 || uid > maxID || gid < 0 || gid > maxID) {
			t.Errorf("%d:%d", uid, gid)
		}
	})
}
