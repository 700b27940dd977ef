// Command patient is a sandbox in which SQLite's integrity check never ends.
package main

import (
	"io"
	"log"

	"github.com/tranquil-iot/tranquil/sdk/transform"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

func main() {
	host.Main(map[string]host.Native{host.Integrity: func(io.Reader, io.Writer, transform.Edge) error {
		for {
		}
	}})
	log.Fatal("this is the sandbox of transforms, not to be started by hand")
}
