//go:build !linux

package coap

import "syscall"

// InPieces is for [net.ListenConfig] and [net.Dialer], and does something on Linux only.
func InPieces(string, string, syscall.RawConn) error { return nil }
