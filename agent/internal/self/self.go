// Package self makes the agent a component of its device: tranquil/agent. A version
// is a directory with the agent's program and those of its updaters, beside the ones
// before; the program that was installed with the device is never touched.
//
// As a boot loader does with a device that has two slots, [Choose] decides with each
// start of the agent which version runs, counts the starts of one that has not
// proven itself, and goes back after three. So for the updater of this component a
// boot is a start of the agent: Switch asks for one, and Confirm says that the
// version has proven itself. All that is remembered is one file:
//
//	versions/VERSION-DIGEST/  a version's programs, and .sums.json by which damage is noticed
//	note.json                 which of them runs, since when it is tried, and what to go back to
//	registered                the process of an agent that its server has taken
package self

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/durable"
)

// Type is the type of the component, and Component its whole name.
const (
	Type      = "tranquil"
	Component = Type + "/agent"
)

// Program is the name of the agent's own program in a version.
const Program = "tranquil-agent"

// maxStarts is how often a version may be started until it has proven itself.
const maxStarts = 3

// A note is what is remembered. The empty id stands for the program that was
// installed with the device.
type note struct {
	Current   string          `json:"current"`             // the version to run
	Wanted    string          `json:"wanted,omitempty"`    // the version that an update has asked for; Current is another one if that was gone back from
	Before    string          `json:"before,omitempty"`    // the one to go back to while Current is tried
	Trial     *trial          `json:"trial,omitempty"`     // Current has not proven itself
	Proven    map[string]bool `json:"proven,omitempty"`    // those that have
	Abandoned string          `json:"abandoned,omitempty"` // the last one that was gone back from
}

type trial struct {
	Starts int `json:"starts"`
}

func notePath(dir string) string { return filepath.Join(dir, "note.json") }

func readNote(dir string) (n note, err error) {
	data, err := os.ReadFile(notePath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return n, nil
	}
	if err != nil {
		return n, fmt.Errorf("cannot tell which version of the agent is to run: %w", err)
	}
	err = json.Unmarshal(data, &n)
	if strings.Contains(n.Current+n.Before, "/") || strings.HasPrefix(n.Current, ".") || strings.HasPrefix(n.Before, ".") {
		err = errors.New("it names no version")
	}
	if err != nil { // it counts as none, and what was installed runs
		aside := notePath(dir) + ".damaged"
		return note{}, errors.Join(fmt.Errorf("the note of which version of the agent is to run is damaged, and kept as %s: %w", aside, err), os.Rename(notePath(dir), aside))
	}
	return n, nil
}

func (n note) write(dir string) error {
	data, err := json.Marshal(n)
	if err == nil {
		err = durable.WriteFile(notePath(dir), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("cannot note which version of the agent is to run: %w", err)
	}
	return nil
}

// abandon goes back from the version that is tried.
func (n *note) abandon() {
	n.Abandoned, n.Current, n.Before, n.Trial = n.Current, n.Before, "", nil
}

func versionDir(dir, id string) string { return filepath.Join(dir, "versions", id) }

func program(dir, id string) string { return filepath.Join(versionDir(dir, id), Program) }

// Choose returns the program that is to run as the agent: a version in dir, or the
// one that was installed. It is called with each start, and counts those of a
// version that is tried. An error says why it is not the version that should run.
func Choose(dir, installed string) (string, error) {
	n, err := readNote(dir)
	if err != nil || n.Current == "" {
		return installed, err
	}
	usable := checkProgram(program(dir, n.Current))
	if n.Trial != nil {
		back := n.Before
		if n.Trial.Starts >= maxStarts || usable != nil {
			usable = errors.Join(usable, fmt.Errorf("version %s of the agent was started %d times and has not proven itself", n.Current, n.Trial.Starts))
			n.abandon()
		} else {
			n.Trial.Starts++
		}
		if err := n.write(dir); err != nil { // what is not counted is not tried
			n.Current, usable = back, err
		}
		if n.Current == "" {
			return installed, usable
		}
		if n.Trial == nil {
			return choose(dir, n.Current, installed, usable)
		}
	}
	return choose(dir, n.Current, installed, usable)
}

// choose falls back to what was installed, whatever became of a version.
func choose(dir, id, installed string, cause error) (string, error) {
	err := checkProgram(program(dir, id))
	if err == nil {
		err = Intact(program(dir, id))
	}
	if err != nil {
		return installed, errors.Join(cause, err)
	}
	return program(dir, id), cause
}

func checkProgram(name string) error {
	info, err := os.Stat(name)
	if err == nil && (!info.Mode().IsRegular() || info.Mode()&0o111 == 0) {
		err = fmt.Errorf("%s is no program: it must be a file that can be executed", filepath.Base(name))
	}
	return err
}

// running is the version of a program, by where it lies; "" is the installed one.
func running(dir, executable string) string {
	rest, is := strings.CutPrefix(executable, filepath.Join(dir, "versions")+"/")
	id, _, _ := strings.Cut(rest, "/")
	if !is {
		return ""
	}
	return id
}

// Tried reports whether a program is a version that has not proven itself yet.
func Tried(dir, executable string) bool {
	n, err := readNote(dir)
	return err == nil && n.Trial != nil && n.Current == running(dir, executable)
}

// Registered notes whether this process is an agent that its server has taken.
func Registered(dir string, yes bool) error {
	name := filepath.Join(dir, "registered")
	if yes {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
		return os.WriteFile(name, []byte(strconv.Itoa(os.Getpid())), 0o600)
	}
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func isRegistered(dir string, pid int) bool {
	text, err := os.ReadFile(filepath.Join(dir, "registered"))
	return err == nil && string(text) == strconv.Itoa(pid)
}
