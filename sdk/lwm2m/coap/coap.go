// Package coap carries LwM2M over CoAP on UDP (RFC 7252): [Listen] gives the
// [lwm2m.Transport] of a server, [Dial] that of a device. One socket serves both
// ways, so a device is reached where it registered from.
//
// Messages are encoded by go-coap; reliability is this package's own, since
// LwM2M needs both roles on one socket and observations that outlive a
// connection: confirmable messages are retransmitted with a random, doubling
// timeout, one at a time per peer (NSTART 1), and repeated requests are answered
// from memory. Messages above 1024 bytes go block-wise (RFC 7959).
package coap

import (
	"log/slog"
	"time"
)

type settings struct {
	insecure      bool
	ackTimeout    time.Duration
	maxRetransmit int
	logger        *slog.Logger
}

// Option changes how a Conn works.
type Option func(*settings)

// NoSec allows plaintext CoAP with peers that are not on this machine: anyone on
// the network can then read and forge every message. Without it only loopback
// addresses are allowed.
func NoSec() Option { return func(s *settings) { s.insecure = true } }

// WithTransmission sets ACK_TIMEOUT and MAX_RETRANSMIT of RFC 7252 section 4.8,
// by default 2 s and 4. A shorter timeout is for networks known to be fast.
func WithTransmission(ackTimeout time.Duration, maxRetransmit int) Option {
	return func(s *settings) { s.ackTimeout, s.maxRetransmit = ackTimeout, maxRetransmit }
}

// WithLogger sets the logger; by default nothing is logged.
func WithLogger(l *slog.Logger) Option { return func(s *settings) { s.logger = l } }

func newSettings(options []Option) settings {
	s := settings{ackTimeout: 2 * time.Second, maxRetransmit: 4, logger: slog.New(slog.DiscardHandler)}
	for _, o := range options {
		o(&s)
	}
	return s
}
