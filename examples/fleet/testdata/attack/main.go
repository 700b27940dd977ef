// Attack is a state transform that takes what it can get: memory until there
// is no more, then a processor for a while, then the disk.
package main

import (
	"io"
	"os"
)

func main() {
	io.Copy(io.Discard, os.Stdin)
	var hoard [][]byte
	for len(hoard) < 80 { // megabytes; with less than all, so that the rest gets its turn
		block := make([]byte, 1<<20)
		for i := range block {
			block[i] = byte(i)
		}
		hoard = append(hoard, block)
	}
	sum := byte(0)
	for range 20 {
		for _, block := range hoard {
			for _, b := range block {
				sum = sum<<1 ^ b
			}
		}
	}
	for {
		os.Stderr.Write(hoard[sum&1])
		os.Stdout.Write(hoard[2])
	}
}
