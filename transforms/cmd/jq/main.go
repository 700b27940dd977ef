// Command jq is the transform of that name as a program for the sandbox.
package main

import (
	"github.com/tranquil-iot/tranquil/sdk/transform"
	"github.com/tranquil-iot/tranquil/transforms/jq"
)

func main() { transform.Filter(jq.Filter) }
