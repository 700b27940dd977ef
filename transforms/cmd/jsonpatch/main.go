// Command jsonpatch is the transform of that name as a program for the sandbox.
package main

import (
	"github.com/tranquil-iot/tranquil/sdk/transform"
	"github.com/tranquil-iot/tranquil/transforms/jsonpatch"
)

func main() { transform.Filter(jsonpatch.Filter) }
