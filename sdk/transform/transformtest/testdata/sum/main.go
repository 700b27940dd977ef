// Sum is a transform that puts the number of lines behind the last one.
package main

import (
	"bufio"
	"fmt"
	"io"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

func main() {
	transform.Filter(func(in io.Reader, out io.Writer, _ transform.Edge) error {
		lines := bufio.NewScanner(in)
		n := 0
		for ; lines.Scan(); n++ {
			fmt.Fprintln(out, lines.Text())
		}
		fmt.Fprintln(out, n)
		return lines.Err()
	})
}
