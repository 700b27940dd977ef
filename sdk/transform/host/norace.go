//go:build !race

package host

const raceHeap = 0
