package supervisor

import (
	"fmt"
	"os"
)

// A logFile is written to path; when it has grown to size it becomes path.1,
// path.1 becomes path.2, and so on up to keep. It never fails: a supervisor
// that cannot log must still keep its process running, so output that cannot
// be written is lost.
type logFile struct {
	path string
	size int64
	keep int

	file    *os.File
	written int64
}

// Write appends p, all in one file.
func (l *logFile) Write(p []byte) (int, error) {
	l.open()
	if l.written > 0 && l.written+int64(len(p)) > l.size {
		l.rotate()
		l.open()
	}
	if l.file != nil {
		n, _ := l.file.Write(p)
		l.written += int64(n)
	}
	return len(p), nil
}

// open goes on where an earlier process ended.
func (l *logFile) open() {
	if l.file != nil {
		return
	}
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return
	}
	l.file, l.written = file, 0
	if info, err := file.Stat(); err == nil {
		l.written = info.Size()
	}
}

func (l *logFile) rotate() {
	l.Close()
	if l.keep == 0 {
		os.Remove(l.path)
		return
	}
	for n := l.keep - 1; n > 0; n-- {
		os.Rename(l.numbered(n), l.numbered(n+1))
	}
	os.Rename(l.path, l.numbered(1))
}

func (l *logFile) numbered(n int) string { return fmt.Sprintf("%s.%d", l.path, n) }

// Close closes the current file.
func (l *logFile) Close() {
	if l.file != nil {
		l.file.Close()
		l.file, l.written = nil, 0
	}
}
