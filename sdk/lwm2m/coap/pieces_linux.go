package coap

import (
	"strings"
	"syscall"
)

// InPieces is for [net.ListenConfig] and [net.Dialer]: what a socket of UDP sends over
// IPv4 may be cut into pieces on its way. By default Linux forbids that, so that routers
// drop what is too long for their next link and tell so; but many a network lets nothing
// of what they tell pass. A message of CoAP fits into the 1280 bytes that every link of
// IPv6 has to carry, and over IPv4 a link may carry less.
func InPieces(network, _ string, c syscall.RawConn) error {
	if !strings.HasPrefix(network, "udp") {
		return nil
	}
	return c.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER, syscall.IP_PMTUDISC_DONT) // a socket that has no IPv4 needs it not
	})
}
