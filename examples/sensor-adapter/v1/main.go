// Command v1 is the sensor adapter, version 1: degrees Celsius, state
// schema 1.
package main

import (
	"flag"

	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/internal/adapter"
)

func main() {
	a := adapter.Adapter{Unit: "Cel"}
	a.Flags()
	flag.Parse()
	a.Main(func(dir string) (adapter.Store, error) { return open(dir) })
}
