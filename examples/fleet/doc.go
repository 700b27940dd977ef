// Package fleet tests whole systems: the real programs, started as they would
// be, asked for what they must refuse, and killed where it hurts. It holds
// tests only.
//
//	go test ./examples/fleet
//	make torture N=1000
package fleet
