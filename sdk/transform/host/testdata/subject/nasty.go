package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

// nasty misbehaves as the param how says.
func nasty() {
	transform.Filter(func(in io.Reader, out io.Writer, e transform.Edge) error {
		if _, err := io.Copy(io.Discard, in); err != nil {
			return err
		}
		switch e.Params["how"] {
		case "panic":
			panic("no way out")
		case "hoard":
			var hoard [][]byte
			for {
				//lint:ignore SA4010 that is what is nasty
				hoard = append(hoard, make([]byte, 1<<20))
			}
		case "recurse":
			fmt.Fprint(out, recurse(1))
		case "half a document":
			fmt.Fprint(out, `{"a":`)
		case "nothing":
		case "chatter":
			fmt.Fprint(os.Stderr, "first\x1b[31m\n"+strings.Repeat("blah ", 1<<20)+"\nlast")
			os.Exit(7)
		case "look around":
			fmt.Fprintf(out, "%q %q %v", os.Args, os.Environ(), time.Now().UTC())
		case "sleep":
			begin := time.Now()
			time.Sleep(time.Hour)
			fmt.Fprint(out, time.Since(begin).Round(time.Minute))
		}
		return nil
	})
}

//lint:ignore SA5007 that is what is nasty
func recurse(n int) int { return n + recurse(n+1) }
