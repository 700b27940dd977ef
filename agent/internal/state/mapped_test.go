package state

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMappedMemory: a component counts in files that it has mapped into its
// memory, of which the file system sees only the first write after each sync.
// It begins while the rehearsal makes the first files.
func TestMappedMemory(t *testing.T) {
	memory, err := os.MkdirTemp("/dev/shm", "state") // tmpfs, which tells nothing of that
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(memory) })
	for where, dir := range map[string]string{"disk": t.TempDir(), "memory": memory} {
		for _, takes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s takes=%v", where, takes), func(t *testing.T) {
				t.Parallel()
				mappedMemory(t, newBenchIn(t, filepath.Join(dir, fmt.Sprint(takes))), takes)
			})
		}
	}
}

func mappedMemory(t *testing.T, b *bench, takes bool) {
	const files = 100
	b.takes = takes
	counters := make([][]byte, files)
	for i := range counters {
		b.put(fmt.Sprint("counter", i), string(make([]byte, os.Getpagesize())))
		f, err := os.OpenFile(filepath.Join(b.live, fmt.Sprint("counter", i)), os.O_RDWR, 0)
		must(t, err)
		counters[i], err = unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		must(t, err)
		must(t, f.Close())
	}
	stop := make(chan struct{})
	var running sync.WaitGroup
	begin := sync.OnceFunc(func() {
		running.Go(func() {
			for random := rand.New(rand.NewPCG(1, 2)); ; time.Sleep(200 * time.Microsecond) {
				select {
				case <-stop:
					return
				default:
					c := counters[random.IntN(files)]
					binary.NativeEndian.PutUint64(c, binary.NativeEndian.Uint64(c)+1)
				}
			}
		})
	})
	b.during = func() { begin(); time.Sleep(3 * tick(1)) } // as the transform of a large state takes
	b.rehearse(up)
	close(stop)
	running.Wait()
	for _, c := range counters {
		must(t, unix.Msync(c, unix.MS_SYNC))
	}
	b.during = nil
	got, lost := b.update(up), 0
	for name, want := range b.want("1→2 ") {
		if got[name] != want {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d counters of %d are not what the component wrote last", lost, files)
	}
	for _, c := range counters {
		must(t, unix.Munmap(c))
	}
}
