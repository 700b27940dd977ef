//go:build !race

package host

var raceHeap uint64
