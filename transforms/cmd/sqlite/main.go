// Command sqlite stands for the transform of that name. SQLite's code, large as
// it is, takes more memory to compile than a sandbox has, so this program only
// refuses. An agent that knows its digest runs the same version of the
// transform as native code instead, in the same sandbox.
package main

import (
	"io"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

// version is part of the program so that another SQLite has another digest.
const version = "go-sqlite3 v0.35.6"

func main() {
	transform.Filter(func(io.Reader, io.Writer, transform.Edge) error {
		return transform.Refuse("this device has no native SQLite transform (%s)", version)
	})
}
