package coap_test

import (
	"bytes"
	"encoding/binary"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// These are the attacks of somebody without a key, by raw sockets.

// helloDatagram is a ClientHello that offers TLS_PSK_WITH_AES_128_CCM_8, in a record
// of the same number.
func helloDatagram(random uint32, message byte, cookie []byte) []byte {
	content := append([]byte{0xfe, 0xfd}, make([]byte, 28)...)
	content = append(binary.BigEndian.AppendUint32(content, random), 0, byte(len(cookie)))
	content = append(append(content, cookie...), 0, 2, 0xc0, 0xa8, 1, 0)
	n := byte(len(content))
	b := []byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, message, 0, n + 12, 1, 0, 0, n, 0, message, 0, 0, 0, 0, 0, n}
	return append(b, content...)
}

// cookieIn gives the cookie of a HelloVerifyRequest.
func cookieIn(datagram []byte) ([]byte, bool) {
	if len(datagram) < 28 || datagram[0] != 22 || datagram[13] != 3 {
		return nil, false
	}
	return datagram[28:], true
}

// ask sends a datagram until something is answered.
func ask(t *testing.T, conn net.Conn, datagram []byte) []byte {
	t.Helper()
	b := make([]byte, 2000)
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if _, err := conn.Write(datagram); err != nil {
			t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		if n, err := conn.Read(b); err == nil {
			return b[:n]
		}
	}
	t.Fatal("no answer")
	return nil
}

// stranger is a socket with an address that no device has.
func stranger(t *testing.T, network, server string) net.Conn {
	t.Helper()
	var d net.Dialer
	if d.LocalAddr = net.Addr(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)}); network == "tcp" {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}
	}
	conn, err := d.DialContext(t.Context(), network, server)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// lines is a log.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(b)
}

func (l *lines) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.all.String(), text)
}

func (l *lines) option() coap.Option { return coap.WithLogger(slog.New(slog.NewTextHandler(l, nil))) }

func inUse() (heap uint64) {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapInuse
}

// TestForgedHellos floods a server with hellos, and with what might follow them, from
// addresses at which nobody has shown to be: nothing is kept of them.
func TestForgedHellos(t *testing.T) {
	s := startSecureServer(t, "coaps://127.0.0.1:0", coap.PSKs(keys))
	const many = 300
	forgers := make([]net.Conn, many)
	for i := range forgers {
		forgers[i] = stranger(t, "udp", s.address)
	}
	goroutines, heap := runtime.NumGoroutine(), inUse()
	junk := append([]byte{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 1, 0, 4, 0}, make([]byte, 1024)...)
	for i, forger := range forgers {
		answer := ask(t, forger, helloDatagram(uint32(i), 0, nil))
		if _, ok := cookieIn(answer); !ok || len(answer) > len(helloDatagram(0, 0, nil)) {
			t.Fatalf("a hello is answered by %x", answer)
		}
		for range 100 {
			_, _ = forger.Write(junk)
		}
		_, _ = forger.Write(helloDatagram(uint32(i), 1, []byte("01234567890123456789")))
	}
	d := startDevice(t, "coaps://"+s.address, nil, coap.PSK("device-1", secret))
	exercise(t, d, s.event(t, lwm2m.Registered).Device)
	if n := runtime.NumGoroutine(); n > goroutines+50 {
		t.Errorf("%d goroutines more", n-goroutines)
	}
	if now := inUse(); now > heap+8<<20 {
		t.Errorf("%d bytes more", now-heap)
	}
}

// TestSilentPeers take all places for handshakes, and then say nothing.
func TestSilentPeers(t *testing.T) {
	for name, tt := range map[string]struct {
		scheme, network string
		server, client  []coap.Option
		begin           func(t *testing.T, silent net.Conn)
	}{
		"DTLS": {"coaps://", "udp", []coap.Option{coap.PSKs(keys)}, []coap.Option{coap.PSK("device-1", secret)}, withCookie},
		"TCP":  {"coap+tcp://", "tcp", nil, nil, func(*testing.T, net.Conn) {}},
	} {
		t.Run(name, func(t *testing.T) {
			var log lines
			s := startServerAt(t, tt.scheme+"127.0.0.1:0", func(*lwm2m.ServerConfig) {}, append(tt.server, log.option())...)
			for range 256 {
				tt.begin(t, stranger(t, tt.network, s.address))
			}
			d := startDevice(t, tt.scheme+s.address, nil, tt.client...)
			exercise(t, d, s.event(t, lwm2m.Registered).Device)
			if !log.has("gave way") {
				t.Error("no silent peer gave way: the device waited until they were given up")
			}
		})
	}
}

