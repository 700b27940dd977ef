package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// terminalOf opens a terminal, and the end that a person would see.
func terminalOf(t *testing.T) (terminal, person *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("######## there are no terminals here: NOT TESTED that bars are drawn ########")
	}
	t.Cleanup(func() { person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { terminal.Close() })
	if _, err := term.MakeRaw(int(terminal.Fd())); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: 60, Row: 20}); err != nil {
		t.Fatal(err)
	}
	return terminal, person
}

// TestBar: on a terminal an update has a bar below its steps, which a line is long at most, and which goes.
func TestBar(t *testing.T) {
	terminal, person := terminalOf(t)
	s := &session{cli: &cli{}, out: terminal, err: terminal}
	teller := s.teller()
	until := time.Now()
	for i, step := range []string{"download", "download", "stop"} {
		u := updateReport{ID: "u", Phase: "execution", Step: step, Progress: 0.2 * float64(i+1), Until: &until}
		if err := teller.say(s, "application/a-component-with-a-long-name", u); err != nil {
			t.Fatal(err)
		}
	}
	teller.clear()
	fmt.Fprintln(terminal, "end")
	var shown strings.Builder
	for b := make([]byte, 4096); !strings.HasSuffix(shown.String(), "end\n"); {
		n, err := person.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		shown.Write(b[:n])
	}
	lines := strings.Split(shown.String(), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "execution, download, 20 %") || !strings.HasPrefix(lines[2], "\r\x1b[Kend") && !strings.Contains(lines[2], "\r\x1b[Kend") {
		t.Errorf("%q", lines)
	}
	if !strings.Contains(shown.String(), "[############..................]  40 %") {
		t.Errorf("no bar: %q", lines)
	}
	for _, bar := range strings.Split(lines[1], "\r") {
		if strings.Contains(bar, "[#") && len(bar) >= 60 {
			t.Errorf("%q does not fit", bar)
		}
	}
}
