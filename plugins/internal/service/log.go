package service

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func (h Home) logFile() string { return h.Path("log", "component.log") }

// logMark notes what was in the log when the component was started, so that nobody
// takes what an earlier version printed for the cause of what it does.
func (h Home) logMark() string { return h.Path("log", "begun") }

// beginLog notes which file the log is, and its length. That this cannot be written
// is no reason not to start.
func (h Home) beginLog() {
	var size int64
	if info, err := os.Stat(h.logFile()); err == nil {
		size = info.Size()
	}
	if os.MkdirAll(filepath.Dir(h.logMark()), 0o700) == nil {
		_ = os.WriteFile(h.logMark(), fmt.Appendf(nil, "%s %d", inode(h.logFile()), size), 0o600)
	}
}

// printedBefore is how many bytes of the log are of earlier starts: none, once it
// is another file, as after a rotation.
func (h Home) printedBefore() int64 {
	note, _ := os.ReadFile(h.logMark())
	number, size, _ := strings.Cut(string(note), " ")
	if n, err := strconv.ParseInt(size, 10, 64); err == nil && number == inode(h.logFile()) {
		return n
	}
	return 0
}

// Begun is when the component was started last; the zero time if that is not known.
func (h Home) Begun() time.Time {
	info, err := os.Stat(h.logMark())
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
