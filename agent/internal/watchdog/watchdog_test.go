package watchdog

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// listen is systemd's end.
func listen(t *testing.T) (path string, next func() string) {
	dir, err := os.MkdirTemp("", "tq-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return path, func() string {
		conn.SetReadDeadline(time.Now().Add(time.Minute))
		b := make([]byte, 100)
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

// Those who watch hear from an agent that is well, and nothing from one that is
// not; and that it stops when it shall.
func TestWatchdog(t *testing.T) {
	socket, next := listen(t)
	device := filepath.Join(t.TempDir(), "watchdog")
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var sick atomic.Bool
	var well, told int64 // answers of the agent, and what was made of them
	asked := make(chan bool)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		ended <- Config{Socket: socket, Within: 30 * time.Millisecond, Device: device, Log: slog.New(slog.DiscardHandler), Alive: func(context.Context) error {
			asked <- true
			if sick.Load() {
				return errors.New("sick")
			}
			well++
			return nil
		}}.Run(ctx)
	}()
	expect := func(want string) {
		t.Helper()
		got := next()
		if got != want {
			t.Errorf("heard %s, want %s", got, want)
		}
		if got == "WATCHDOG=1" {
			told++
		}
	}
	expect("READY=1")
	for range 3 {
		<-asked
		expect("WATCHDOG=1")
	}
	sick.Store(true) // before it is asked the next time
	for range 3 {
		<-asked
	}
	sick.Store(false) // the third answer may be either
	<-asked
	expect("WATCHDOG=1")
	go func() {
		for range asked {
		}
	}()
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for said := next(); said != "STOPPING=1"; said = next() {
		if told++; said != "WATCHDOG=1" {
			t.Errorf("heard %s", said)
		}
	}
	if told != well {
		t.Errorf("it was well %d times, and said so %d times", well, told)
	}
	if text, _ := os.ReadFile(device); len(text) < 5 || !strings.HasSuffix(string(text), "V") || strings.Trim(string(text[:len(text)-1]), "\x00") != "" {
		t.Errorf("the device heard %q", text)
	}
}

// A device that cannot be opened is told: who asked for it relies on it.
func TestNoDevice(t *testing.T) {
	err := Config{Device: filepath.Join(t.TempDir(), "none")}.Run(t.Context())
	if !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestFromEnvironment(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/s")
	for _, test := range []struct {
		us, pid string
		within  time.Duration
	}{
		{"", "", 0},
		{"x", "", 0},
		{"-5", "", 0},
		{"3000000", "", 3 * time.Second},
		{"3000000", strconv.Itoa(os.Getpid()), 3 * time.Second},
		{"3000000", "1", 0},
	} {
		t.Setenv("WATCHDOG_USEC", test.us)
		t.Setenv("WATCHDOG_PID", test.pid)
		if socket, within := FromEnvironment(); socket != "/s" || within != test.within {
			t.Errorf("%s of %s: %s, %v", test.us, test.pid, socket, within)
		}
	}
}
