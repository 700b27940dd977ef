//go:build !race

package engine

// cutStride is how many power cuts to go on by: every one.
const cutStride = 1
