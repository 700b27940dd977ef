package store

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// BenchmarkWrites is what a hundred devices at once can write, each on a disk that is synced: messages, and changes of
// their twins.
func BenchmarkWrites(b *testing.B) {
	s := openInternal(b, b.TempDir())
	const devices = 100
	for i := range devices {
		if err := s.Create(b.Context(), twin.New(fmt.Sprint(i), time.Now()), nil); err != nil {
			b.Fatal(err)
		}
	}
	run := func(name string, write func(id string) error) {
		b.Run(name, func(b *testing.B) {
			var next atomic.Int64
			b.SetParallelism(devices / 2)
			b.RunParallel(func(pb *testing.PB) {
				id := fmt.Sprint(next.Add(1) % devices)
				for pb.Next() {
					if err := write(id); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
		})
	}
	run("message", func(id string) error {
		return s.Append(b.Context(), twin.Event{Type: twin.Telemetry, Device: id, Time: time.Now(), Body: []byte(`{"payload":"AAAA"}`)})
	})
	run("twin", func(id string) error {
		_, err := s.Update(b.Context(), id, func(d *twin.Device) (*twin.Event, error) {
			d.Revision++
			return &twin.Event{Type: twin.TwinChanged, Device: id, Time: time.Now()}, nil
		})
		return err
	})
}
