//go:build race

package host

// raceHeap makes room for the shadow memory of the race detector in a copy of
// this program.
var raceHeap uint64 = 8 << 30
