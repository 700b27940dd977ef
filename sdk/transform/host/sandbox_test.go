package host

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// sandboxes returns the processes that parent has started as sandboxes.
func sandboxes(t testing.TB, parent int) []string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, dir := range dirs {
		cmdline, _ := os.ReadFile(dir + "/cmdline") // processes come and go
		status, _ := os.ReadFile(dir + "/status")
		if string(cmdline) == childName+"\x00" && strings.Contains(string(status), fmt.Sprintf("\nPPid:\t%d\n", parent)) {
			found = append(found, dir)
		}
	}
	return found
}

func TestSandboxIsConfined(t *testing.T) {
	h := &Host{Cache: cache, Ceiling: Limits{Wall: time.Second}}
	seen := map[string]string{}
	step := Step{Module: assembled(t, spinning), From: 1, To: 2}
	in := write(t, map[string]string{"f": "x"})
	_, err := h.Run(t.Context(), []Step{step}, in, filepath.Join(t.TempDir(), "out"), func(int64, int64) {
		for _, dir := range sandboxes(t, os.Getpid()) {
			for _, name := range []string{"status", "limits", "environ", "oom_score_adj"} {
				content, _ := os.ReadFile(filepath.Join(dir, name))
				seen[name] = string(content)
			}
			seen["cwd"], _ = os.Readlink(dir + "/cwd")
			seen["root"], _ = os.Readlink(dir + "/root")
		}
	})
	if e := failed(t, err); e.Class != Deadline {
		t.Fatalf("got %v", e)
	}
	status := []string{"NoNewPrivs:\t1\n", "Seccomp:\t2\n"}
	if os.Geteuid() == 0 {
		status = append(status, "CapEff:\t0000000000000000\n", "Groups:\t \n")
		if strings.Contains(seen["status"], "\nUid:\t0\t") {
			t.Error("the sandbox is root")
		}
		if seen["root"] != filepath.Join(cache, "empty") {
			t.Errorf("the root directory is %s", seen["root"])
		}
	} else {
		t.Log("NOT CHECKED: own user and own root directory, for they take root")
	}
	for _, want := range status {
		if !strings.Contains(seen["status"], want) {
			t.Errorf("status lacks %q: %s", want, seen["status"])
		}
	}
	for name, want := range map[string]string{
		"limits":        "Max core file size        0 ",
		"oom_score_adj": "1000\n",
		"cwd":           filepath.Join(cache, "empty"),
	} {
		if !strings.Contains(seen[name], want) {
			t.Errorf("%s is %q, want %q in it", name, seen[name], want)
		}
	}
	if !strings.Contains(seen["limits"], "Max file size             0                    0 ") {
		t.Errorf("files may be written to: %s", seen["limits"])
	}
	if seen["environ"] != "" {
		t.Errorf("the environment is %q", seen["environ"])
	}
	poll(t, "the sandboxes to end", func() bool { return len(sandboxes(t, os.Getpid())) == 0 })
}

// A sandbox dies with its host, also when that is killed.
func TestParentDies(t *testing.T) {
	dir := filepath.Dir(write(t, nil))
	if err := os.Rename(write(t, map[string]string{"f": "x"}), filepath.Join(dir, "in")); err != nil {
		t.Fatal(err)
	}
	parent := exec.Command(os.Args[0], "run-for-ever", dir, assembled(t, spinning))
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var children []string
	poll(t, "the sandbox to start", func() bool {
		children = sandboxes(t, parent.Process.Pid)
		return len(children) == 1
	})
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	parent.Wait() // it was killed
	poll(t, "the sandbox to die", func() bool {
		cmdline, _ := os.ReadFile(children[0] + "/cmdline")
		return string(cmdline) != childName+"\x00"
	})
}

func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
