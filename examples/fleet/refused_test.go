package fleet

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

// TestRefused asks one device for what it must refuse. After each refusal the
// component must still be the same process, and the next good wish must work.
func TestRefused(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0", "2.0.0")
	for _, c := range []struct {
		name string
		ask  func(*testing.T, *rig.System) (cause string)
		want string // in the cause
	}{
		{"unknown component", unknownComponent, "no component"},
		{"malformed version", malformedVersion, "wrong type"},
		{"malformed schedule", malformedSchedule, "cron"},
		{"unknown version", unknownVersion, "9.9.9"},
		{"package for another component", otherComponent, "application/other"},
		{"package for another architecture", otherArchitecture, "no artifact for"},
		{"digest does not match", damagedBlob, "digest"},
		{"installed already", installedAlready, "installed already"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, _ := check(t, s)
			cause := c.ask(t, s)
			t.Log(cause)
			if !strings.Contains(cause, c.want) {
				t.Errorf("the cause does not say %q: %s", c.want, cause)
			}
			if after, _ := check(t, s); after != before {
				t.Errorf("the component was touched: %+v became %+v", before, after)
			}
			next := map[string]string{"1.0.0": "2.0.0", "2.0.0": "1.0.0"}[before.Version]
			update(t, s, next)
		})
	}
}

func unknownComponent(t *testing.T, s *rig.System) string {
	defer forget(t, s, `{"components": {"application/nobody": null}}`)
	return notUnderstood(t, s, `{"components": {"application/nobody": {"version": "1.0.0"}}}`, "nobody")
}

func malformedVersion(t *testing.T, s *rig.System) string {
	return notUnderstood(t, s, `{"components": {"application/sensor-adapter": {"version": 17}}}`, "sensor-adapter")
}

func malformedSchedule(t *testing.T, s *rig.System) string {
	defer forget(t, s, `{"components": {"application/sensor-adapter": {"check": null}}}`)
	return notUnderstood(t, s, `{"components": {"application/sensor-adapter": {"check": "at noon"}}}`, "sensor-adapter")
}

// notUnderstood desires something and returns why the device refused it.
func notUnderstood(t *testing.T, s *rig.System, desired, path string) (cause string) {
	t.Helper()
	if err := s.Desire(t.Context(), desired); err != nil {
		t.Fatal(err)
	}
	_, err := s.Await(t.Context(), "the wish is refused", time.Minute, func(r rig.Reported) bool {
		for at, why := range r.Refused {
			if strings.Contains(at, path) {
				cause = why
			}
		}
		return cause != ""
	})
	if err != nil {
		t.Fatal(err)
	}
	return cause
}

func forget(t *testing.T, s *rig.System, desired string) {
	t.Helper()
	if err := s.Desire(t.Context(), desired); err != nil {
		t.Fatal(err)
	}
}

func unknownVersion(t *testing.T, s *rig.System) string {
	return refused(t, s, `{"version": "9.9.9"}`)
}

func otherComponent(t *testing.T, s *rig.System) string {
	file := publish(t, s, rig.Replace(`name = "sensor-adapter"`, `name = "other"`))
	return refused(t, s, fmt.Sprintf(`{"version": null, "package": %q}`, filepath.Base(file)))
}

func otherArchitecture(t *testing.T, s *rig.System) string {
	publish(t, s, rig.Replace("2.0.0", "2.1.0"), rig.Replace(`arch = "`, `arch = "s390x" # "`))
	return refused(t, s, `{"version": "2.1.0"}`)
}

// publish pushes a package like that of version 2, with changes.
func publish(t *testing.T, s *rig.System, edits ...rig.Edit) (file string) {
	t.Helper()
	file, err := s.Package(t.Context(), "2.0.0", slices.Concat(quick, edits)...)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Push(t.Context(), file); err != nil {
		t.Fatal(err)
	}
	return file
}

// damagedBlob damages the largest blob of the file server, which is the
// sensor adapter, while it is being asked for.
func damagedBlob(t *testing.T, s *rig.System) string {
	put(t, s, "3.0.0")
	restore := damage(t, filepath.Join(s.Dir, "backend"))
	defer restore()
	return refused(t, s, `{"version": "3.0.0"}`)
}

// damage flips one byte in the middle of all files over 1 MB below dir.
func damage(t *testing.T, dir string) (restore func()) {
	t.Helper()
	damaged := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.Contains(path, "sha256") || entry.IsDir() {
			return err
		}
		whole, err := os.ReadFile(path)
		if err != nil || len(whole) < 1<<20 {
			return err
		}
		bad := bytes.Clone(whole)
		bad[len(bad)/2] ^= 1
		damaged[path] = whole
		return os.WriteFile(path, bad, 0o600)
	})
	if err != nil || len(damaged) == 0 {
		t.Fatalf("damaged %d files: %v", len(damaged), err)
	}
	return func() {
		for path, whole := range damaged {
			if err := os.WriteFile(path, whole, 0o600); err != nil {
				t.Error(err)
			}
		}
	}
}

func installedAlready(t *testing.T, s *rig.System) string {
	running, _ := check(t, s)
	c, err := s.Ask(t.Context(), fmt.Sprintf(`{"version": %q, "attempt": 2}`, running.Version))
	if err != nil {
		t.Fatal(err)
	}
	if c.Update.Result != "unchanged" {
		t.Errorf("the result is %q", c.Update.Result)
	}
	return c.Update.Cause
}

// refused wishes for something and returns why the device refused it.
func refused(t *testing.T, s *rig.System, wish string) string {
	t.Helper()
	c, err := s.Ask(t.Context(), wish)
	if err != nil {
		t.Fatal(err)
	}
	if c.Update.Result != "refused" || c.Update.Cause == "" {
		t.Errorf("%s: the result is %q, %q", wish, c.Update.Result, c.Update.Cause)
	}
	log, err := os.ReadFile(s.Agent.Log)
	if err != nil || !bytes.Contains(log, []byte(c.Update.ID)) {
		t.Errorf("the agent's log does not tell of update %s (%v)", c.Update.ID, err)
	}
	return c.Update.Cause
}

// TestUpdaterWithWrongChecksum pins another updater than the one that is
// there: it must not be started, and the component must not notice.
func TestUpdaterWithWrongChecksum(t *testing.T) {
	t.Parallel()
	s := start(t, "1.0.0", "2.0.0")
	before, _ := check(t, s)
	s.Agent.Stop()
	if err := s.StartAgentPinning(t.Context(), strings.Repeat("0", 64)); err != nil {
		t.Fatal(err)
	}
	cause := refused(t, s, `{"version": "2.0.0"}`)
	if !strings.Contains(cause, "checksum") {
		t.Errorf("the cause does not say checksum: %s", cause)
	}
	if after, _ := check(t, s); after != before {
		t.Errorf("the component was touched: %+v became %+v", before, after)
	}
	s.Agent.Stop()
	if err := s.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := s.Ask(t.Context(), `{"version": "2.0.0", "attempt": 2}`)
	if err != nil || c.Update.Result != "updated" {
		t.Errorf("the next good wish: %v, %v", c.Update, err)
	}
}
