//go:build race

package host

// raceHeap makes room for the shadow memory of the race detector.
const raceHeap = 8 << 30
