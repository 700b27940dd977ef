// Command rename is the transform of that name as a program for the sandbox.
package main

import (
	"github.com/tranquil-iot/tranquil/sdk/transform"
	"github.com/tranquil-iot/tranquil/transforms/rename"
)

func main() { transform.Filter(rename.Filter) }
