package files

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"strings"
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
	loopback, far := netip.MustParseAddr("::ffff:127.0.0.1"), netip.MustParseAddr("192.0.2.1")
	for i := range 100 {
		if !l.allow(loopback, 1) {
			t.Fatal("loopback is limited")
		}
		if i == 99 && l.allow(far, 1) {
			t.Error("a source is not limited")
		}
		l.allow(far, 1)
	}
}

// noise is a text that does not get smaller when it is compressed.
func noise(n int) string {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return string(b)
}

// TestOpened reads blobs at the same time, more than are kept open, and one that is
// removed meanwhile.
func TestOpened(t *testing.T) {
	closed := 0
	o := newOpened(func(path []string) (*resource, error) {
		if path[4] == "gone" {
			return nil, refuse(404, "BLOB_UNKNOWN", "no blob")
		}
		return &resource{digest: path[4], ReaderAt: strings.NewReader(path[4]), Closer: closing(func() { closed++ })}, nil
	})
	now := time.Unix(100, 0)
	get := func(digest string) *resource {
		t.Helper()
		res, err := o.get([]string{"v2", "application", "a", "blobs", digest}, now)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	first, second := get("one"), get("one")
	first.Close()
	for i := range 3 * maxOpened {
		now = now.Add(time.Millisecond)
		get(fmt.Sprint(i)).Close()
	}
	if len(o.blobs) > maxOpened || closed != 3*maxOpened-maxOpened {
		t.Errorf("%d are open, %d were closed", len(o.blobs), closed)
	}
	b := make([]byte, 3)
	if _, err := second.ReadAt(b, 0); err != nil || string(b) != "one" {
		t.Errorf("read %q, %v from what others had to make way for", b, err)
	}
	second.Close()
	if closed != 2*maxOpened+1 {
		t.Errorf("%d were closed", closed)
	}
	get("x").Close()
	now = now.Add(openedFor)
	before := closed
	get("x").Close()
	if closed != before+1 {
		t.Error("nobody looks whether it is still there")
	}
	if _, err := o.get([]string{"v2", "application", "a", "blobs", "gone"}, now); err == nil {
		t.Error("a blob that is gone is opened")
	}
	o.close()
	if closed != 3*maxOpened+3 {
		t.Errorf("%d of %d were closed", closed, 3*maxOpened+3)
	}
}

type closing func()

func (c closing) Close() error { c(); return nil }

// TestAmplification asks for blocks in the name of a victim, and as a client that
// knows no Echo, and as one that does.
func TestAmplification(t *testing.T) {
	s := start(t, t.TempDir())
	p := mustPush(t, s, variation{version: "1.0.0", arch: "amd64", body: noise(100_000)})
	blob := "/v2/" + component + "/blobs/" + p.Artifacts[0].Digest
	r := newResponder(s.catalog, func(err error) { t.Error(err) })
	defer r.opened.close()
	w := r.worker()
	ask := func(from string, num uint32, echo []byte) (int, message.Message) {
		b := num<<4 | 6
		req := request(blob, 1, &b)
		if echo != nil {
			req.Options = req.Options.Add(message.Option{ID: optionEcho, Value: echo})
		}
		out := make([]byte, maxDatagram)
		n := w.respond(encode(t, req), out, netip.MustParseAddr(from))
		if n == 0 {
			return 0, message.Message{}
		}
		return n, decode(t, out[:n])
	}
	const victim, other = "192.0.2.1", "192.0.2.2"
	drawn, began := 0, time.Now()
	for range 10_000 {
		n, _ := ask(victim, 1, nil)
		drawn += n
	}
	if drawn > 2*unprovenBurst+int(unprovenRate*time.Since(began).Seconds()) {
		t.Errorf("a forger has %d bytes sent", drawn)
	}
	n, ans := ask(victim, 0, nil) // which begins a download at the same time
	echo, err := ans.Options.GetBytes(optionEcho)
	if ans.Code != codes.Unauthorized || err != nil || n > 300 {
		t.Fatalf("%v, %d bytes, %v", ans.Code, n, err)
	}
	echo = bytes.Clone(echo)
	for range 1000 {
		if _, ans := ask(victim, 1, echo); ans.Code != codes.Content || ans.Options.HasOption(optionEcho) {
			t.Fatalf("%v for a client that has proven its address", ans.Code)
		}
	}
	_, ans = ask(other, 0, echo)
	if got, err := ans.Options.GetBytes(optionEcho); ans.Code != codes.Content || err != nil || bytes.Equal(got, echo) {
		t.Errorf("another address: %v, Echo %x", ans.Code, got)
	}
	for range 1000 {
		ask(other, 1, echo)
	}
	if n, _ := ask(other, 1, echo); n != 0 {
		t.Error("an Echo proves another address")
	}
}

// TestReach has hours go by.
func TestReach(t *testing.T) {
	now, from := time.Unix(1e9, 0), netip.MustParseAddr("2001:db8::1")
	r := newReach(now)
	_, first := r.check(from, nil, now)
	for _, tt := range []struct {
		after           time.Duration
		proven, another bool
	}{
		{0, true, false},
		{echoPeriod - 1, true, false},
		{echoPeriod, true, true},
		{2*echoPeriod - 1, true, true},
		{2 * echoPeriod, false, true},
		{9 * echoPeriod, false, true},
	} {
		proven, next := r.check(from, first, now.Add(tt.after))
		if proven != tt.proven || (next != nil) != tt.another {
			t.Errorf("after %v: %v, another one %v", tt.after, proven, next != nil)
		}
	}
	_, latest := r.check(from, nil, now.Add(9*echoPeriod))
	if proven, _ := r.check(from, latest, now.Add(20*echoPeriod)); proven {
		t.Error("after a long pause, an old value proves an address")
	}
	if proven, next := r.check(netip.MustParseAddr("::ffff:127.0.0.1"), nil, now); !proven || next != nil {
		t.Error("loopback has to prove itself")
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
	w := newResponder(c, func(err error) { f.Error(err) }).worker()
	f.Fuzz(func(t *testing.T, datagram []byte) {
		out := make([]byte, maxDatagram)
		if n := w.respond(datagram, out, netip.MustParseAddr("192.0.2.1")); n > 0 {
			decode(t, out[:n])
		}
	})
}
