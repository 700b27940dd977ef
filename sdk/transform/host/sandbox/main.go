// Command sandbox is nothing but the sandbox of transforms, for a program
// whose own copy would be a worse one: see Host.Program.
package main

import (
	"log"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

func main() {
	host.Main(nil)
	log.Fatal("this is the sandbox of transforms, not to be started by hand")
}