// withCookie begins a handshake as far as anybody can who has an address.
func withCookie(t *testing.T, silent net.Conn) {
	t.Helper()
	random := uint32(silent.LocalAddr().(*net.UDPAddr).Port)
	cookie, ok := cookieIn(ask(t, silent, helloDatagram(random, 0, nil)))
	if !ok {
		t.Fatal("a hello is not answered by a cookie")
	}
	if answer := ask(t, silent, helloDatagram(random, 1, cookie)); answer[13] != 2 {
		t.Fatalf("a hello with a cookie is answered by %x", answer)
	}
}

// forgeries would each end a session of pion's, or might.
var forgeries = map[string]string{
	"data in plaintext":        "\x17\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x70\x00\x01x",
	"fatal alert":              "\x15\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x71\x00\x02\x02\x28",
	"close_notify":             "\x15\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x72\x00\x02\x01\x00",
	"malformed alert":          "\x15\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x73\x00\x01\x02",
	"ChangeCipherSpec":         "\x14\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x74\x00\x01\x01",
	"malformed, of epoch 1":    "\x14\xfe\xfd\x00\x01\x00\x00\x00\x00\x00\x75\x00\x02\x01\x01",
	"unknown type":             "\x30\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x76\x00\x01x",
	"unknown type, of epoch 1": "\x30\xfe\xfd\x00\x01\x00\x00\x00\x00\x00\x77\x00\x20" + strings.Repeat("x", 32),
	"data, of epoch 1":         "\x17\xfe\xfd\x00\x01\x00\x00\x00\x00\x00\x78\x00\x20" + strings.Repeat("x", 32),
	"another connection id":    "\x19\xfe\xfd\x00\x01\x00\x00\x00\x00\x00\x7901234567\x00\x20" + strings.Repeat("x", 32),
	"id in plaintext":          "\x19\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x7a01234567\x00\x03\x02\x28\x15",
	"finished in plaintext":    "\x16\xfe\xfd\x00\x00\x00\x00\x00\x00\x00\x7b\x00\x18\x14\x00\x00\x0c\x00\x07\x00\x00\x00\x00\x00\x0c0123456789ab",
	"half a record":            "\x17\xfe\xfd\x00\x01\x00\x00\x00\x00\x00\x7c\x01\x00x",
	"noise":                    strings.Repeat("noise", 100),
	"nothing":                  "",
}

