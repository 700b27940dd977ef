package uml

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	Init()
	os.Exit(m.Run())
}

const decade = 10 * 365 * 24 * time.Hour

// TestBoot boots, steps the clock inside, and finds this machine's where it was.
func TestBoot(t *testing.T) {
	if Inside() {
		before, year := time.Now(), time.Now().Year()
		if err := Step(-decade); err != nil || year-time.Now().Year() < 9 || time.Since(before) > time.Minute {
			t.Errorf("%v; %s after %s", err, time.Now(), before)
		}
		fmt.Println("stepped", os.Args[1:], os.Getenv("WITH"))
		return
	}
	if _, err := exec.LookPath(Name); err != nil {
		t.Skipf("NOT TESTED: a clock that is stepped, since %v: run make deps, or apt-get install user-mode-linux", err)
	}
	program, err := Program(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	begin, wall := time.Now(), time.Now().UnixNano()
	var out bytes.Buffer
	if err := Boot(t.Context(), &out, 256, program, []string{"WITH=this"}, "-test.run=^TestBoot$"); err != nil || !strings.Contains(out.String(), "stepped [-test.run=^TestBoot$] this") {
		t.Fatalf("%v: %s", err, out.String())
	}
	if stepped := time.Duration(time.Now().UnixNano()-wall) - time.Since(begin); stepped.Abs() > time.Hour {
		t.Fatalf("this machine's clock was stepped by %s", stepped)
	}
	if err := Step(decade); err == nil {
		t.Fatal("this machine's clock was set")
	}
}
