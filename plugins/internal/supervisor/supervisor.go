// Package supervisor keeps one process running, whatever becomes of those who
// asked for it. A supervisor is a process of its own, in its own session: it
// is the parent of the supervised process, restarts it when it crashes, writes
// what it prints into files, and ends all of it when asked to. If the
// supervisor itself is killed, the kernel kills the process with it.
//
// There are two sides. The supervisor process runs [Run]. Whoever wants
// something of it calls [Start], [Find] and [Stop], which need no memory: they
// meet at a directory with these files.
//
//	spec.json    what to run, written by Start
//	status.json  which process is the supervisor, and what it knows
//	lock         held from before a supervisor is started until it has ended, so
//	             that there is never a second one
//
// Signals are the only requests: SIGTERM ends politely, SIGQUIT by force.
package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// A Spec says what to run and how.
type Spec struct {
	Version string   // for those who ask later; not interpreted
	Control string   // likewise: the socket that the process serves
	Dir     string   // working directory
	Command []string // a relative path with a slash is relative to Dir
	Env     []string // the whole environment, KEY=VALUE
	Mark    string   // the entry of Env that no other component's processes have
	Halt    int      // the signal that asks it to end; 0 is SIGTERM
	Fresh   []string // files to remove before each start: sockets, health files
	Needs   []string // what must be there for a start: the process would make it anew, empty
	Log     string   // path of the log file; rotated ones get .1, .2 …
	LogSize int64    // bytes of one log file before it is rotated
	LogKeep int      // rotated log files that are kept
}

// The states of a supervisor that runs.
const (
	Starting = "starting" // nothing runs yet
	Running  = "running"  // the process runs
	Waiting  = "waiting"  // it ended unasked and will be started again
	Stopping = "stopping" // it was asked to end and will not be started again
)

// A Status is what a supervisor tells about itself.
type Status struct {
	Boot     string        // the kernel's boot id: after a reboot nothing here is true
	PID      int           // of the supervisor
	Begun    uint64        // its start time, in clock ticks since boot: tells a recycled PID
	State    string        // one of the constants above
	Process  int           // PID of the supervised process while it runs
	Since    time.Time     // of State, for people: the wall clock may be set
	At       time.Duration // of State, since boot
	Restarts int           // after crashes
	Last     string        // how the process ended the last time
	Spec     Spec          // what it runs
}

// For is how long the state has lasted.
func (s Status) For() time.Duration { return SinceBoot() - s.At }

// Log is where the supervisor of dir writes its own log.
func Log(dir string) string { return filepath.Join(dir, "supervisor.log") }

func specPath(dir string) string   { return filepath.Join(dir, "spec.json") }
func statusPath(dir string) string { return filepath.Join(dir, "status.json") }
func lockPath(dir string) string   { return filepath.Join(dir, "lock") }

// writeJSON replaces a file atomically. It is not synced: after a power cut
// nothing runs, and Find does not believe a file of another boot.
func writeJSON(path string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func readSpec(dir string) (Spec, error) {
	var spec Spec
	data, err := os.ReadFile(specPath(dir))
	if err != nil {
		return spec, err
	}
	if err := json.Unmarshal(data, &spec); err != nil {
		return spec, fmt.Errorf("cannot read %s: %w", specPath(dir), err)
	}
	if len(spec.Command) == 0 || spec.Mark == "" {
		return spec, fmt.Errorf("%s names no command or no mark", specPath(dir))
	}
	return spec, nil
}

// readStatus returns the status of this boot, or false. A file that cannot be
// understood was torn by a power cut, and what it told is over.
func readStatus(dir string) (Status, bool, error) {
	var status Status
	data, err := os.ReadFile(statusPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return status, false, nil
	}
	if err != nil {
		return status, false, err
	}
	boot, err := bootID()
	if err != nil {
		return status, false, err
	}
	ok := json.Unmarshal(data, &status) == nil && status.Boot == boot && status.PID > 0
	return status, ok, nil
}
