package adapter

import (
	"math"
	"time"

	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/internal/milli"
)

// A Reading is one corrected sample. Seq counts from 1 without a gap; Time
// has millisecond resolution.
type Reading struct {
	Seq     int
	Time    time.Time
	Celsius milli.Degrees
}

// sense is the simulated sensor: about 21 °C, with slow waves and some noise.
func sense(seq int) milli.Degrees {
	wave := 1500 * math.Sin(float64(seq)/300)
	noise := (seq * 7919 % 97) - 48
	return 21_000 + milli.Degrees(wave) + milli.Degrees(noise)
}

// past returns the readings a new adapter starts with, as if it had sampled
// once a minute until now.
func past(n int, now time.Time, offset milli.Degrees) []Reading {
	readings := make([]Reading, n)
	for i := range readings {
		age := time.Duration(n-i) * time.Minute
		readings[i] = Reading{Seq: i + 1, Time: stamp(now.Add(-age)), Celsius: sense(i+1) + offset}
	}
	return readings
}

func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
