// Package fleet tests whole systems: the real programs, started as they would
// be, asked for what they must refuse, and killed where it hurts. It holds
// tests only.
//
//	go test ./examples/fleet
//	TRANQUIL_TORTURE=50 go test -timeout 1h ./examples/fleet -run TestTorture -v
package fleet
