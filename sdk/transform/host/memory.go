package host

import (
	"github.com/tetratelabs/wazero/experimental"
	"golang.org/x/sys/unix"
)

// A linear is the memory of the module in a sandbox; the runs, of which there
// is one at a time, use it in turn. Left to the garbage collector, a memory per
// file is too much for the limit of the process once the files are many.
type linear struct {
	whole   []byte
	refused bool // the module has asked for more, in this run
}

func newLinear(size int64) (*linear, error) {
	whole, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	return &linear{whole: whole}, err
}

// Allocate implements [experimental.MemoryAllocator].
func (l *linear) Allocate(uint64, uint64) experimental.LinearMemory { return l }

// Reallocate returns the first bytes, or nil if there are not so many.
func (l *linear) Reallocate(size uint64) []byte {
	if size > uint64(len(l.whole)) {
		l.refused = true
		return nil
	}
	return l.whole[:size:size]
}

// Free forgets the content: pages that are touched again are zero.
func (l *linear) Free() {
	if err := unix.Madvise(l.whole, unix.MADV_DONTNEED); err != nil {
		clear(l.whole)
	}
}

// close gives the memory back.
func (l *linear) close() error { return unix.Munmap(l.whole) }
