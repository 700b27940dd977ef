package fleet

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/faulty"
	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/audit"
)

// slow is how long an operation takes on a slow disk.
const slow = time.Second

// TestFaults has operations on the agent's disk fail during updates, the
// n-th of its kind: once, or from then on. The old or the new version runs,
// with its state whole; the twin tells the cause; and when the disk is well
// again, the next wish works. By default a few faults happen, with
// TRANQUIL_FAULTS=all each operation of an update fails in every way.
//
// What the component itself writes is left alone: its errors are its own.
func TestFaults(t *testing.T) {
	t.Parallel()
	s, disk := onFaultyDisk(t)
	update(t, s, "2.0.0")
	update(t, s, "1.0.0")
	disk.Inject(faulty.Fault{}) // counts
	update(t, s, "2.0.0")
	for n, fault := range plannedFaults(disk) {
		t.Run(fault.String(), func(t *testing.T) {
			fail(t, s, n, trouble{
				cause: fault.Err.Error(),
				begin: func() { disk.Inject(fault) },
				there: disk.Struck,
				end: func() {
					hits := disk.Heal()
					t.Logf("%s hit %q", fault, hits)
					if len(hits) == 0 && os.Getenv("TRANQUIL_FAULTS") == "" {
						t.Error("no operation was hit")
					}
				},
			})
		})
	}
}

// TestFullDisk fills a small disk to the brim at a step of an update: what
// holds for faults, holds here. By default at a few steps, with
// TRANQUIL_FAULTS=all at each. The component has its state on the same disk.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := filepath.Join(dir, "agent")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", data, "tmpfs", 0, "size=128m"); err != nil {
		t.Skipf("NOT TESTED: a full disk, since no file system can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(data, syscall.MNT_DETACH) }) // if the system's guard has not done it
	s := launch(t, dir, []rig.Edit{rig.OverHTTP}, "1.0.0", "2.0.0")
	l := traceFrom(s.Agent.Log)
	update(t, s, "2.0.0")
	r := follow(t, l)
	for n, p := range r.points {
		if p.back || os.Getenv("TRANQUIL_FAULTS") != "all" && p.step != "stage" && p.step != "save" {
			continue
		}
		t.Run(p.step, func(t *testing.T) {
			l := traceFrom(s.Agent.Log)
			fail(t, s, n, trouble{
				cause: syscall.ENOSPC.Error(),
				after: func() {
					r.reach(t, l, p, rand.New(rand.NewPCG(1, uint64(n))))
					fill(t, filepath.Join(data, "full"))
				},
				end: func() { os.Remove(filepath.Join(data, "full")) },
			})
		})
	}
}

// fill writes a file as long as there is room.
func fill(t *testing.T, path string) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 64<<10); len(chunk) > 0; {
		if _, err := f.Write(chunk); err != nil {
			chunk = chunk[:len(chunk)/2]
		}
	}
}

// trouble is something wrong with the disk.
type trouble struct {
	cause string      // what the twin may say, besides "disk"
	begin func()      // before the wish
	after func()      // after the wish
	there func() bool // whether it has been met; nil: at once
	end   func()
}

// onFaultyDisk starts a system whose data directory may fail.
func onFaultyDisk(t *testing.T) (*rig.System, *faulty.FS) {
	t.Helper()
	dir := t.TempDir()
	data := filepath.Join(dir, "agent")
	for _, d := range []string{data, realPath(data)} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	disk, err := faulty.Mount(realPath(data), data, func(path string) bool { return !strings.HasPrefix(path, state+"/") })
	if err != nil {
		t.Skipf("NOT TESTED: disk faults: %v", err)
	}
	t.Cleanup(func() { _ = disk.Unmount() }) // if the system's guard has not done it
	return launch(t, dir, []rig.Edit{rig.OverHTTP}, "1.0.0", "2.0.0"), disk
}

// realPath is where the files below the data directory lie in truth, if the disk
// is a faulty one: what is audited is what is there.
func realPath(path string) string {
	return strings.Replace(path+"/", "/agent/", "/agent.real/", 1)
}

