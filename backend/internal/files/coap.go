package files

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
)

const (
	coapWorkers    = 4       // a slow disk read stops one of them only
	coapReadBuffer = 4 << 20 // bytes the kernel keeps while all workers are busy
	largestSZX     = 6       // blocks of 1024 bytes
	maxDatagram    = 1500
)

// serveCoAP answers datagrams on a bare socket. go-coap's server keeps each
// answer for minutes and scans what it keeps at each datagram, at a cost of 10
// to 48 times this; its message coder is fine.
func (s *Server) serveCoAP(ctx context.Context) error {
	if err := s.coap.SetReadBuffer(coapReadBuffer); err != nil {
		s.cfg.Log.Warn("CoAP receive buffer stays small", "err", err)
	}
	stop := context.AfterFunc(ctx, func() { s.coap.Close() })
	defer stop()
	limit := newLimiter(cmp.Or(s.cfg.Rate, 2000), cmp.Or(s.cfg.Burst, 256))
	r := newResponder(s.catalog, func(err error) { s.cfg.Log.Error("request failed", "err", err) })
	defer r.opened.close()
	var workers sync.WaitGroup
	errs := make(chan error, coapWorkers)
	for range coapWorkers {
		workers.Go(func() { errs <- s.answerDatagrams(r, limit) })
	}
	workers.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("cannot serve packages over CoAP: %w", <-errs)
}

const secureScheme = "coaps://"

// tooMany answers a request, over TCP: there nothing is sent again.
func tooMany(r *worker, datagram, out []byte) int {
	req := message.Message{Options: r.options[:0]}
	if _, err := coder.DefaultCoder.Decode(datagram, &req); err != nil {
		return 0
	}
	return r.reply(&req, message.Message{Code: codes.TooManyRequests}, nil, out)
}

