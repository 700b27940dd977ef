//go:build !cgo

package cage

// libraries are where a program finds what it is linked with.
var libraries []string
