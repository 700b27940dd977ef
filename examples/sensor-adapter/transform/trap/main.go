//go:build wasm

// Command trap is a state transform with a mistake: it executes Wasm's
// unreachable instruction, as compiled code does that must never be reached.
// Version 4 of the sensor adapter ships it, and must never get a chance.
package main

// trap is written in assembly: Go itself turns what would trap into panics.
func trap()

func main() { trap() }
