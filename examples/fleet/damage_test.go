package fleet

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// A harm is what happens to one file or directory of the agent's data. Files
// are replaced rather than written to: some are programs that run.
type harm struct {
	name string
	do   func(path string) error
}

var harms = []harm{
	{"emptied", func(path string) error { return swap(path, func([]byte) []byte { return nil }) }},
	{"truncated", func(path string) error { return swap(path, func(b []byte) []byte { return b[:len(b)/2] }) }},
	{"garbage", func(path string) error {
		return swap(path, func(b []byte) []byte { return bytes.Repeat([]byte("\xa5garbage"), len(b)/8+1) })
	}},
	{"removed", os.RemoveAll},
}

func swap(path string, change func([]byte) []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".swap", change(b), info.Mode().Perm()); err != nil {
		return err
	}
	return os.Rename(path+".swap", path)
}

// TestDamage harms every file and directory of the agent's data, in turn,
// while the agent is away: it starts, the component runs with its state whole,
// and the next wish works. A sample of them is harmed, with TRANQUIL_DAMAGE=all
// each in every way, with TRANQUIL_DAMAGE=store those with "store" in the path.
//
// The component's own live state is left out: it belongs to the component,
// and nobody else can tell what should be in it.
func TestDamage(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0", "2.0.0")
	update(t, s, "2.0.0") // there are generations of the state, and transforms
	data := filepath.Join(s.Dir, "agent")
	for n, target := range targets(t, data) {
		for m, h := range harms {
			if !chosen(target, m == n%len(harms)) {
				continue
			}
			t.Run(target+" "+h.name, func(t *testing.T) { damaged(t, s, filepath.Join(data, target), h) })
		}
	}
}

