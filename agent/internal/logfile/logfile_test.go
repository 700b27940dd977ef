package logfile

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// However much is written, there are at most so many bytes, and the last lines are
// among them; a log that was begun goes on.
func TestBound(t *testing.T) {
	const limit = 1000
	path := filepath.Join(t.TempDir(), "log", "agent.log")
	for run := range 3 {
		f, err := Open(path, limit)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			if _, err := fmt.Fprintf(f, "run %d line %d %s\n", run, i, strings.Repeat("x", i%50)); err != nil {
				t.Fatal(err)
			}
			now, _ := os.ReadFile(path)
			before, _ := os.ReadFile(path + ".1")
			if len(now)+len(before) > limit {
				t.Fatalf("after line %d of run %d there are %d and %d bytes", i, run, len(before), len(now))
			}
			if !bytes.HasSuffix(now, []byte("\n")) || !bytes.Contains(now, fmt.Appendf(nil, "run %d line %d ", run, i)) {
				t.Fatalf("line %d of run %d is not in\n%s", i, run, now)
			}
			if all := append(before, now...); i > 0 && !bytes.Contains(all, fmt.Appendf(nil, "line %d ", i-1)) {
				t.Fatalf("the line before line %d is gone from\n%s", i, all)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A name for the old lines that is not to be had does not break the bound.
func TestInTheWay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.log")
	if err := os.MkdirAll(filepath.Join(path+".1", "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path, 100)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range 50 {
		if _, err := fmt.Fprintln(f, "line", i); err != nil {
			t.Fatal(err)
		}
	}
	if text, _ := os.ReadFile(path); len(text) > 50 || !bytes.HasSuffix(text, []byte("line 49\n")) {
		t.Errorf("it has %q", text)
	}
}

// The last lines stay, and no more bytes than may be.
func TestRecent(t *testing.T) {
	r := Recent{Limit: 100}
	for i := range 1000 {
		fmt.Fprintln(&r, "line", i)
	}
	lines := r.Lines()
	if all := strings.Join(lines, ""); len(all) > 100 || len(all) < 80 || !strings.HasSuffix(all, "line 998\nline 999\n") {
		t.Errorf("it has %q", lines)
	}
	fmt.Fprintln(&r, strings.Repeat("x", 200))
	if lines := r.Lines(); len(lines) != 0 {
		t.Errorf("it has %q", lines)
	}
}
