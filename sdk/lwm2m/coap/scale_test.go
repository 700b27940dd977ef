package coap

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// startBusy starts a server for a swarm.
func startBusy(t testing.TB, scheme, address string) (s *lwm2m.Server, at string, stop func()) {
	t.Helper()
	var options []Option
	if scheme == "coaps://" {
		options = append(options, PSKs(func(string) ([]byte, error) { return swarmKey, nil }))
	}
	conn, err := Listen(scheme+address, options...)
	if err != nil {
		t.Fatal(err)
	}
	s = lwm2m.NewServer(lwm2m.ServerConfig{Model: lwm2m.NewModel(lwm2m.Definition{ID: 3303, Multiple: true, Resources: []lwm2m.Resource{
		{ID: 5700, Operations: lwm2m.R, Kind: lwm2m.KindFloat},
	}})})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, conn) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		conn.Close()
	})
	t.Cleanup(stop)
	return s, conn.LocalAddr().String(), stop
}

// TestReconnectStorm: a server that has lost everything hears of all devices at
// once. All end registered. TRANQUIL_STORM=10000 sets how many.
func TestReconnectStorm(t *testing.T) {
	n := 300
	if v := os.Getenv("TRANQUIL_STORM"); v != "" {
		n, _ = strconv.Atoi(v)
	}
	for _, scheme := range []string{"coap://", "coaps://"} {
		t.Run(scheme, func(t *testing.T) {
			_, address, stop := startBusy(t, scheme, "127.0.0.1:0")
			register := startSwarm(t, scheme+address, n)
			register(64)
			stop()
			s, _, _ := startBusy(t, scheme, address)
			begun := time.Now()
			register(n)
			if got := len(s.Devices()); got != n {
				t.Errorf("%d devices of %d are registered", got, n)
			}
			t.Logf("%d devices were back after %v", n, time.Since(begun))
		})
	}
}

// BenchmarkScale gives what a server needs for each of many clients: processor time
// for a registration, an observation and a read, and memory. If it scales, the
// numbers of a column are alike.
func BenchmarkScale(b *testing.B) {
	for _, scheme := range []string{"coap://", "coaps://"} {
		for _, n := range []int{1_000, 10_000, 50_000} {
			b.Run(fmt.Sprintf("%s/clients=%d", scheme[:len(scheme)-3], n), func(b *testing.B) {
				if most, _ := strconv.Atoi(os.Getenv("TRANQUIL_CLIENTS")); most > 0 && n > most {
					b.Skip("more than TRANQUIL_CLIENTS")
				}
				for b.Loop() {
					scale(b, scheme, n)
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func scale(b *testing.B, scheme string, n int) {
	before := memory()
	s, address, stop := startBusy(b, scheme, "127.0.0.1:0")
	defer stop()
	register := startSwarm(b, scheme+address, n)
	measure(b, "registration", n, func() { register(64) })
	p := lwm2m.NewPath(3303, 0, 5700)
	each := func(f func(d *lwm2m.Device) error) func() {
		return func() {
			var workers sync.WaitGroup
			slots := make(chan struct{}, 64)
			for _, d := range s.Devices() {
				slots <- struct{}{}
				workers.Go(func() {
					defer func() { <-slots }()
					if err := f(d); err != nil {
						b.Error(err)
					}
				})
			}
			workers.Wait()
		}
	}
	measure(b, "observe", n, each(func(d *lwm2m.Device) error {
		_, err := d.Observe(b.Context(), p, func([]lwm2m.Record) {})
		return err
	}))
	measure(b, "read", n, each(func(d *lwm2m.Device) error {
		_, err := d.Read(b.Context(), p)
		return err
	}))
	b.ReportMetric(float64(memory()-before)/float64(n)/1000, "kB/client")
	// Every registration ends another, with its observation.
	measure(b, "again", n, func() { register(1024) })
}

// measure reports how many a second, and how much processor time of this process.
func measure(b *testing.B, what string, n int, f func()) {
	begun, cpu := time.Now(), processor()
	f()
	b.ReportMetric(float64(n)/time.Since(begun).Seconds(), what+"/s")
	b.ReportMetric(float64((processor()-cpu).Microseconds())/float64(n), "µs-cpu/"+what)
}

func processor() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// memory is what is in use, on the heap and on stacks, in bytes.
func memory() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}
