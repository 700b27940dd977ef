package coap_test

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

var secret = []byte("0123456789abcdef")

// keys knows device-1, device-2 and libcoap.
func keys(identity string) ([]byte, error) {
	if identity != "device-1" && identity != "device-2" && identity != "libcoap" {
		return nil, errors.New("a stranger")
	}
	return secret, nil
}

func startSecureServer(t *testing.T, address string, options ...coap.Option) *server {
	t.Helper()
	return startServerAt(t, address, func(*lwm2m.ServerConfig) {}, options...)
}

// exercise does a bit of everything over a registration.
func exercise(t *testing.T, d *device, remote *lwm2m.Device) {
	t.Helper()
	ctx := deadline(t)
	var box inbox
	if _, err := remote.Observe(ctx, version, box.put); err != nil {
		t.Fatal(err)
	}
	d.component.SetValue(0, objects.ComponentVersion, lwm2m.String("2.0.0"))
	if err := d.Deliver(ctx, version); err != nil {
		t.Fatal(err)
	}
	box.await(t, version, lwm2m.String("2.0.0"))
	long := lwm2m.String(strings.Repeat("0123456789", 1000))
	if err := remote.Write(ctx, wanted, lwm2m.Replace, []lwm2m.Record{{Path: wanted, Value: long}}); err != nil {
		t.Fatal(err)
	}
	records, err := remote.Read(ctx, wanted)
	if err != nil || len(records) != 1 || records[0].Value != long {
		t.Errorf("the long value came back as %.40v, %v", records, err)
	}
}

func TestPSK(t *testing.T) {
	s := startSecureServer(t, "coaps://127.0.0.1:0", coap.PSKs(keys))
	address := "coaps://" + s.address
	d := startDevice(t, address, nil, coap.PSK("device-1", secret))
	e := s.event(t, lwm2m.Registered)
	if e.Registration.Identity != "device-1" {
		t.Errorf("the identity is %q", e.Registration.Identity)
	}
	exercise(t, d, e.Device)
	for name, err := range map[string]error{
		"wrong key":             tryRegister(t, address, "device-2", coap.PSK("device-2", []byte("fedcba9876543210"))),
		"stranger":              tryRegister(t, address, "stranger", coap.PSK("stranger", secret)),
		"another device's name": tryRegister(t, address, "device-1", coap.PSK("device-2", secret)),
		"an unproven name":      tryRegister(t, address, "stranger", coap.PSK("device-2", secret)),
	} {
		if err == nil {
			t.Errorf("%s: registered", name)
		}
	}
	if _, err := e.Device.Read(deadline(t), version); err != nil { // still the registered one
		t.Error(err)
	}
	if n := len(s.Devices()); n != 1 || len(s.events) != 0 {
		t.Errorf("%d devices, %d events: a device without the right to it has registered", n, len(s.events))
	}
	d.stop()
	s.event(t, lwm2m.Deregistered)
}

// tryRegister registers over a socket of its own, which it closes.
func tryRegister(t *testing.T, address, endpoint string, option coap.Option) error {
	t.Helper()
	conn, err := coap.Dial(address, quick(), option)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(deadline(t))
	served := make(chan error, 1)
	go func() { served <- conn.Serve(ctx, deaf{}) }()
	defer func() { cancel(); <-served; conn.Close() }()
	short, stop := context.WithTimeout(ctx, 2*time.Second) // some failures are silent
	defer stop()
	peer, err := conn.Resolve(short, address)
	if err != nil {
		return err
	}
	answer, err := conn.Exchange(ctx, peer, &lwm2m.Message{Code: lwm2m.Post, Path: []string{"rd"}, Query: []string{"ep=" + endpoint, "lwm2m=1.1"}})
	if err == nil && !answer.Code.Success() {
		err = &lwm2m.Error{Code: answer.Code}
	}
	return err
}

// mover forwards datagrams between one device and a server; move gives the device
// another address, as a network with address translation does.
type mover struct {
	front   *net.UDPConn
	server  *net.UDPAddr
	workers sync.WaitGroup

	mu     sync.Mutex
	device *net.UDPAddr
	back   *net.UDPConn
}

func startMover(t *testing.T, server string) *mover {
	t.Helper()
	to, err := net.ResolveUDPAddr("udp", server)
	if err != nil {
		t.Fatal(err)
	}
	m := &mover{server: to}
	if m.front, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
		t.Fatal(err)
	}
	m.move(t)
	m.workers.Go(m.up)
	t.Cleanup(func() {
		m.front.Close()
		m.mu.Lock()
		m.back.Close()
		m.mu.Unlock()
		m.workers.Wait()
	})
	return m
}

