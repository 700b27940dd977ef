// Package faulty is a file system that fails on purpose: a directory is
// mounted a second time, and what passes through fails, or takes its time, at
// the moment that was asked for. It runs in the process of the test.
package faulty

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// An Op is a kind of operation that changes something.
type Op string

// The kinds.
const (
	Write  Op = "write"  // also allocation, and truncation
	Sync   Op = "sync"   // of a file or a directory
	Create Op = "create" // of a file, a directory, a link
	Rename Op = "rename"
	Remove Op = "remove"
)

// Ops are all kinds.
var Ops = []Op{Write, Sync, Create, Rename, Remove}

// A Fault is what happens to one operation, or to many.
type Fault struct {
	Op    Op
	Nth   int           // the first operation of the kind that is hit, from 1 on
	Times int           // how many are hit; 0 is all until Heal
	Err   syscall.Errno // what it fails with; 0 lets it succeed
	Delay time.Duration // how long it takes in addition
}

func (f Fault) String() string {
	what := f.Err.Error()
	if f.Err == 0 {
		what = "takes " + f.Delay.String()
	}
	if f.Times == 0 {
		what += ", from then on"
	}
	return fmt.Sprintf("%s %d: %s", f.Op, f.Nth, what)
}

// An FS is a mounted directory.
type FS struct {
	server   *fuse.Server
	concerns func(path string) bool

	mu     sync.Mutex
	fault  Fault
	counts map[Op]int
	hits   []string
}

// Mount shows the directory backing at another directory. Only operations on
// paths, relative to it, that concern the test are counted and fail. Whoever
// runs this must be root.
func Mount(backing, at string, concerns func(path string) bool) (*FS, error) {
	var st syscall.Stat_t
	if err := syscall.Stat(backing, &st); err != nil {
		return nil, err
	}
	f := &FS{concerns: concerns, counts: map[Op]int{}}
	root := &fs.LoopbackRoot{Path: backing, Dev: uint64(st.Dev)}
	root.RootNode = &node{LoopbackNode: &fs.LoopbackNode{RootData: root}, faulty: f}
	// Nothing is cached: numbers of inodes are used again at once below us.
	server, err := fs.Mount(at, root.RootNode, &fs.Options{
		MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "faulty", Name: "faulty"},
	})
	if err != nil {
		return nil, fmt.Errorf("cannot mount a faulty file system at %s: %w", filepath.Base(at), err)
	}
	f.server = server
	return f, private()
}

// private keeps the connection to the kernel from programs that are started:
// as long as one of them has it, and we have ended, all who use the file
// system wait for ever.
func private() error {
	entries, err := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		if path, err := os.Readlink(filepath.Join("/proc/self/fd", e.Name())); err != nil || path != "/dev/fuse" {
			continue
		}
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			return err
		}
		syscall.CloseOnExec(fd)
	}
	return err
}

// Unmount ends it; nobody may use it any more.
func (f *FS) Unmount() error { return f.server.Unmount() }

// Inject has a fault happen, and counts anew.
func (f *FS) Inject(fault Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.counts, f.hits = fault, map[Op]int{}, nil
}

// Heal ends the fault, and returns which operations it has hit.
func (f *FS) Heal() (hits []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = Fault{}
	return f.hits
}

// Struck reports whether the fault has hit an operation.
func (f *FS) Struck() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.hits) > 0
}

// Count returns how many operations of a kind there were since Inject.
func (f *FS) Count(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[op]
}

// pass counts an operation, and lets it pass or not.
func (f *FS) pass(op Op, path string) syscall.Errno {
	fault, hit := f.count(op, path)
	if !hit {
		return 0
	}
	time.Sleep(fault.Delay)
	return fault.Err
}

func (f *FS) count(op Op, path string) (Fault, bool) {
	if !f.concerns(path) {
		return Fault{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[op]++
	n := f.counts[op]
	if f.fault.Op != op || n < f.fault.Nth || f.fault.Times > 0 && n >= f.fault.Nth+f.fault.Times {
		return Fault{}, false
	}
	f.hits = append(f.hits, path)
	return f.fault, true
}