// plannedFaults are a few, early enough to hit every update, or all in an
// update like the one that was counted.
func plannedFaults(disk *faulty.FS) (faults []faulty.Fault) {
	if os.Getenv("TRANQUIL_FAULTS") == "all" {
		for _, op := range faulty.Ops {
			for n := 1; n <= disk.Count(op); n++ {
				faults = append(faults,
					faulty.Fault{Op: op, Nth: n, Times: 1, Err: syscall.EIO},
					faulty.Fault{Op: op, Nth: n, Times: 1, Err: syscall.ENOSPC},
					faulty.Fault{Op: op, Nth: n, Err: syscall.EIO},
					faulty.Fault{Op: op, Nth: n, Err: syscall.ENOSPC},
					faulty.Fault{Op: op, Nth: n, Times: 1, Delay: slow})
			}
		}
		return faults
	}
	return []faulty.Fault{
		{Op: faulty.Write, Nth: 12, Times: 1, Err: syscall.EIO},
		{Op: faulty.Sync, Nth: 20, Err: syscall.EIO},
		{Op: faulty.Rename, Nth: 5, Times: 1, Err: syscall.EIO},
		{Op: faulty.Sync, Nth: 9, Times: 1, Delay: slow},
	}
}

// fail is one trouble, and all that must hold during and after it.
func fail(t *testing.T, s *rig.System, n int, w trouble) {
	before, state := whole(t, s)
	last := lastUpdate(t, s)
	other := map[string]string{"1.0.0": "2.0.0", "2.0.0": "1.0.0"}
	if w.begin != nil {
		w.begin()
	}
	wish := fmt.Sprintf(`{"version": %q, "attempt": %d}`, other[before.Version], 2*n+1)
	if err := s.Wish(t.Context(), rig.SensorAdapter, wish); err != nil {
		t.Fatal(err)
	}
	if w.after != nil {
		w.after()
	}
	end := sync.OnceFunc(w.end)
	c, deaths := attended(t, s, w.there, end, last)
	end()
	t.Logf("the agent ended %d times: %s, %s runs: %s", deaths, c.Update.Result, c.Version, c.Update.Cause)
	switch c.Update.Result {
	case "updated":
	case "turned back", "refused", "inconsistent":
		if !strings.Contains(c.Update.Cause, w.cause) && !strings.Contains(c.Update.Cause, "disk") {
			t.Errorf("the cause does not say %q", w.cause)
		}
	default:
		t.Errorf("the update ended %s", c.Update.Result)
	}
	sound(t, s, c.Version, state)
	next := other[c.Version]
	c, err := s.Ask(t.Context(), fmt.Sprintf(`{"version": %q, "attempt": %d}`, next, 2*n+2))
	if err != nil || c.Update.Result != "updated" {
		t.Fatalf("the next wish, with the disk well: %+v, %v", c, err)
	}
	sound(t, s, next, state)
}

// attended waits for the end of an update, and starts the agent again when it
// ends, as a service manager does. A while after it was met the trouble ends.
func attended(t *testing.T, s *rig.System, there func() bool, end func(), last string) (c rig.Component, deaths int) {
	t.Helper()
	var met time.Time
	_, err := s.Await(t.Context(), "the update has ended", rig.UpdateTime, func(r rig.Reported) bool {
		if s.Agent.Ended() {
			deaths++
			time.Sleep(200 * time.Millisecond)
			restart(t, s)
		}
		switch {
		case met.IsZero() && (there == nil || there()):
			met = time.Now()
		case !met.IsZero() && time.Since(met) > 2*slow:
			end()
		}
		c = r.Components[rig.SensorAdapter]
		return c.Update.ID != last && c.Update.Result != ""
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, deaths
}

// sound is that a version runs and no file of the state is lost or altered.
func sound(t *testing.T, s *rig.System, version string, before audit.Whole) {
	t.Helper()
	if lost, altered, err := harmed(s, version, before); err != nil || len(lost)+len(altered) > 0 {
		t.Fatalf("%v; files of the state: lost %q, altered %q", err, lost, altered)
	}
}