// serveSessions answers devices over DTLS, TCP and TLS, as serveCoAP does others.
// Whoever sends too much is answered by refuse; nil: not at all.
func (s *Server) serveSessions(ctx context.Context, on *coap.Datagrams, refuse func(r *worker, datagram, out []byte) int) error {
	defer on.Close()
	limit := newLimiter(cmp.Or(s.cfg.Rate, 2000), cmp.Or(s.cfg.Burst, 256))
	r := newResponder(s.catalog, func(err error) { s.cfg.Log.Error("request failed", "err", err) })
	defer r.opened.close()
	err := on.Serve(ctx, coapWorkers, func(from netip.Addr, datagram []byte) []byte {
		out := make([]byte, maxDatagram)
		switch {
		case limit.allow(from, 1):
			return out[:r.worker().respond(datagram, out, netip.Addr{})]
		case refuse != nil:
			return out[:refuse(r.worker(), datagram, out)]
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("cannot serve packages over CoAP: %w", err)
	}
	return nil
}

// answerDatagrams returns when the socket is closed.
func (s *Server) answerDatagrams(r *responder, limit *limiter) error {
	w := r.worker()
	in, out := make([]byte, maxDatagram), make([]byte, maxDatagram)
	for {
		n, from, err := s.coap.ReadFromUDPAddrPort(in)
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil || !limit.allow(from.Addr(), 1) {
			continue // an answer that says "too many" would help the forger
		}
		if n := w.respond(in[:n], out, from.Addr()); n > 0 {
			s.coap.WriteToUDPAddrPort(out[:n], from)
		}
	}
}

// A responder turns a request datagram into its answer, and knows nothing from
// one to the next. A request that comes twice is answered twice: GET may be
// (RFC 7252 section 4.5).
type responder struct {
	catalog  *catalog
	opened   *opened
	mid      atomic.Uint32 // message id of the last answer that needed one of its own
	reach    *reach
	unproven *limiter    // bytes for addresses that may be forged
	fail     func(error) // hears errors that are not for the client
}

func newResponder(c *catalog, fail func(error)) *responder {
	return &responder{
		catalog: c, opened: newOpened(func(path []string) (*resource, error) { return c.get(path, nil) }),
		reach: newReach(time.Now()), unproven: newLimiter(unprovenRate, unprovenBurst), fail: fail,
	}
}

// A worker answers one datagram after the other, in the same memory.
type worker struct {
	*responder
	options message.Options
	payload []byte
}

func (r *responder) worker() *worker {
	return &worker{responder: r, options: make(message.Options, 0, 16), payload: make([]byte, 16<<largestSZX)}
}

// respond writes the answer to out and returns its length, 0 for none. Who has proven
// who it is, and so where it is, needs no address.
func (r *worker) respond(datagram, out []byte, from netip.Addr) int {
	req := message.Message{Options: r.options[:0]}
	if _, err := coder.DefaultCoder.Decode(datagram, &req); err != nil {
		return 0 // who it is from is not even sure
	}
	switch {
	case req.Type == message.Confirmable && req.Code == codes.Empty: // a ping
		return r.encode(message.Message{Type: message.Reset, Code: codes.Empty, MessageID: req.MessageID}, out)
	case req.Type != message.Confirmable && req.Type != message.NonConfirmable,
		req.Code == codes.Empty, req.Code > 0x1f: // no request
		return 0
	}
	if !from.IsValid() {
		return r.reply(&req, r.answer(&req), nil, out)
	}
	shown, _ := req.Options.GetBytes(optionEcho) // nil if it is not there
	proven, echo := r.reach.check(from, shown, time.Now())
	n := r.reply(&req, r.answer(&req), echo, out)
	if proven || n <= amplification*len(datagram) || r.unproven.allow(from, float64(n)) {
		return n
	}
	if b, err := wantedBlock(req.Options); err != nil || b.num > 0 {
		return 0 // who has got that far without an Echo knows none: 4.01 would end it
	}
	return r.reply(&req, message.Message{Code: codes.Unauthorized}, echo, out)
}

// reply writes an answer to a request, with an Echo for the next one if there is any.
func (r *responder) reply(req *message.Message, ans message.Message, echo, out []byte) int {
	ans.Token = req.Token
	ans.Type, ans.MessageID = message.Acknowledgement, req.MessageID
	if req.Type == message.NonConfirmable {
		ans.Type, ans.MessageID = message.NonConfirmable, int32(r.mid.Add(1)&0xffff)
	}
	if echo != nil {
		ans.Options = append(ans.Options, message.Option{ID: optionEcho, Value: echo}) // the highest number
	}
	return r.encode(ans, out)
}

func (r *responder) encode(m message.Message, out []byte) int {
	n, err := coder.DefaultCoder.Encode(m, out)
	if err != nil {
		r.fail(fmt.Errorf("cannot encode answer: %w", err))
		return 0
	}
	return n
}

func (r *worker) answer(req *message.Message) message.Message {
	b, err := wantedBlock(req.Options)
	if err == nil {
		err = plainGet(req)
	}
	if err != nil {
		return r.refusal(err)
	}
	path, query := address(req.Options)
	res, err := r.find(path, query)
	if err != nil {
		return r.refusal(err)
	}
	defer res.Close()
	ans, err := res.block(b, r.payload)
	if err != nil {
		return r.refusal(err)
	}
	return ans
}

func (r *responder) find(path []string, query url.Values) (*resource, error) {
	if isBlob(path) {
		return r.opened.get(path, time.Now())
	}
	return r.catalog.get(path, query)
}

// plainGet refuses what the file server does not do over CoAP.
func plainGet(req *message.Message) error {
	if req.Options.HasOption(message.ProxyURI) || req.Options.HasOption(message.ProxyScheme) {
		return refuse(http.StatusNotImplemented, "", "no proxy")
	}
	if req.Code != codes.GET {
		return refuse(http.StatusMethodNotAllowed, "", "only GET; push over HTTP")
	}
	return nil
}

func address(opts message.Options) ([]string, url.Values) {
	var path []string
	query := url.Values{}
	for _, o := range opts {
		switch o.ID {
		case message.URIPath:
			path = append(path, string(o.Value))
		case message.URIQuery:
			k, v, _ := strings.Cut(string(o.Value), "=")
			query.Add(k, v)
		}
	}
	return path, query
}

// A block is what a Block2 option asks for (RFC 7959 section 2.2).
type block struct {
	num     int64
	szx     uint8 // 16 << szx bytes
	present bool
}

func wantedBlock(opts message.Options) (block, error) {
	v, err := opts.GetUint32(message.Block2)
	if errors.Is(err, message.ErrOptionNotFound) {
		return block{szx: largestSZX}, nil
	}
	b := block{num: int64(v >> 4), szx: uint8(v & 7), present: true}
	if err != nil || v > 0xffffff || b.szx > largestSZX {
		return block{}, refuse(http.StatusBadRequest, "", "malformed Block2 option")
	}
	return b, nil
}

// block answers with one block of the resource, which it reads into buf.
func (res *resource) block(b block, buf []byte) (message.Message, error) {
	size := int64(16) << b.szx
	offset := b.num * size
	if offset >= res.size && offset > 0 {
		return message.Message{}, refuse(http.StatusBadRequest, "", "block beyond the end")
	}
	payload := buf[:min(size, res.size-offset)]
	if _, err := res.ReadAt(payload, offset); err != nil && len(payload) > 0 {
		return message.Message{}, fmt.Errorf("cannot read %s: %w", res.digest, err)
	}
	tag, err := hex.DecodeString(res.digest[len("sha256:"):][:16])
	if err != nil {
		return message.Message{}, fmt.Errorf("malformed digest %q: %w", res.digest, err)
	}
	opts := message.Options{{ID: message.ETag, Value: tag}}
	if b.present || res.size > size {
		more := uint32(0)
		if offset+size < res.size {
			more = 8
		}
		opts = append(opts, uintOption(message.Block2, uint32(b.num)<<4|more|uint32(b.szx)))
	}
	if res.size <= 1<<32-1 {
		opts = append(opts, uintOption(message.Size2, uint32(res.size)))
	}
	return message.Message{Code: codes.Content, Options: opts, Payload: payload}, nil
}

func uintOption(id message.OptionID, v uint32) message.Option {
	buf := make([]byte, 4)
	n, _ := message.EncodeUint32(buf, v) // four bytes are enough
	return message.Option{ID: id, Value: buf[:n]}
}

// refusal answers with the CoAP code that corresponds to the HTTP status
// (RFC 8075 section 7, from the other side) and the reason in words.
func (r *responder) refusal(err error) message.Message {
	var why *refusal
	if !errors.As(err, &why) {
		r.fail(err)
		return message.Message{Code: codes.InternalServerError}
	}
	code := codes.BadRequest
	switch why.status {
	case http.StatusNotFound:
		code = codes.NotFound
	case http.StatusMethodNotAllowed:
		code = codes.MethodNotAllowed
	case http.StatusServiceUnavailable:
		code = codes.ServiceUnavailable
	case http.StatusNotImplemented:
		code = codes.ProxyingNotSupported
	}
	text := why.Error()
	return message.Message{Code: code, Payload: []byte(text[:min(len(text), 200)])}
}
