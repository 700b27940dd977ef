//go:build race

package engine

// cutStride is how many power cuts to go on by: the race detector makes everything ten times slower.
const cutStride = 9
