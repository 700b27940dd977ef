package lwm2m

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Code is a CoAP method or response code: class in the upper three bits, detail
// in the lower five (RFC 7252 section 3).
type Code uint8

// The codes LwM2M uses.
const (
	Get    Code = 1
	Post   Code = 2
	Put    Code = 3
	Delete Code = 4
	Fetch  Code = 5 // RFC 8132: read and observe composite
	IPatch Code = 7 // RFC 8132: write composite

	CodeCreated Code = 2<<5 | 1
	CodeDeleted Code = 2<<5 | 2
	CodeChanged Code = 2<<5 | 4
	CodeContent Code = 2<<5 | 5

	CodeBadRequest         Code = 4 << 5
	CodeUnauthorized       Code = 4<<5 | 1
	CodeBadOption          Code = 4<<5 | 2
	CodeForbidden          Code = 4<<5 | 3
	CodeNotFound           Code = 4<<5 | 4
	CodeMethodNotAllowed   Code = 4<<5 | 5
	CodeNotAcceptable      Code = 4<<5 | 6
	CodeConflict           Code = 4<<5 | 9
	CodePreconditionFailed Code = 4<<5 | 12
	CodeTooLarge           Code = 4<<5 | 13
	CodeUnsupportedFormat  Code = 4<<5 | 15
	CodeInternal           Code = 5 << 5
	CodeUnavailable        Code = 5<<5 | 3
)

// String is the form "4.04".
func (c Code) String() string { return fmt.Sprintf("%d.%02d", c>>5, c&31) }

// Success tells whether c is an answer of class 2.
func (c Code) Success() bool { return c>>5 == 2 }

// IsRequest tells whether c is a method.
func (c Code) IsRequest() bool { return c>>5 == 0 && c != 0 }

// Error is a refusal with a CoAP code: what a server gets from a device, and what
// an [Object] returns to choose the answer's code. The reason travels to the
// other side, so it must hold no secret; of one that is long, the beginning does.
type Error struct {
	Code   Code
	Reason string
}

// Errorf makes an Error.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Reason: brief(fmt.Sprintf(format, args...))}
}

// maxReason bounds the reason of a refusal, in bytes: an answer with one fits in any
// datagram, and a log is not filled with what a peer has sent.
const maxReason = 256

// brief is the beginning of a text that may have parts of what a peer has sent.
func brief(text string) string {
	if len(text) <= maxReason {
		return text
	}
	return strings.ToValidUTF8(text[:maxReason], "") + "…"
}

// Error is "4.04: no such instance".
func (e *Error) Error() string {
	if e.Reason == "" {
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Reason
}

// Is makes errors.Is(err, &Error{Code: CodeNotFound}) compare codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && (t.Reason == "" || t.Reason == e.Reason)
}

// Errors of a Transport and of what is built on it.
var (
	// ErrTimeout means that the peer did not acknowledge or did not answer.
	ErrTimeout = errors.New("the peer did not answer in time")
	// ErrReset means that the peer rejected the message; for a notification, that
	// it does not want the observation any more.
	ErrReset = errors.New("the peer rejected the message")
	// ErrNoConnection means that there is no connection to the peer any more, and that
	// only the peer can make one.
	ErrNoConnection = errors.New("there is no connection to the peer")
	// ErrGone means that the device's registration has ended or was replaced.
	ErrGone = errors.New("the device's registration has ended")
)

// Message is a request, a response or a notification, as CoAP shapes them. A nil
// pointer means that the option is absent.
type Message struct {
	Code     Code
	Token    []byte   // chosen by the transport if nil
	Path     []string // Uri-Path, in requests
	Query    []string // Uri-Query, in requests
	Location []string // Location-Path, in 2.01 answers
	Format   *Format  // of the payload
	Accept   *Format  // wanted in the answer
	Observe  *uint32  // 0 observe, 1 cancel; in notifications the sequence number
	Size     int64    // in the first block of a request, bytes of the whole payload; 0 if the peer does not say
	Payload  []byte
	// Body, in a request that is sent, takes the place of Payload: Size bytes, which
	// are read as they are sent and so may be more than fit in memory.
	Body io.Reader
	// Identity, in a request or a notification, is who the peer has proven to be, such
	// as its PSK identity; "" if it has proven nothing.
	Identity string
	// Partial, in a notification, means that the payload is only its beginning; a
	// read gives the whole.
	Partial bool
}

// Transport moves messages between this endpoint and its peers, reliably: it
// retransmits and recognises duplicates. One Transport is one socket used both
// ways. A peer is a string the Transport chose, such as "192.0.2.1:5683".
type Transport interface {
	// Resolve turns a configured address, such as coap://host:5683, into a peer.
	Resolve(ctx context.Context, address string) (peer string, err error)
	// Exchange sends a request and waits for its answer. ErrTimeout, ErrReset,
	// ErrNoConnection or the context's error tell that there is none; an answer of class 4 or 5 is
	// no error here.
	Exchange(ctx context.Context, peer string, request *Message) (*Message, error)
	// Notify sends a notification and returns nil when the peer acknowledged it.
	Notify(ctx context.Context, peer string, notification *Message) error
	// Serve hands what arrives to h until ctx ends or the transport is closed.
	// Exchange and Notify work only while Serve runs. Nil means that ctx ended.
	Serve(ctx context.Context, h Handler) error
	// Close frees the socket.
	Close() error
}

// PeerWatcher is a [Handler] that is told, by a Transport that has connections, that
// there is none to a peer any more. It must return quickly.
type PeerWatcher interface {
	PeerGone(peer string)
}

// PeerDoubter is a [Handler] that is told, by a Transport that has connections, that the
// peer seems to have lost one: anybody may have said so. It must return quickly.
type PeerDoubter interface {
	PeerDoubted(peer string)
}

// Waker is a Transport that may have connections. A peer of one that is lost is never
// that of another one.
type Waker interface {
	// Connected tells whether there is a way to the peer.
	Connected(peer string) bool
	// Wake tells a device that its connection is lost, before the device finds out; many
	// take no notice.
	Wake(peer string)
}

// Handler takes what a Transport receives.
type Handler interface {
	// ServeRequest answers a request; it runs in a goroutine of its own.
	ServeRequest(ctx context.Context, peer string, request *Message) *Message
	// ServeNotification takes a message whose token belongs to no running
	// exchange and must return quickly. It tells done, now or later and at most once,
	// what becomes of the notification: until then the peer repeats it, and the
	// handler gets it again.
	ServeNotification(peer string, notification *Message, done func(Reception))
}

// Reception is what becomes of a notification.
type Reception int

const (
	// Refused tells the peer to end the observation.
	Refused Reception = iota
	// Accepted acknowledges the notification.
	Accepted
	// Ignored does neither, as if the notification were lost: it may be forged, or
	// another copy of it is being taken.
	Ignored
)
