//go:build !linux

package fetch

func asClient() {}
