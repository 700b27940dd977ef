package coap

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"
)

// Types of DTLS 1.2's records (RFC 6347 section 4.1, RFC 9146 section 4).
const (
	changeCipherSpec = 20
	alert            = 21
	handshake        = 22
	applicationData  = 23
	withConnectionID = 25
)

const (
	recordHeader    = 13 // bytes, without a connection id
	handshakeHeader = 12
)

type record struct {
	kind     byte
	epoch    uint16 // 0 is plaintext, 1 is encrypted and authenticated
	sequence uint64 // 48 bits
	id       []byte // connection id
	body     []byte
	raw      []byte
}

// cutRecord takes the first record from a datagram in which connection ids have so
// many bytes. It fails at what is no whole record.
func cutRecord(datagram []byte, ids int) (r record, rest []byte, ok bool) {
	header := recordHeader
	if len(datagram) > 0 && datagram[0] == withConnectionID {
		header += ids
	}
	if len(datagram) <= header || datagram[1] != 0xfe {
		return record{}, nil, false
	}
	end := header + int(binary.BigEndian.Uint16(datagram[header-2:]))
	if end == header || end > len(datagram) {
		return record{}, nil, false
	}
	sequence := binary.BigEndian.Uint64(datagram[3:])
	r = record{
		kind: datagram[0], epoch: uint16(sequence >> 48), sequence: sequence & maxSequence,
		id: datagram[11 : header-2], body: datagram[header:end], raw: datagram[:end],
	}
	if datagram[2] != version10 && datagram[2] != version12 && !isHello(r) {
		return record{}, nil, false
	}
	return r, datagram[end:], true
}

// Minor versions of records. That of a hello counts for nothing (RFC 5246 appendix
// E.1): Mbed TLS 2 has 0 there.
const (
	version10 = 0xff
	version12 = 0xfd
)

const maxSequence = 1<<48 - 1

// screen keeps from pion what would end a session though anybody may have sent it:
// pion answers some records in plaintext, and malformed ones, by a fatal alert.
type screen struct {
	ids     int         // bytes of a connection id in what comes
	settled atomic.Bool // the handshake is over
}

// pass appends what pion may see of a datagram.
func (s *screen) pass(to, datagram []byte) []byte {
	for r, rest, ok := cutRecord(datagram, s.ids); ok; r, rest, ok = cutRecord(rest, s.ids) {
		if r = plain(r); s.wants(r) {
			to = append(to, r.raw...)
		}
	}
	return to
}

// plain takes the connection id from an alert that is not encrypted: that is how a
// device with pion tells that it has given up a handshake.
func plain(r record) record {
	if r.kind != withConnectionID || r.epoch != 0 || len(r.body) != 3 || r.body[2] != alert {
		return r
	}
	r.raw = append(clone(r.raw[:11]), 0, 2, r.body[0], r.body[1])
	r.raw[0] = alert
	r.kind, r.id, r.body = alert, nil, r.raw[recordHeader:]
	return r
}

// wants refuses everything in plaintext once the handshake is over. A peer that
// did not hear its end sends Finished again too, which is encrypted.
func (s *screen) wants(r record) bool {
	switch {
	case r.epoch == 1: // pion takes a ChangeCipherSpec as it is, also here
		return r.kind == alert || r.kind == handshake || r.kind == applicationData || r.kind == withConnectionID && s.ids > 0
	case r.epoch > 1 || s.settled.Load():
		return false
	case r.kind == handshake:
		return len(r.body) >= handshakeHeader
	case r.kind == alert:
		return len(r.body) == 2
	}
	return r.kind == changeCipherSpec && len(r.body) == 1 && r.body[0] == 1
}

// helloRequest asks a device for another handshake (RFC 5246 section 7.4.1.1). In
// plaintext it proves nothing: a server sends it that has lost the session.
var helloRequest = append([]byte{handshake, 0xfe, version12, 0, 0, 0, 0, 0, 0, 0, 0, 0, handshakeHeader}, make([]byte, handshakeHeader)...)

func isHelloRequest(datagram []byte) bool { return bytes.Equal(datagram, helloRequest) }
