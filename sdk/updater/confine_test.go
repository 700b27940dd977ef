package updater

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestInheritsNothing: what is open in the agent stays there, also what somebody
// else has opened, who did not think of programs that are started.
func TestInheritsNothing(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	fd, err := syscall.Open(secret, syscall.O_CREAT|syscall.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	cfg := config(t, "")
	cfg.Data = t.TempDir()
	c, err := Launch(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	a, err := c.Status(t.Context(), StatusRequest{"files"})
	if err != nil || a.Version == "" || strings.Contains(a.Version, secret) {
		t.Errorf("open in the updater: %s, %v", a.Version, err)
	}
}

func TestUsage(t *testing.T) {
	u, err := launchFake(t).Usage()
	if err != nil || u.Memory < 1<<20 || u.Files < 3 || u.Threads < 2 {
		t.Errorf("%+v, %v", u, err)
	}
	if _, err := connectFake(t).Usage(); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
}

// TestUser: an updater with a user of its own is that one and nobody else, gets the
// artifact all the same, and no state.
func TestUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("######## NOT TESTED: it needs root ########")
	}
	dir, err := os.MkdirTemp("", "u")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t, "stateless")
	cfg.Path, cfg.Data, cfg.Run, cfg.User = filepath.Join(dir, "p"), filepath.Join(dir, "d"), filepath.Join(dir, "r"), &User{65534, 65533}
	if err := errors.Join(os.Chmod(dir, 0o711), os.WriteFile(cfg.Path, program, 0o755)); err != nil {
		t.Fatal(err)
	}
	c, err := Launch(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Kill()
	if a, err := c.Status(t.Context(), StatusRequest{"user"}); err != nil || a.Version != "65534 65533 []" {
		t.Errorf("it is %q, %v", a.Version, err)
	}
	artifact := filepath.Join(t.TempDir(), "artifact")
	if err := os.WriteFile(artifact, []byte("its content"), 0o400); err != nil {
		t.Fatal(err)
	}
	a, err := c.Stage(t.Context(), StageRequest{Component: "read", Artifact: artifact})
	if err != nil || string(a.Handle.Data) != "its content" {
		t.Errorf("it reads %q, %v", a.Handle.Data, err)
	}
	if left, _ := filepath.Glob(filepath.Join(cfg.Data, ".given-*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	c.Kill()
	cfg.Env = []string{"TEST_ROLE="}
	if c, err := Launch(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "must not have a user of its own") {
		t.Errorf("one that handles states: %v", err)
		c.Kill()
	}
}
