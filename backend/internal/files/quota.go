package files

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
)

// A quota bounds the bytes of all blobs and uploads.
type quota struct {
	limit int64 // 0: none

	mu   sync.Mutex
	used int64
}

// measure counts what is in directories.
func (q *quota) measure(dirs ...string) error {
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if info, err := os.Stat(filepath.Join(dir, e.Name())); err == nil {
				q.used += info.Size()
			}
		}
	}
	return nil
}

// take refuses bytes for which there is no room.
func (q *quota) take(n int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.limit > 0 && q.used+n > q.limit {
		return refuse(http.StatusInsufficientStorage, "DENIED",
			"the package store may have %d bytes and has %d: delete packages that no device needs, or raise the quota", q.limit, q.used)
	}
	q.used += n
	return nil
}

// almostFull is the part of a quota from which on people are told.
const almostFull = 0.9

// problem says that there is hardly room any more; "" there is.
func (q *quota) problem() string {
	used, limit := q.room()
	if limit <= 0 || float64(used) < almostFull*float64(limit) {
		return ""
	}
	return fmt.Sprintf("The package store has used %d %% of its quota of %d bytes: delete packages that no device needs, or raise files.quota", 100*used/limit, limit)
}

// room is how many bytes there are, and may be; 0 is no bound.
func (q *quota) room() (used, limit int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.used, q.limit
}

func (q *quota) give(n int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used -= n
}

// metered writes as far as a quota allows.
type metered struct {
	io.Writer
	*quota
}

func (m *metered) Write(b []byte) (int, error) {
	if err := m.take(int64(len(b))); err != nil {
		return 0, err
	}
	n, err := m.Writer.Write(b)
	m.give(int64(len(b) - n))
	return n, err
}
