// Subject is the transform of the tests. It is one program, since each takes
// the engine a while to compile.
package main

import "os"

func main() {
	switch {
	case os.Getenv("PARAM_HOW") != "":
		nasty()
	case os.Getenv("PARAM_LINES") != "":
		lines()
	case os.Getenv("STATE_FILE") == "":
		tree()
	default:
		counter()
	}
}
