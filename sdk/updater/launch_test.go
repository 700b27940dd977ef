package updater

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

func TestLaunch(t *testing.T) {
	c := launchFake(t)
	if got := c.Capabilities().Type; got != "application" {
		t.Errorf("type %q", got)
	}
	a, err := c.Stage(t.Context(), StageRequest{Component: "a", Version: "1.0.0"})
	if err != nil || a.Handle.Version != 7 {
		t.Errorf("Stage: %v, %v", a, err)
	}
	c.Kill()
	c.Kill()
	select {
	case <-c.Exited():
	default:
		t.Error("runs after Kill")
	}
	if _, err := c.Stage(t.Context(), StageRequest{Component: "a"}); !errors.Is(err, ErrRetry) {
		t.Errorf("call on a dead updater: %v", err)
	}
}

func TestEnvironmentIsMinimal(t *testing.T) {
	t.Setenv("SECRET_OF_THE_AGENT", "x")
	a, err := launchFake(t).Status(t.Context(), StatusRequest{"variables"})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(a.Version) {
		name, _, _ := strings.Cut(line, "=")
		if name != "PATH" && !strings.HasPrefix(name, "TRANQUIL_") && !strings.HasPrefix(name, "PLUGIN_") && name != "TEST_ROLE" {
			t.Errorf("the updater sees %s", line)
		}
	}
	if !strings.Contains(a.Version, "TRANQUIL_LINK=/link") {
		t.Error("no TRANQUIL_LINK")
	}
}

func TestLaunchRefuses(t *testing.T) {
	long := "/tmp/" + strings.Repeat("x", maxRun)
	for _, tc := range []struct {
		name, role string
		change     func(*LaunchConfig)
		text       string
	}{
		{"checksum", "", func(c *LaunchConfig) { c.SHA256 = "abcd" }, "checksum is not the pinned one"},
		{"no checksum", "", func(c *LaunchConfig) { c.SHA256 = "" }, "checksum is not the pinned one"},
		{"no file", "", func(c *LaunchConfig) { c.Path = "/nowhere" }, "no such file"},
		{"long path", "", func(c *LaunchConfig) { c.Run = long }, "too long for sockets"},
		{"relative path", "", func(c *LaunchConfig) { c.Data = "data" }, "must be absolute"},
		{"garbage", "garbage", nil, "hello, I am not an updater"},
		{"socket elsewhere", "elsewhere", nil, "must on a unix socket in"},
		{"cannot open", "cannot open", nil, "the database is corrupt"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := config(t, tc.role)
			if tc.change != nil {
				tc.change(&cfg)
			}
			c, err := Launch(t.Context(), cfg)
			if err == nil {
				c.Kill()
				t.Fatal("launched")
			}
			if !strings.Contains(err.Error(), tc.text) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want one line with %q", err, tc.text)
			}
		})
	}
}

func TestLaunchNotExecutable(t *testing.T) {
	cfg := config(t, "")
	cfg.Path = t.TempDir() + "/text"
	if err := os.WriteFile(cfg.Path, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg.SHA256, _ = Checksum(cfg.Path)
	if _, err := Launch(t.Context(), cfg); !errors.Is(err, os.ErrPermission) {
		t.Errorf("error %v", err)
	}
}

func TestLaunchMute(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := Launch(ctx, config(t, "mute"))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
}

func TestDeathInCall(t *testing.T) {
	c := launchFake(t)
	if _, err := c.Stage(t.Context(), StageRequest{Component: "die"}); !errors.Is(err, ErrRetry) {
		t.Errorf("call in which the updater died: %v", err)
	}
	<-c.Exited()
}

func TestKillInCall(t *testing.T) {
	c := launchFake(t)
	started := make(chan error, 1)
	go func() {
		_, err := c.Stage(t.Context(), StageRequest{Component: "stuck"})
		started <- err
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	c.Stage(ctx, StageRequest{Component: "stuck"}) // long enough for the first to arrive
	c.Kill()
	if err := <-started; !errors.Is(err, ErrRetry) {
		t.Errorf("call in which the updater was killed: %v", err)
	}
}

func TestLogsArrive(t *testing.T) {
	cfg := config(t, "")
	var log bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	c, err := Launch(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.Stage(t.Context(), StageRequest{Component: "panic"})
	c.Kill() // after which nobody writes to log
	for _, want := range []string{
		fmt.Sprintf("level=INFO msg=open data=%s link=/link", cfg.Data),
		`level=ERROR msg="panic in updater"`,
	} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log has no %s:\n%s", want, &log)
		}
	}
}
