// Command identity is the transform of that name as a program for the sandbox.
package main

import (
	"github.com/tranquil-iot/tranquil/sdk/transform"
	"github.com/tranquil-iot/tranquil/transforms/identity"
)

func main() { transform.Filter(identity.Filter) }
