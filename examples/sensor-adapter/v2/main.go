// Command v2 is the sensor adapter since version 2: kelvin, state schema 2,
// and with -checksums state schema 3.
package main

import (
	"flag"

	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/internal/adapter"
	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/internal/milli"
)

func main() {
	a := adapter.Adapter{Unit: "K", Zero: milli.ZeroCelsius}
	a.Flags()
	checksums := flag.Bool("checksums", false, "keep a checksum in each segment of the history: state schema 3")
	flag.Parse()
	a.Main(func(dir string) (adapter.Store, error) { return open(dir, *checksums) })
}
