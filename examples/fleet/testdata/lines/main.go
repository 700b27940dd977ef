// Command lines is a transform that puts the schema in front of each line.
package main

import (
	"bufio"
	"fmt"
	"io"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

func main() {
	transform.Filter(func(in io.Reader, out io.Writer, e transform.Edge) error {
		r, w := bufio.NewReader(in), bufio.NewWriter(out)
		for {
			line, err := r.ReadBytes('\n')
			if len(line) > 0 {
				fmt.Fprintf(w, "%d %s", e.To, line)
			}
			if err == io.EOF {
				return w.Flush()
			}
			if err != nil {
				return err
			}
		}
	})
}