func (m *mover) move(t *testing.T) {
	back, err := net.DialUDP("udp", nil, m.server)
	if err != nil {
		t.Fatal(err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.back != nil {
		m.back.Close()
	}
	m.back = back
	m.workers.Go(func() {
		b := make([]byte, 1<<16)
		for {
			n, err := back.Read(b)
			if err != nil {
				return
			}
			m.mu.Lock()
			to := m.device
			m.mu.Unlock()
			_, _ = m.front.WriteToUDP(b[:n], to)
		}
	})
}

func (m *mover) up() {
	b := make([]byte, 1<<16)
	for {
		n, from, err := m.front.ReadFromUDP(b)
		if err != nil {
			return
		}
		m.mu.Lock()
		m.device = from
		_, _ = m.back.Write(b[:n])
		m.mu.Unlock()
	}
}

// TestConnectionID moves a device: the session and the registration stay.
func TestConnectionID(t *testing.T) {
	s := startSecureServer(t, "coaps://127.0.0.1:0", coap.PSKs(keys), patient())
	proxy := startMover(t, s.address)
	d := startDevice(t, "coaps://"+proxy.front.LocalAddr().String(), nil, coap.PSK("device-1", secret), patient())
	e := s.event(t, lwm2m.Registered)
	for range 2 {
		proxy.move(t)
		d.ObjectsChanged() // an update from the new address
		if u := s.event(t, lwm2m.Updated); u.Device != e.Device || u.Registration.Address != e.Registration.Address {
			t.Errorf("the registration is another: %+v", u.Registration)
		}
		exercise(t, d, e.Device)
	}
	d.stop()
}

// TestLastFlightLost: the end of the server's handshake gets lost, so the device sends its
// own end again, and hears the server's.
func TestLastFlightLost(t *testing.T) {
	t.Parallel()
	s := startSecureServer(t, "coaps://127.0.0.1:0", coap.PSKs(keys))
	n := startNetwork(t, s.address, 1, weather{})
	const changeCipherSpec = 20
	var lost atomic.Int32
	n.down.mu.Lock()
	n.down.loses = func(datagram string) bool { return datagram[0] == changeCipherSpec && lost.Add(1) <= 2 }
	n.down.mu.Unlock()
	conn, err := coap.Dial("coaps://"+n.address(), coap.PSK("device-1", secret))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Resolve(deadline(t), "coaps://"+n.address()); err != nil || lost.Load() < 3 {
		t.Errorf("it was sent %d times: %v", lost.Load(), err)
	}
}

// TestExpiredAmidASession: a device that was cut off for longer than its lifetime registers
// anew over the session that it has, as soon as it is told.
func TestExpiredAmidASession(t *testing.T) {
	t.Parallel()
	s := startSecureServer(t, "coaps://127.0.0.1:0", coap.PSKs(keys), patient())
	n := startNetwork(t, s.address, 1, weather{})
	d := startDevice(t, "coaps://"+n.address(), func(c *lwm2m.ClientConfig) { c.Lifetime = time.Second }, coap.PSK("device-1", secret), patient())
	before := s.event(t, lwm2m.Registered).Registration.Address
	n.up.cut(true)
	for e := range s.events { // updates may come before
		if e.Kind == lwm2m.Expired {
			break
		}
	}
	n.up.cut(false)
	if after := s.event(t, lwm2m.Registered).Registration.Address; after != before {
		t.Errorf("it has made a session for that: %s became %s", before, after)
	}
	d.stop()
}

// authority issues certificates.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
	chain       [][]byte // without the root
}

func newAuthority(t *testing.T, name string, issuer *authority) *authority {
	t.Helper()
	template := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a := &authority{}
	a.certificate, a.key = certify(t, name, template, issuer)
	if issuer != nil {
		a.chain = append([][]byte{a.certificate.Raw}, issuer.chain...)
	}
	return a
}

func (a *authority) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	c, key := certify(t, name, &x509.Certificate{
		DNSNames: []string{cmp.Or(name, "nameless")}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, a)
	return tls.Certificate{Certificate: append([][]byte{c.Raw}, a.chain...), PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.certificate)
	return p
}

func certify(t *testing.T, name string, template *x509.Certificate, issuer *authority) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber, template.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if issuer != nil {
		parent, signer = issuer.certificate, issuer.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}

// TestCertificates has chains of two on each side; the server also takes PSKs.
func TestCertificates(t *testing.T) {
	root, foreign := newAuthority(t, "root", nil), newAuthority(t, "foreign", nil)
	factory := newAuthority(t, "factory", root)
	s := startSecureServer(t, "coaps://127.0.0.1:0", coap.PSKs(keys), coap.Certificate(factory.issue(t, "localhost"), root.pool()))
	_, port, _ := net.SplitHostPort(s.address)
	address := "coaps://localhost:" + port
	d := startDevice(t, address, nil, coap.Certificate(factory.issue(t, "device-1"), root.pool()))
	e := s.event(t, lwm2m.Registered)
	if e.Registration.Identity != "device-1" {
		t.Errorf("the identity is %q", e.Registration.Identity)
	}
	exercise(t, d, e.Device)
	d2 := startDevice(t, address, func(c *lwm2m.ClientConfig) { c.Endpoint = "device-2" }, coap.PSK("device-2", secret))
	exercise(t, d2, s.event(t, lwm2m.Registered).Device)
	for name, err := range map[string]error{
		"a device of others":         tryRegister(t, address, "device-3", coap.Certificate(foreign.issue(t, "device-3"), root.pool())),
		"another device's name":      tryRegister(t, address, "device-3", coap.Certificate(factory.issue(t, "device-4"), root.pool())),
		"no name":                    tryRegister(t, address, "device-3", coap.Certificate(factory.issue(t, ""), root.pool())),
		"a server of others":         tryRegister(t, address, "device-3", coap.Certificate(factory.issue(t, "device-3"), foreign.pool())),
		"a server under its address": tryRegister(t, "coaps://127.0.0.1:"+port, "device-3", coap.Certificate(factory.issue(t, "device-3"), root.pool())),
	} {
		if err == nil {
			t.Errorf("%s: registered", name)
		}
	}
	if n := len(s.Devices()); n != 2 {
		t.Errorf("%d devices: one without the right to it has registered", n)
	}
	d.stop()
	d2.stop()
}

func TestCredentialsAreUsed(t *testing.T) {
	for name, open := range map[string]func() (*coap.Conn, error){
		"listen, plaintext, PSKs": func() (*coap.Conn, error) { return coap.Listen("coap://127.0.0.1:0", coap.PSKs(keys)) },
		"listen, DTLS, nothing":   func() (*coap.Conn, error) { return coap.Listen("coaps://127.0.0.1:0") },
		"listen, another scheme":  func() (*coap.Conn, error) { return coap.Listen("http://127.0.0.1:0", coap.NoSec()) },
		"dial, plaintext, PSK":    func() (*coap.Conn, error) { return coap.Dial("coap://127.0.0.1", coap.PSK("a", secret)) },
		"dial, DTLS, nothing":     func() (*coap.Conn, error) { return coap.Dial("coaps://127.0.0.1") },
		"dial, no roots":          func() (*coap.Conn, error) { return coap.Dial("coaps://x", coap.Certificate(tls.Certificate{}, nil)) },
	} {
		if c, err := open(); err == nil {
			t.Errorf("%s: no error", name)
			c.Close()
		}
	}
}

func TestLibcoapDTLS(t *testing.T) {
	program := libcoap(t, "coap-client-openssl")
	s := startSecureServer(t, "coaps://127.0.0.1:0", coap.PSKs(keys))
	coapProgram(t, program, "-u", "libcoap", "-k", string(secret), "-m", "post", "-t", "40", "-e", "</3303/0>",
		"coaps://"+s.address+"/rd?ep=libcoap&lt=60&lwm2m=1.1&b=U")
	if e := s.event(t, lwm2m.Registered); e.Registration.Identity != "libcoap" {
		t.Errorf("the identity is %q", e.Registration.Identity)
	}
	coapProgram(t, program, "-u", "libcoap", "-k", string(secret), "-m", "post", "-t", "40", "-e", "</3303/0>",
		"coaps://"+s.address+"/rd?ep=device-1&lt=60&lwm2m=1.1&b=U")
	if len(s.events) != 0 {
		t.Error("registered under another name")
	}
}

func TestLibcoapServesDTLS(t *testing.T) {
	address := startCoapServer(t, "coap-server-openssl", -1, "-k", string(secret), "-h", "hint")
	conn, err := coap.Dial("coaps://"+address, coap.PSK("device-1", secret), coap.WithLogger(logger(t)))
	if err != nil {
		t.Fatal(err)
	}
	transportAgainstLibcoap(t, conn, "coaps://"+address)
}

// TestSameAddress: a device that lost power comes back from the address that it had,
// while its server still has the former session. It need not know connection ids.
func TestSameAddress(t *testing.T) {
	s := startSecureServer(t, "coaps://127.0.0.1:0", coap.PSKs(keys))
	n := startNetwork(t, s.address, 1, weather{})
	to, err := net.ResolveUDPAddr("udp", n.address())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		conn, err := dtls.ClientWithOptions(socket, to, dtls.WithPSK(func([]byte) ([]byte, error) { return secret, nil }),
			dtls.WithPSKIdentityHint([]byte("device-1")), dtls.WithCipherSuites(dtls.TLS_PSK_WITH_AES_128_CCM_8))
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.HandshakeContext(deadline(t)); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("\x41\x02\x12\x34T\xb2rd\x4bep=device-1\x09lwm2m=1.1")); err != nil {
			t.Fatal(err)
		}
		s.event(t, lwm2m.Registered)
		n.up.cut(true) // it cannot say goodbye
		conn.Close()
		socket.Close()
		n.up.cut(false)
	}
}
