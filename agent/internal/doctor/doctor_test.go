package doctor

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Each of what is usually wrong is found, with what helps; and nothing else.
func TestFindings(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	dir := t.TempDir()
	program := filepath.Join(dir, "updater")
	plain := filepath.Join(dir, "plain")
	for path, mode := range map[string]os.FileMode{program: 0o700, plain: 0o600} {
		if err := os.WriteFile(path, []byte("x"), mode); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := updater.Checksum(program)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	open := l.Addr().String()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	defer l.Close()
	ctx := t.Context()
	for _, test := range []struct {
		found       Finding
		state, says string
	}{
		{Clock(now, now, true), OK, "it is 2026-11-30T12:00:00Z"},
		{Clock(now, now, false), Warning, "nobody keeps the clock right"},
		{Clock(time.Unix(0, 0), now, true), Failure, "but this program was built at 2026-11-30T12:00:00Z"},
		{Space(dir, 1), OK, "MB left"},
		{Space(dir, 1<<60), Failure, "no update begins"},
		{Space(filepath.Join(dir, "none"), 1), OK, "not there yet"},
		{Writable(dir), OK, "can be written"},
		{Writable("/proc"), Failure, "cannot write to /proc"},
		{Writable(filepath.Join(dir, "none")), OK, "is made when the agent starts"},
		{Updater("a", program, ""), OK, program},
		{Updater("a", program, sum), OK, program},
		{Updater("a", program, "00"), Failure, "is not the program that is pinned"},
		{Updater("a", plain, ""), Failure, "cannot be executed"},
		{Updater("a", filepath.Join(dir, "none"), ""), Failure, "is missing"},
		{Updater("a", dir, ""), Failure, "cannot be executed"},
		{Route(ctx, "s", "https://"+open), OK, "there is a way"},
		{Route(ctx, "s", "coaps://127.0.0.1"), OK, "there is a way"},
		{Route(ctx, "s", "coap+tcp://"+nobody), Failure, "nobody listens"},
		{Route(ctx, "s", "coaps://none.invalid:5684"), Failure, "cannot find none.invalid"},
		{Route(ctx, "s", "none"), Failure, "is no address"},
	} {
		f := test.found
		if f.State != test.state || !strings.Contains(f.Says, test.says) || (f.Remedy == "") != (f.State == OK) {
			t.Errorf("found %+v, want %s: %s", f, test.state, test.says)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".doctor*")); len(left) > 0 {
		t.Errorf("it leaves %v", left)
	}
}
