// Opener is a transform of the tests that wants to open a file.
package main

import (
	"os"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

func main() {
	transform.JSON(func(string, transform.Edge) ([]byte, error) { return os.ReadFile("/etc/passwd") })
}
