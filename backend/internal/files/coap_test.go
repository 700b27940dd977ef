package files

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"
)

// A client asks one thing after the other.
type client struct {
	conn net.Conn
	mid  int32
}

func dial(t *testing.T, s *Server) *client {
	t.Helper()
	conn, err := net.Dial("udp", s.CoAPAddr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{conn: conn}
}

// request makes a GET; block nil leaves the option out.
func request(path string, mid int32, block *uint32) message.Message {
	m := message.Message{Type: message.Confirmable, Code: codes.GET, MessageID: mid, Token: []byte{1, 2, 3}}
	path, query, _ := strings.Cut(path, "?")
	for _, segment := range strings.Split(strings.Trim(path, "/"), "/") {
		m.Options = m.Options.Add(message.Option{ID: message.URIPath, Value: []byte(segment)})
	}
	values, _ := url.ParseQuery(query)
	for k := range values {
		m.Options = m.Options.Add(message.Option{ID: message.URIQuery, Value: []byte(k + "=" + values.Get(k))})
	}
	if block != nil {
		m.Options = m.Options.Set(uintOption(message.Block2, *block))
	}
	return m
}

func encode(t testing.TB, m message.Message) []byte {
	t.Helper()
	buf := make([]byte, 2048)
	n, err := coder.DefaultCoder.Encode(m, buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

func decode(t testing.TB, b []byte) message.Message {
	t.Helper()
	m := message.Message{Options: make(message.Options, 0, 16)}
	if _, err := coder.DefaultCoder.Decode(b, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func (c *client) exchange(t *testing.T, m message.Message) message.Message {
	t.Helper()
	if _, err := c.conn.Write(encode(t, m)); err != nil {
		t.Fatal(err)
	}
	c.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 2048)
	n, err := c.conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, buf[:n])
}

func (c *client) ask(t *testing.T, path string) (string, []byte) {
	t.Helper()
	c.mid++
	ans := c.exchange(t, request(path, c.mid, nil))
	return fmt.Sprintf("%d.%02d", ans.Code>>5, ans.Code&31), ans.Payload
}

// get reads a resource in blocks of 256 bytes and checks each answer's options.
func (c *client) get(t *testing.T, path string) []byte {
	t.Helper()
	var body []byte
	var tag []byte
	for num := uint32(0); ; num++ {
		c.mid++
		b := num<<4 | 4
		ans := c.exchange(t, request(path, c.mid, &b))
		got, err := ans.Options.GetUint32(message.Block2)
		if ans.Code != codes.Content || ans.Type != message.Acknowledgement || ans.MessageID != c.mid || err != nil || got&^8 != b {
			t.Fatalf("%s block %d: %v, Block2 %#x, %v", path, num, ans.Code, got, err)
		}
		etag, err := ans.Options.GetBytes(message.ETag)
		if err != nil || len(etag) != 8 || tag != nil && !bytes.Equal(tag, etag) {
			t.Fatalf("%s block %d: ETag %x, %v", path, num, etag, err)
		}
		tag = bytes.Clone(etag)
		body = append(body, ans.Payload...)
		if got&8 == 0 {
			if size, err := ans.Options.GetUint32(message.Size2); err != nil || int(size) != len(body) {
				t.Errorf("%s: Size2 %d, %v, for %d bytes", path, size, err, len(body))
			}
			return body
		}
	}
}

func TestCoAPAnswers(t *testing.T) {
	s := start(t, t.TempDir())
	p := mustPush(t, s, variation{version: "1.0.0", arch: "amd64", body: "x"})
	path := "/v2/" + component + "/manifests/" + p.Digest
	num := func(v uint32) *uint32 { return &v }
	post := request(path, 1, nil)
	post.Code = codes.POST
	proxy := request(path, 1, nil)
	proxy.Options = proxy.Options.Set(message.Option{ID: message.ProxyScheme, Value: []byte("http")})
	non := request(path, 1, nil)
	non.Type = message.NonConfirmable
	tests := []struct {
		name string
		req  message.Message
		want codes.Code
		typ  message.Type
	}{
		{"whole", request(path, 1, nil), codes.Content, message.Acknowledgement},
		{"not confirmable", non, codes.Content, message.NonConfirmable},
		{"beyond the end", request(path, 1, num(1000<<4|6)), codes.BadRequest, message.Acknowledgement},
		{"reserved block size", request(path, 1, num(7)), codes.BadRequest, message.Acknowledgement},
		{"unknown path", request("/nothing", 1, nil), codes.NotFound, message.Acknowledgement},
		{"path with slash in a segment", message.Message{Code: codes.GET, Options: message.Options{{ID: message.URIPath, Value: []byte("v2/" + component + "/manifests/1.0.0")}}}, codes.NotFound, message.Acknowledgement},
		{"malformed digest", request("/v2/"+component+"/blobs/sha256:..", 1, nil), codes.BadRequest, message.Acknowledgement},
		{"POST", post, codes.MethodNotAllowed, message.Acknowledgement},
		{"proxy", proxy, codes.ProxyingNotSupported, message.Acknowledgement},
		{"ping", message.Message{Type: message.Confirmable, Code: codes.Empty}, codes.Empty, message.Reset},
	}
	c := dial(t, s)
	for _, test := range tests {
		ans := c.exchange(t, test.req)
		if ans.Code != test.want || ans.Type != test.typ || !bytes.Equal(ans.Token, test.req.Token) {
			t.Errorf("%s: %v %v, want %v %v", test.name, ans.Type, ans.Code, test.typ, test.want)
		}
	}
	for _, silent := range [][]byte{{}, {0x40}, []byte("GET / HTTP/1.1\r\n"), encode(t, message.Message{Type: message.Acknowledgement, Code: codes.Content})} {
		c.conn.Write(silent)
	}
	if code, _ := c.ask(t, path); code != "2.05" { // the next answer is to this
		t.Errorf("after nonsense: %s", code)
	}
}

func TestLimiter(t *testing.T) {
	l := newLimiter(10, 3)
	now := time.Unix(100, 0)
	b := &bucket{}
	var got []bool
	for range 4 {
		got = append(got, l.take(b, now))
	}
	got = append(got, l.take(b, now.Add(100*time.Millisecond)), l.take(b, now.Add(100*time.Millisecond)))
	if fmt.Sprint(got) != "[true true true false true false]" {
		t.Errorf("got %v", got)
	}
	loopback, far := netip.MustParseAddr("::ffff:127.0.0.1"), netip.MustParseAddr("192.0.2.1")
	for i := range 100 {
		if !l.allow(loopback) {
			t.Fatal("loopback is limited")
		}
		if i == 99 && l.allow(far) {
			t.Error("a source is not limited")
		}
		l.allow(far)
	}
}

// TestLimiterMemory has more sources than are told apart.
func TestLimiterMemory(t *testing.T) {
	l := newLimiter(0, 0)
	for i := range uint32(3 * maxSources) {
		l.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}))
	}
	if len(l.buckets) > maxSources {
		t.Errorf("%d sources are kept", len(l.buckets))
	}
}

func FuzzRespond(f *testing.F) {
	c, err := openCatalog(Config{Dir: f.TempDir(), Log: discard})
	if err != nil {
		f.Fatal(err)
	}
	b := uint32(6)
	f.Add(encode(f, request("/check/application/x?current=1.0.0&os=linux", 7, nil)))
	f.Add(encode(f, request("/v2/application/x/blobs/sha256:"+strings.Repeat("a", 64), 7, &b)))
	f.Add([]byte{0x40, 0, 0, 1})
	f.Add([]byte{})
	r := responder{catalog: c, mid: &atomic.Uint32{}, fail: func(err error) { f.Error(err) }}
	f.Fuzz(func(t *testing.T, datagram []byte) {
		out := make([]byte, maxDatagram)
		if n := r.respond(datagram, out); n > 0 {
			decode(t, out[:n])
		}
	})
}
