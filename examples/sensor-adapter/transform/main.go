// Command transform maps the state of the sensor adapter between its schemas,
// file by file: 1 → 2 and back, 2 → 3 and back. It knows both shapes of each
// edge by its own types, since the programs it stands between do not know
// each other. Build it with GOOS=wasip1 GOARCH=wasm.
package main

import (
	"io"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

func main() {
	transform.Filter(func(in io.Reader, out io.Writer, e transform.Edge) error {
		old, err := io.ReadAll(in)
		if err != nil {
			return err
		}
		result, err := convert(e.From, e.To, e.File, old)
		if err != nil {
			return transform.Refuse("%s: %v", e.File, err)
		}
		_, err = out.Write(result)
		return err
	})
}
