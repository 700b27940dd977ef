// Package coap carries LwM2M over CoAP on UDP and on DTLS 1.2 (RFC 7252), on TCP and
// on TLS (RFC 8323):
// [Listen] gives the [lwm2m.Transport] of a server, [Dial] that of a device. One
// socket serves both ways, so a device is reached where it registered from.
//
// Messages are encoded by go-coap; reliability is this package's own, since
// LwM2M needs both roles on one socket and observations that outlive a
// connection: confirmable messages are retransmitted with a random, doubling
// timeout, one at a time per peer (NSTART 1), and repeated requests are answered
// from memory. Messages above 1024 bytes go block-wise (RFC 7959), over TCP those
// above what the peer takes.
package coap

import (
	"log/slog"
	"time"
)

type settings struct {
	insecure     bool
	credentials  credentials
	transmission Transmission
	logger       *slog.Logger
	several      bool // a peer may have several sessions at once, which do not last
}

// Option changes how a Conn works.
type Option func(*settings)

// NoSec allows plaintext CoAP with peers that are not on this machine: anyone on
// the network can then read and forge every message. Without it only loopback
// addresses are allowed.
func NoSec() Option { return func(s *settings) { s.insecure = true } }

// WithTransmission sets the transmission parameters. Both ends of a network that
// is much slower or faster than the internet should have the same.
func WithTransmission(t Transmission) Option {
	return func(s *settings) { s.transmission = t }
}

// WithLogger sets the logger; by default nothing is logged.
func WithLogger(l *slog.Logger) Option { return func(s *settings) { s.logger = l } }

func newSettings(options []Option) settings {
	s := settings{logger: slog.New(slog.DiscardHandler)}
	for _, o := range options {
		o(&s)
	}
	s.transmission = s.transmission.orDefault()
	return s
}

// Transmission has the parameters of RFC 7252 section 4.8. A field that is zero
// has the RFC's value.
type Transmission struct {
	// AckTimeout is what passes at least before a message is repeated; 2 s.
	AckTimeout time.Duration
	// AckRandomFactor: the first timeout is a random one from AckTimeout to this
	// many times as long; 1.5. Each further timeout is twice the one before.
	AckRandomFactor float64
	// MaxRetransmit is how many times a message is repeated at most; 4.
	MaxRetransmit int
	// MaxLatency is how long a datagram may be under way; 100 s.
	MaxLatency time.Duration
}

func (t Transmission) orDefault() Transmission {
	if t.AckTimeout <= 0 {
		t.AckTimeout = 2 * time.Second
	}
	if t.AckRandomFactor < 1 {
		t.AckRandomFactor = 1.5
	}
	if t.MaxRetransmit <= 0 {
		t.MaxRetransmit = 4
	}
	if t.MaxLatency <= 0 {
		t.MaxLatency = 100 * time.Second
	}
	t.MaxRetransmit = min(t.MaxRetransmit, 20)
	return t
}

// span is the longest time from the first transmission to the last, and then, if
// steps is one higher, to the moment that the sender gives up.
func (t Transmission) span(steps int) time.Duration {
	return time.Duration(float64(t.AckTimeout) * float64(int(1)<<steps-1) * t.AckRandomFactor)
}

// MaxTransmitSpan is the longest time from the first transmission of a message to
// its last; 45 s.
func (t Transmission) MaxTransmitSpan() time.Duration {
	t = t.orDefault()
	return t.span(t.MaxRetransmit)
}

// MaxTransmitWait is the longest time from the first transmission of a message to
// the moment that the sender gives up; 93 s.
func (t Transmission) MaxTransmitWait() time.Duration {
	t = t.orDefault()
	return t.span(t.MaxRetransmit + 1)
}

// ExchangeLifetime is how long a message id stays taken; 247 s.
func (t Transmission) ExchangeLifetime() time.Duration {
	t = t.orDefault()
	return t.span(t.MaxRetransmit) + 2*t.MaxLatency + t.AckTimeout
}
