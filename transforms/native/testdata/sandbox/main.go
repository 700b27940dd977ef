// Command sandbox is the sandbox that knows the ready-made transforms.
package main

import (
	"log"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
	"github.com/tranquil-iot/tranquil/transforms/native"
)

func main() {
	host.Main(native.Table())
	log.Fatal("this is the sandbox of transforms, not to be started by hand")
}
