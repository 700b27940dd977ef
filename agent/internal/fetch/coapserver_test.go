package fetch

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
)

// A coapServer answers as the file server does, unless a test's twist has it
// misbehave.
type coapServer struct {
	content map[string][]byte                // by path?query
	find    func(path string) ([]byte, bool) // nil: what content has
	// twist may change an answer, or swallow it by returning false.
	twist func(b block, ans *message.Message) bool

	mu     sync.Mutex
	conn   *net.UDPConn
	asked  []int64 // offsets
	closed chan struct{}
}

func (s *coapServer) start(t *testing.T, addr string) string {
	t.Helper()
	udp, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		t.Error(err)
	}
	conn, err := net.ListenUDP("udp", udp)
	if err != nil {
		t.Error(err)
		return ""
	}
	closed := make(chan struct{})
	s.mu.Lock()
	s.conn, s.closed = conn, closed
	s.mu.Unlock()
	go func() {
		defer close(closed)
		s.serve(conn)
	}()
	t.Cleanup(s.stop)
	return conn.LocalAddr().String()
}

// startStream has it answer over TCP.
func (s *coapServer) startStream(t *testing.T) string {
	t.Helper()
	server, err := coap.ListenDatagrams("coap+tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- server.Serve(ctx, 2, func(_ netip.Addr, datagram []byte) []byte {
			req := message.Message{Options: make(message.Options, 0, 16)}
			if _, err := coder.DefaultCoder.Decode(datagram, &req); err != nil || req.Code != codes.GET {
				return nil
			}
			return s.answer(req)
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, server.Close()); err != nil {
			t.Error(err)
		}
	})
	return server.Addr().String()
}

func (s *coapServer) stop() {
	s.mu.Lock()
	conn, closed := s.conn, s.closed
	s.mu.Unlock()
	conn.Close()
	<-closed
}

// put replaces the content at a path.
func (s *coapServer) put(path string, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.content[path] = body
}

// offsets returns what was asked for since it was called last.
func (s *coapServer) offsets() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	return asked
}

func (s *coapServer) serve(conn *net.UDPConn) {
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDP(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		req := message.Message{Options: make(message.Options, 0, 16)}
		if _, err := coder.DefaultCoder.Decode(buf[:n], &req); err != nil || req.Code != codes.GET {
			continue
		}
		if out := s.answer(req); out != nil {
			conn.WriteToUDP(out, from)
		}
	}
}

func (s *coapServer) answer(req message.Message) []byte {
	v, _ := req.Options.GetUint32(message.Block2)
	b, _ := decodeBlock(v)
	s.mu.Lock()
	s.asked = append(s.asked, b.offset())
	s.mu.Unlock()
	ans := message.Message{Type: message.Acknowledgement, Code: codes.NotFound, MessageID: req.MessageID, Token: req.Token}
	s.mu.Lock()
	body, ok := s.content[pathOf(req)]
	s.mu.Unlock()
	if s.find != nil {
		body, ok = s.find(pathOf(req))
	}
	if ok {
		ans.Code = codes.Content
		end := min(b.offset()+b.size(), int64(len(body)))
		ans.Payload = body[min(b.offset(), end):end]
		b.more = end < int64(len(body))
		ans.Options = message.Options{{ID: message.ETag, Value: []byte("tag")}}
		setUint(&ans, message.Block2, b.encode())
		setUint(&ans, message.Size2, uint32(len(body)))
	}
	if s.twist != nil && !s.twist(b, &ans) {
		return nil
	}
	out, err := encode(ans)
	if err != nil {
		panic(err) // the test's own mistake
	}
	return out
}

func setUint(m *message.Message, id message.OptionID, v uint32) {
	buf := make([]byte, 4)
	n, _ := message.EncodeUint32(buf, v)
	m.Options = m.Options.Set(message.Option{ID: id, Value: slices.Clone(buf[:n])})
}

func pathOf(req message.Message) string {
	var path, query []string
	for _, o := range req.Options {
		switch o.ID {
		case message.URIPath:
			path = append(path, string(o.Value))
		case message.URIQuery:
			query = append(query, string(o.Value))
		}
	}
	s := "/" + strings.Join(path, "/")
	if len(query) > 0 {
		s += "?" + strings.Join(query, "&")
	}
	return s
}
