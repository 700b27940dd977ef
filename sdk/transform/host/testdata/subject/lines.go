package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

// lines puts the schema before each line. By the param lines it does what no
// split allows, or what a host must refuse.
func lines() {
	transform.Filter(func(in io.Reader, out io.Writer, e transform.Edge) error {
		r := in.(*bufio.Reader)
		for n := 1; ; n++ {
			line, err := r.ReadBytes('\n')
			if errors.Is(err, io.EOF) && len(line) == 0 {
				break
			}
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			switch e.Params["lines"] {
			case "numbered":
				fmt.Fprintf(out, "%d ", n)
			case "none":
				continue
			case "first word":
				if len(line) > 0 && line[0] == '!' {
					return transform.Refuse("line %d begins with !", n)
				}
			}
			end := "\n"
			if e.Params["lines"] == "unended" && bytes.Contains(line, []byte("end")) {
				end = ""
			}
			fmt.Fprintf(out, "[%d,%s]%s", e.To, line[:len(line)-1], end)
		}
		if e.Params["lines"] == "sum" {
			fmt.Fprintln(out, `"end"`)
		}
		return nil
	})
}
