// Lines is a transform that puts the schema in front of each line.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

func main() {
	transform.Filter(func(in io.Reader, out io.Writer, e transform.Edge) error {
		r, w := bufio.NewReaderSize(in, 1<<20), bufio.NewWriterSize(out, 1<<20)
		schema := fmt.Sprintf("%d ", e.To)
		for {
			line, err := r.ReadSlice('\n')
			if len(line) > 0 {
				w.WriteString(schema)
				w.Write(line)
			}
			if errors.Is(err, io.EOF) {
				return w.Flush()
			}
			if err != nil {
				return err
			}
		}
	})
}