// TestDamageDuringUpdate kills the agent in the middle of an update, and
// harms its store: the update is finished from the copy.
func TestDamageDuringUpdate(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0", "2.0.0")
	length := typical(t, s)
	harms := harms
	if os.Getenv("TRANQUIL_DAMAGE") == "" {
		harms = harms[2:]
	}
	for n, h := range harms {
		before, history := check(t, s)
		wanted := map[string]string{"1.0.0": "2.0.0", "2.0.0": "1.0.0"}[before.Version]
		last := lastUpdate(t, s)
		if err := s.Wish(t.Context(), rig.SensorAdapter, fmt.Sprintf(`{"version": %q, "attempt": %d}`, wanted, n+1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(length * time.Duration(2*n+1) / time.Duration(2*len(harms))) // early, late and between
		s.Agent.Kill()
		if err := filepath.WalkDir(filepath.Join(s.Dir, "agent", "store"), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			return h.do(path)
		}); err != nil {
			t.Fatal(err)
		}
		restart(t, s)
		if _, err := s.Await(t.Context(), "the update is finished", rig.UpdateTime, func(r rig.Reported) bool {
			c := r.Components[rig.SensorAdapter]
			return c.Version == wanted && c.Update.ID != last && c.Update.Result != ""
		}); err != nil {
			t.Fatal(err)
		}
		unbroken(t, s, wanted, history)
		t.Log(h.name, tells(s))
	}
}

// chosen reports whether a target is harmed in this way: in a short test
// something of each kind is, in one way.
func chosen(target string, turn bool) bool {
	switch want := os.Getenv("TRANQUIL_DAMAGE"); want {
	case "":
	case "all":
		return true
	default:
		return strings.Contains(target, want)
	}
	for _, part := range []string{"copy-0", "1/seal.json", "version.json", "current", "files/sensor-adapter"} {
		if strings.HasSuffix(target, part) {
			return turn
		}
	}
	return turn && (target == "content" || target == "store" || target == "store+copies")
}

// state is the component's live state, below the agent's data directory.
const state = "updater/application/sensor-adapter/state"

// targets lists what can be harmed now: later, other names may be there.
func targets(t *testing.T, data string) []string {
	t.Helper()
	all := []string{"store+copies"}
	err := filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == data {
			return err
		}
		rel, err := filepath.Rel(data, path)
		if rel == state {
			return fs.SkipDir
		}
		if strings.HasPrefix(state, rel+"/") {
			return err // with it the live state would go
		}
		all = append(all, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// damaged is one harm, and all that must hold after it.
func damaged(t *testing.T, s *rig.System, target string, h harm) {
	running, history := check(t, s)
	if n := len(target) + len(h.name); n%2 == 0 {
		s.Agent.Stop()
	} else {
		s.Agent.Kill()
	}
	target = present(target)
	paths := []string{target}
	base, both := strings.CutSuffix(target, "+copies")
	if both {
		paths = []string{base, base + ".copy-0", base + ".copy-1"}
	}
	for _, path := range paths {
		if !hurt(t, path, h) {
			restart(t, s)
			return
		}
	}
	if strings.Contains(target, "/sensor-adapter") && strings.HasSuffix(filepath.Dir(target), "files") {
		s.Reboot() // a program that is only damaged on the disk runs on
	}
	restart(t, s)
	last := lastUpdate(t, s)
	again(t, s, running.Version)
	unbroken(t, s, running.Version, history)
	t.Log(filepath.Base(target), tells(s))
	if both { // with the journal lost, the agent is in safe mode
		if _, err := s.Await(t.Context(), "the twin says that the agent is in safe mode", time.Minute, func(r rig.Reported) bool { return r.Mode == "safe" }); err != nil {
			t.Fatal(err)
		}
		if out, err := s.CLI(t.Context(), "repair", s.Device, "--wait"); err != nil || !strings.Contains(out, "has left safe mode") {
			t.Fatalf("%s, %v", out, err)
		}
	}
	if want, ok := causes[filepath.Base(target)]; ok && filepath.Base(filepath.Dir(target)) != "application" {
		if _, err := s.Await(t.Context(), "the twin says "+want, time.Minute, func(r rig.Reported) bool {
			return strings.Contains(r.Components[rig.SensorAdapter].Update.Cause, want)
		}); err != nil {
			t.Error(err)
		}
	}
	last = lastUpdate(t, s)
	next := map[string]string{"1.0.0": "2.0.0", "2.0.0": "1.0.0"}[running.Version]
	wish := fmt.Sprintf(`{"version": %q, "attempt": %d}`, next, time.Now().UnixNano()%1e9)
	if err := s.Wish(t.Context(), rig.SensorAdapter, wish); err != nil {
		t.Fatal(err)
	}
	_, err := s.Await(t.Context(), "the next wish is fulfilled", rig.UpdateTime, func(r rig.Reported) bool {
		c := r.Components[rig.SensorAdapter]
		return c.Version == next && c.Update.ID != last && c.Update.Result == "updated"
	})
	if err != nil {
		t.Fatal(err)
	}
	unbroken(t, s, next, history)
}

// causes is what the twin says after the worst.
var causes = map[string]string{"sensor-adapter": "put in place again", "version.json": "put in place again", "store": "made anew from its copy", "store+copies": "had forgotten what is installed"}

// present returns a path like the wanted one: versions, generations and the
// files of databases have other names from time to time.
func present(path string) string {
	if _, err := os.Lstat(path); err == nil || strings.HasSuffix(path, "+copies") {
		return path
	}
	dir := present(filepath.Dir(path))
	best := filepath.Base(path)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if _, err := os.Lstat(filepath.Join(dir, best)); err != nil && filepath.Ext(e.Name()) == filepath.Ext(best) {
			best = e.Name()
		}
	}
	if filepath.Base(dir) == "versions" && len(entries) > 0 {
		best, _ = os.Readlink(filepath.Join(filepath.Dir(dir), "current"))
	}
	return filepath.Join(dir, filepath.Base(best))
}

// hurt reports whether there was something to hurt.
func hurt(t *testing.T, path string, h harm) bool {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Log("is not there now:", path)
		return false
	}
	do := h.do
	if info.IsDir() {
		do = os.RemoveAll // nothing else can be done to a directory
	}
	if err := do(path); err != nil {
		t.Fatal(err)
	}
	return true
}

func restart(t *testing.T, s *rig.System) {
	t.Helper()
	if err := s.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// again waits until the component runs, and the agent has said so.
func again(t *testing.T, s *rig.System, version string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		running := s.Components(rig.SensorAdapter)
		if len(running) == 1 && running[0].Version == version && strings.Contains(rig.Tail(s.Agent.Log, 100), "agent starts") {
			return
		}
		if s.Agent.Ended() || time.Now().After(deadline) {
			t.Fatalf("the agent ended: %v; running: %+v", s.Agent.Ended(), running)
		}
	}
}

// tells returns what the agent says that it has found.
func tells(s *rig.System) string {
	var found []string
	for line := range strings.SplitSeq(rig.Tail(s.Agent.Log, 60), "\n") {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "level=WARN") {
			found = append(found, line)
		}
	}
	return strings.Join(found, "\n")
}
