// Package logfile keeps a log on a small disk: what is old gives way to what is
// new.
package logfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// A File is a log of at most so many bytes, half of them in PATH and what was
// before that in PATH.1.
type File struct {
	path  string
	limit int64

	mu   sync.Mutex
	file *os.File
	size int64
}

// Open goes on with a log, or begins it.
func Open(path string, limit int64) (*File, error) {
	f := &File{path: path, limit: limit}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("cannot make directory for the log: %w", err)
	}
	if err := f.open(os.O_APPEND); err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) open(how int) error {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY|how, 0o640)
	if err != nil {
		return fmt.Errorf("cannot open the log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.file, f.size = file, info.Size()
	return nil
}

// Write adds a line. It waits for no disk: what a power cut takes of a log is not
// worth the writes.
func (f *File) Write(line []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size > 0 && f.size+int64(len(line)) > f.limit/2 {
		if err := f.turn(); err != nil {
			return 0, err
		}
	}
	n, err := f.file.Write(line)
	f.size += int64(n)
	return n, err
}

// turn begins a new file. If the old one cannot be kept it is overwritten: the
// bound holds whatever else.
func (f *File) turn() error {
	old := f.file
	how := os.O_APPEND
	if err := os.Rename(f.path, f.path+".1"); err != nil {
		how |= os.O_TRUNC
	}
	if err := f.open(how); err != nil {
		return err
	}
	return old.Close()
}

// Close ends the log.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.file.Close()
}
