package service

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/plugins/internal/disk"
	"github.com/tranquil-iot/tranquil/plugins/internal/supervisor"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// What needs no driver is tested here, the rest with the drivers.

func newHome(t *testing.T) (*Updater, Home) {
	t.Helper()
	u, err := Open("application", nil, updater.Environment{Data: t.TempDir(), Run: "/run/x", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	h, err := u.Home("application/a")
	if err != nil {
		t.Fatal(err)
	}
	return u, h
}

// make fills directories with a file each.
func (h Home) make(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := errors.Join(os.MkdirAll(h.Path(name), 0o700), os.WriteFile(h.Path(name, "a"), []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestApplyCopies is what Apply does between file systems.
func TestApplyCopies(t *testing.T) {
	_, h := newHome(t)
	h.make(t, "new", "new/b", ".incoming.new")
	if err := os.Symlink("a", h.Path("new", "link")); err != nil {
		t.Fatal(err)
	}
	if err := h.applyCopy(t.Context(), h.Path("new")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b/a", "link"} {
		want, errWant := os.ReadFile(h.Path("new", name))
		got, err := os.ReadFile(h.Path("incoming", name))
		if d := cmp.Diff(string(want), string(got)); d != "" || err != nil || errWant != nil {
			t.Error(name, d, err, errWant)
		}
	}
	if inode(h.Path("new", "a")) == inode(h.Path("incoming", "a")) || disk.Exists(h.Path(".incoming.new")) {
		t.Error("it is no copy, or not a whole one")
	}
}

// TestLone: a state that the agent has made needs no look for other names of its
// files; the one that was saved, and one of which nothing is known, do.
func TestLone(t *testing.T) {
	for _, c := range []struct {
		when   string
		layout []string
		origin string // what the note is of
		want   bool
	}{
		{"a new state", []string{"state", "incoming"}, "state", true},
		{"the old state is aside", []string{".state.old", "incoming"}, ".state.old", true},
		{"the original comes back", []string{"state", "incoming"}, "incoming", false},
		{"nothing was saved from", []string{"state", "incoming"}, "", false},
		{"nothing comes", []string{"state"}, "state", false},
	} {
		t.Run(c.when, func(t *testing.T) {
			_, h := newHome(t)
			h.make(t, c.layout...)
			if c.origin != "" {
				if err := os.WriteFile(h.origin(), []byte("/state/2/files\n"+inode(h.Path(c.origin))), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := h.lone(); got != c.want {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestSocketPath(t *testing.T) {
	if got := socketPath("/run/x", "a"); got != "/run/x/a.sock" {
		t.Error(got)
	}
	long := strings.Repeat("long", 30)
	if got := socketPath("/run/x", long); len(got) > maxSocketPath || got == socketPath("/run/x", long+"er") {
		t.Error(got)
	}
}

// TestCrashedUnderAnotherClock: whether a component that crashed has run for
// long enough does not go by the clock on the wall.
func TestCrashedUnderAnotherClock(t *testing.T) {
	for _, year := range []int{2016, 2036} {
		status := supervisor.Status{State: supervisor.Running, Restarts: 1, Since: time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)}
		if err := (Home{}).crashed(status, true); err != nil {
			t.Errorf("it has run since this machine started, or %d: %v", year, err)
		}
		status.At = 100 * 365 * 24 * time.Hour
		if err := (Home{}).crashed(status, true); err == nil {
			t.Errorf("it has not run for a moment, since %d, and counts as well", year)
		}
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	var kept tail
	for _, s := range []string{strings.Repeat("a", 2000), strings.Repeat("b", 100), "the end"} {
		if n, err := kept.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatalf("%d, %v", n, err)
		}
	}
	if len(kept) > tailSize || !strings.HasSuffix(string(kept), "bthe end") {
		t.Errorf("kept %d bytes: %q", len(kept), kept)
	}
}

// TestOneAtATime: a repeated call waits for its first self, within its time.
func TestOneAtATime(t *testing.T) {
	u, h := newHome(t)
	_, done, err := u.work(t.Context(), h.Component)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := u.work(ctx, h.Component); !errors.Is(err, context.Canceled) {
		t.Errorf("a second call got error %v, want it to wait", err)
	}
	done()
	_, done, err = u.work(t.Context(), h.Component)
	if err != nil {
		t.Fatal(err)
	}
	done()
}

// TestDialsOnlyItsSocket: a component that has put a link in place of its socket
// does not make the updater talk to somebody else.
func TestDialsOnlyItsSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "s") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	other, socket := filepath.Join(dir, "other"), filepath.Join(dir, "socket")
	listener, err := net.Listen("unix", other)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if c, err := dial(t.Context(), other); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
	if err := os.Symlink(other, socket); err != nil {
		t.Fatal(err)
	}
	if c, err := dial(t.Context(), socket); err == nil {
		c.Close()
		t.Error("it followed a link")
	}
}
