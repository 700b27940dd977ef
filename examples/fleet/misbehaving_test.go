package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// misdeeds are the components of an updater that keeps no promise, and those of
// its deeds that the agent has to tell of; see updatertest.Misbehave.
var misdeeds = map[string]string{
	"dies": "", "panics": "", "babbles": "", "floods": "updater logs too much",
	"leaks": "updater takes too much and is killed", "opens": "updater takes too much and is killed", "freezes": "updater is frozen and is killed",
}

// TestMisbehavingUpdater: whatever an updater does, its updates end, with a reason
// of bounded length; the agent stays small and says what it has seen; and the
// component of another updater runs, and is updated meanwhile.
func TestMisbehavingUpdater(t *testing.T) {
	t.Parallel()
	s := startWith(t, []rig.Edit{misbehaving(t)}, "1.0.0")
	put(t, s, "2.0.0")
	for name := range misdeeds {
		putMisbehaving(t, s, name)
	}
	putMisbehaving(t, s, "lies")
	before, _ := check(t, s)

	wish := func(name string) {
		if err := s.Wish(t.Context(), "misbehaving/"+name, `{"version": "1.0.0"}`); err != nil {
			t.Fatal(err)
		}
	}
	ended := func(name string) rig.Update {
		r, err := s.Await(t.Context(), name+" has ended", rig.UpdateTime, func(r rig.Reported) bool { return r.Components["misbehaving/"+name].Update.Result != "" })
		if err != nil {
			t.Fatal(err)
		}
		return r.Components["misbehaving/"+name].Update
	}
	wish("lies")
	if u := ended("lies"); u.Result != "updated" {
		t.Errorf("lies: %+v", u)
	}
	for name := range misdeeds {
		wish(name)
	}
	update(t, s, "2.0.0")
	log := func() string { data, _ := os.ReadFile(s.Agent.Log); return string(data) }
	for name, told := range misdeeds {
		u := ended(name)
		if u.Result != "refused" || u.Cause == "" || len(u.Cause) > 16<<10 {
			t.Errorf("%s: the result is %q: %.500s", name, u.Result, u.Cause)
		}
		if !strings.Contains(log(), told) {
			t.Errorf("%s: nobody is told that %q", name, told)
		}
	}
	if n := len(log()); n > 16<<20 {
		t.Errorf("the agent's log has %d bytes", n)
	}
	(&attacked{T: t, System: s}).peak()
	if after, _ := check(t, s); after.Version == before.Version {
		t.Errorf("the other component still is %+v", after)
	}

	s.Agent.Stop()
	if err := s.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	const lie = "the updater has version 91.0.0, but"
	if _, err := s.Await(t.Context(), "the lie is found", rig.UpdateTime, func(r rig.Reported) bool {
		return strings.Contains(r.Components["misbehaving/lies"].Outcome.Cause, lie)
	}); err != nil {
		t.Error(err)
	}
}

// misbehaving gives an agent that updater, with narrow limits.
func misbehaving(t *testing.T) rig.Edit {
	t.Helper()
	path := built.Program("misbehaving")
	sum, err := updater.Checksum(path)
	if err != nil {
		t.Fatal(err)
	}
	return func(config string) string {
		for name := range misdeeds {
			config = strings.Replace(config, `components = [`, fmt.Sprintf("components = [%q, ", "misbehaving/"+name), 1)
		}
		config = strings.Replace(config, `components = [`, `components = ["misbehaving/lies", `, 1)
		return config + fmt.Sprintf("\n[[updater]]\ntype = \"misbehaving\"\npath = %q\nsha256 = %q\nanswer = \"5s\"\nmemory = 209715200\nfiles = 200\n", path, sum)
	}
}

func putMisbehaving(t *testing.T, s *rig.System, name string) {
	t.Helper()
	dir := t.TempDir()
	for file, text := range map[string]string{
		"tranquil.toml": "type = \"misbehaving\"\nname = \"" + name + "\"\nversion = \"1.0.0\"\n[[artifact]]\npath = \"none\"\nraw = true\n", "none": name,
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "package.tar")
	_, err := s.CLI(t.Context(), "package", "build", dir, "-o", file)
	if err == nil {
		err = s.Push(t.Context(), file)
	}
	if err != nil {
		t.Fatal(err)
	}
}