// TestForgedDatagrams come from the right addresses, at both ends of a session.
func TestForgedDatagrams(t *testing.T) {
	s := startSecureServer(t, "coaps://127.0.0.1:0", coap.PSKs(keys), patient())
	n := startNetwork(t, s.address, 1, weather{})
	d := startDevice(t, "coaps://"+n.address(), nil, coap.PSK("device-1", secret), patient())
	remote := s.event(t, lwm2m.Registered).Device
	for name, forged := range forgeries {
		n.up.deliver([]byte(forged))
		n.down.deliver([]byte(forged))
		if _, err := remote.Read(deadline(t), version); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	n.up.deliver(helloDatagram(1, 0, nil))
	n.down.deliver(helloDatagram(1, 0, nil))
	exercise(t, d, remote)
	if len(s.events) != 0 {
		t.Error("the device has registered anew")
	}
}

// old is a device without connection ids.
func old(t *testing.T, address string) *dtls.Conn {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := dtls.ClientWithOptions(socket, to, dtls.WithPSK(func([]byte) ([]byte, error) { return secret, nil }),
		dtls.WithPSKIdentityHint([]byte("device-1")), dtls.WithCipherSuites(dtls.TLS_PSK_WITH_AES_128_CCM_8))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(); socket.Close() })
	if err := conn.HandshakeContext(deadline(t)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// registers sends a registration over a session, with this message id.
func registers(t *testing.T, conn *dtls.Conn, id byte, s *server) {
	t.Helper()
	if _, err := conn.Write([]byte("\x41\x02\x12" + string(rune(id)) + "T\xb2rd\x4bep=device-1\x09lwm2m=1.1")); err != nil {
		t.Fatal(err)
	}
	s.event(t, lwm2m.Registered)
}

// TestHelloAmidst: a handshake that begins from the address of a session, and is not
// finished, does not end the session (RFC 6347 section 4.2.8).
func TestHelloAmidst(t *testing.T) {
	s := startSecureServer(t, "coaps://127.0.0.1:0", coap.PSKs(keys))
	n := startNetwork(t, s.address, 1, weather{})
	conn := old(t, n.address())
	registers(t, conn, 1, s)
	for name, forged := range forgeries {
		n.up.deliver([]byte(forged))
		if name == "close_notify" {
			registers(t, conn, 2, s)
		}
	}
	registers(t, conn, 3, s)
	answers := make(chan []byte, 100)
	n.down.mu.Lock()
	n.down.deliver = func(b []byte) { // who sends the hello sees the answers
		answers <- bytes.Clone(b)
		_, _ = n.front.WriteToUDP(b, n.home())
	}
	n.down.mu.Unlock()
	n.up.deliver(helloDatagram(1, 0, nil))
	var cookie []byte
	for found := false; !found; cookie, found = cookieIn(<-answers) {
	}
	n.up.deliver(helloDatagram(1, 1, cookie))
	for answer := <-answers; len(answer) < 14 || answer[0] != 22 || answer[13] != 2; answer = <-answers { // until ServerHello
	}
	registers(t, conn, 4, s)
}

// TestForgedNotification: somebody who knows the token of an observation notifies.
func TestForgedNotification(t *testing.T) {
	s := startServer(t, "127.0.0.1:0")
	n := startNetwork(t, s.address, 1, weather{})
	d := startDevice(t, n.address(), nil)
	remote := s.event(t, lwm2m.Registered).Device
	tokens := make(chan []byte, 100)
	n.down.mu.Lock()
	pass := n.down.deliver
	n.down.deliver = func(b []byte) {
		if len(b) > 12 && b[0] == 0x48 && b[1] == byte(lwm2m.Get) {
			tokens <- bytes.Clone(b[4:12])
		}
		pass(b)
	}
	n.down.mu.Unlock()
	var box inbox
	if _, err := remote.Observe(deadline(t), version, box.put); err != nil {
		t.Fatal(err)
	}
	forged := append([]byte("\x58\x45\x77\x77"), <-tokens...)
	forged = append(forged, "\x63\x20\x00\x00\x60\xff6.6.6"...) // a much newer value
	forger := stranger(t, "udp", s.address)
	for range 3 {
		if _, err := forger.Write(forged); err != nil {
			t.Fatal(err)
		}
	}
	d.component.SetValue(0, objects.ComponentVersion, lwm2m.String("2.0.0"))
	if err := d.Deliver(deadline(t), version); err != nil {
		t.Fatal(err)
	}
	box.await(t, version, lwm2m.String("2.0.0"))
	for _, records := range box.everything() {
		if records[0].Value == lwm2m.String("6.6.6") {
			t.Error("a forged value was taken")
		}
	}
}

// TestFailedHandshakeIsNamed: a device with a wrong key hears nothing, so the
// server's log has to say who it is.
func TestFailedHandshakeIsNamed(t *testing.T) {
	var log lines
	s := startSecureServer(t, "coaps://127.0.0.1:0", coap.PSKs(keys), log.option())
	if err := tryRegister(t, "coaps://"+s.address, "device-2", coap.PSK("device-2", []byte("fedcba9876543210"))); err == nil {
		t.Error("registered with a wrong key")
	}
	s.stop()
	if !log.has("identity=device-2") {
		t.Errorf("the log does not name the device:\n%s", log.all.String())
	}
}
