// Command check verifies the state directory of a sensor adapter:
//
//	check DIR
package main

import (
	"fmt"
	"os"

	"github.com/tranquil-iot/tranquil/examples/sensor-adapter/audit"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: check DIR")
		os.Exit(2)
	}
	report, err := audit.Dir(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(1)
	}
	fmt.Println(report)
}
