package fetch

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A tunnel joins two networks of their own through the process of the benchmark. It
// carries IP packets, so UDP and TCP meet the same fate: they are delayed, wait before
// a bottleneck, and are lost as a seed says.
type tunnel struct {
	server, client *space
	up, down       *road
}

const (
	serverIP = "10.213.0.1"
	clientIP = "10.213.0.2"
)

// newTunnel needs root, since it makes networks; without that it says what is not
// measured.
func newTunnel(b *testing.B) *tunnel {
	b.Helper()
	t := &tunnel{up: &road{}, down: &road{}}
	var err error
	var near, far *os.File
	if t.server, near, err = newSpace(serverIP); err == nil {
		t.client, far, err = newSpace(clientIP)
	}
	if err != nil {
		b.Skipf("NOT MEASURED: networks of our own cannot be made (it takes root, /dev/net/tun and ip): %v", err)
	}
	var active sync.WaitGroup
	active.Go(func() { t.up.carry(far, near) })
	active.Go(func() { t.down.carry(near, far) })
	b.Cleanup(func() {
		near.Close()
		far.Close()
		active.Wait()
		close(t.server.do)
		close(t.client.do)
	})
	return t
}

// set makes both directions of the tunnel anew.
func (t *tunnel) set(delay time.Duration, rate, loss float64) {
	t.up.set(1, delay, rate, loss)
	t.down.set(2, delay, rate, loss)
}

// A space is a network namespace; what runs in it runs on a thread of its own.
type space struct{ do chan func() }

// newSpace makes a namespace with one TUN device that has this address.
func newSpace(ip string) (*space, *os.File, error) {
	s := &space{do: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		made <- unix.Unshare(unix.CLONE_NEWNET)
		for f := range s.do {
			f()
		}
	}()
	var tun *os.File
	err := <-made
	if err == nil {
		err = s.run(func() (err error) {
			if tun, err = openTUN("tq0"); err != nil {
				return err
			}
			for _, args := range []string{"addr add " + ip + "/24 dev tq0", "link set tq0 up", "link set lo up"} {
				if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
					return fmt.Errorf("ip %s: %w: %s", args, err, out)
				}
			}
			return nil
		})
	}
	if err != nil {
		close(s.do)
	}
	return s, tun, err
}

func (s *space) run(f func() error) error {
	result := make(chan error)
	s.do <- func() { result <- f() }
	return <-result
}

func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// A road is one direction of a tunnel.
type road struct {
	mu    sync.Mutex
	dice  *rand.Rand
	delay time.Duration
	rate  float64 // bytes a second of the bottleneck; 0 is none
	loss  float64
	free  time.Time // when the bottleneck has sent what waits before it

	datagrams, lost int // of UDP
}

// waitingRoom is how many packets wait before the bottleneck; more are lost.
const waitingRoom = 32

func (r *road) set(seed uint64, delay time.Duration, rate, loss float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dice = rand.New(rand.NewPCG(seed, 0))
	r.delay, r.rate, r.loss = delay, rate, loss
	r.datagrams, r.lost = 0, 0
}

// count returns how many datagrams were sent and lost since set.
func (r *road) count() (sent, lost int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.datagrams, r.lost
}

type parcel struct {
	packet []byte
	due    time.Time
}

// carry carries packets until from is closed.
func (r *road) carry(from io.Reader, to io.Writer) {
	parcels := make(chan parcel, 1<<14)
	var driver sync.WaitGroup
	driver.Go(func() {
		for p := range parcels {
			time.Sleep(time.Until(p.due))
			to.Write(p.packet)
		}
	})
	buf := make([]byte, 1<<16)
	for {
		n, err := from.Read(buf)
		if errors.Is(err, os.ErrClosed) {
			break
		}
		if err != nil || n < 20 || buf[0]>>4 != 4 {
			continue
		}
		if wait, arrives := r.fate(buf[:n], time.Now()); arrives {
			parcels <- parcel{append([]byte{}, buf[:n]...), time.Now().Add(wait)}
		}
	}
	close(parcels)
	driver.Wait()
}

func (r *road) fate(packet []byte, now time.Time) (wait time.Duration, arrives bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	udp := packet[9] == unix.IPPROTO_UDP
	if udp {
		r.datagrams++
	}
	if r.free.Before(now) {
		r.free = now
	}
	each := time.Duration(0)
	if r.rate > 0 {
		each = time.Duration(float64(len(packet)) / r.rate * float64(time.Second))
	}
	if r.dice == nil || r.dice.Float64() < r.loss || r.free.Sub(now) > waitingRoom*each && each > 0 {
		if udp {
			r.lost++
		}
		return 0, false
	}
	r.free = r.free.Add(each)
	return r.free.Sub(now) + r.delay, true
}
