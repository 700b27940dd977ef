package updater

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// Usage is what an updater's process takes, without its components.
type Usage struct {
	Memory  int64 // bytes that are resident and its own
	Files   int   // open file descriptors
	Threads int
}

// Usage looks at the process. Its error wraps [errors.ErrUnsupported] if there is none.
func (c *Client) Usage() (u Usage, err error) {
	if c.process == nil {
		return u, fmt.Errorf("the updater has no process of its own: %w", errors.ErrUnsupported)
	}
	proc := "/proc/" + c.process.ID()
	status, err := os.ReadFile(proc + "/status")
	if err != nil {
		return u, fmt.Errorf("cannot look at the updater's process: %w", err)
	}
	files, err := os.ReadDir(proc + "/fd")
	if err != nil {
		return u, fmt.Errorf("cannot look at the updater's files: %w", err)
	}
	return Usage{field(status, "RssAnon") << 10, len(files), int(field(status, "Threads"))}, nil
}

// field reads a number out of /proc/PID/status, 0 if it is not there.
func field(status []byte, name string) int64 {
	for line := range bytes.Lines(status) {
		if value, is := bytes.CutPrefix(line, []byte(name+":")); is {
			n, _ := strconv.ParseInt(string(bytes.TrimSuffix(bytes.TrimSpace(value), []byte(" kB"))), 10, 64)
			return n
		}
	}
	return 0
}
