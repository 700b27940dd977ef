package coap_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	tcpcoder "github.com/plgd-dev/go-coap/v3/tcp/coder"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
)

// request is a GET of a path, as a datagram.
func request(t *testing.T, path string, token byte) []byte {
	t.Helper()
	m := message.Message{Type: message.Confirmable, Code: codes.GET, MessageID: 7, Token: []byte{token}}
	m.Options = m.Options.Add(message.Option{ID: message.URIPath, Value: []byte(path)})
	b := make([]byte, 1500)
	n, err := coder.DefaultCoder.Encode(m, b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// answered reads a datagram, and returns its token and payload.
func answered(t *testing.T, conn net.Conn) (token byte, payload string) {
	t.Helper()
	b := make([]byte, 2048)
	n, err := conn.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	m := message.Message{Options: make(message.Options, 0, 8)}
	if _, err := coder.DefaultCoder.Decode(b[:n], &m); err != nil || m.Type == message.Confirmable || m.Code != codes.Content {
		t.Fatalf("%v, %v", m, err)
	}
	return m.Token[0], string(m.Payload)
}

// TestFramed: over TCP and TLS datagrams come and go as over DTLS, several at a time.
func TestFramed(t *testing.T) {
	authority := newAuthority(t, "factory", nil)
	own, pool := authority.issue(t, "localhost"), authority.pool()
	for scheme, options := range map[string][]coap.Option{
		"coap+tcp": nil, "coaps+tcp": {coap.Certificate(own, pool)},
	} {
		t.Run(scheme, func(t *testing.T) {
			server, err := coap.ListenDatagrams(scheme+"://127.0.0.1:0", options...)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(deadline(t))
			ended := make(chan error, 1)
			go func() {
				ended <- server.Serve(ctx, 2, func(from netip.Addr, b []byte) []byte {
					m := message.Message{Options: make(message.Options, 0, 8)}
					if _, err := coder.DefaultCoder.Decode(b, &m); err != nil || !from.IsLoopback() {
						t.Errorf("from %v: %v", from, err)
					}
					path, _ := m.Options.Path()
					if path == "/silence" {
						return nil
					}
					out := make([]byte, 2048)
					n, _ := coder.DefaultCoder.Encode(message.Message{Type: message.Acknowledgement, Code: codes.Content, Token: m.Token, Payload: bytes.Repeat([]byte(path), 200)}, out)
					return out[:n]
				})
			}()
			defer func() {
				cancel()
				if err := errors.Join(<-ended, server.Close()); err != nil {
					t.Error(err)
				}
			}()
			conn, err := net.Dial("tcp", server.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if scheme == "coaps+tcp" {
				conn, err = coap.Secure(ctx, conn, "localhost", coap.Certificate(authority.issue(t, "device-1"), pool))
			} else {
				conn, err = coap.Framed(conn)
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			for token, path := range []string{"silence", "a", "b", "c"} {
				if _, err := conn.Write(request(t, path, byte(token))); err != nil {
					t.Fatal(err)
				}
			}
			for range 3 {
				if token, payload := answered(t, conn); token < 1 || token > 3 || len(payload) != 400 || payload[1] != 'a'+token-1 {
					t.Errorf("%d: %.10s", token, payload)
				}
			}
		})
	}
	if _, err := coap.ListenDatagrams("coap+tcp://0.0.0.0:0"); err == nil {
		t.Error("plaintext listens for everybody")
	}
	if _, err := coap.ListenDatagrams("coaps+tcp://127.0.0.1:0"); err == nil {
		t.Error("TLS without a certificate listens")
	}
}

// TestFramedSignals: what a server says of the connection is for nobody else.
func TestFramedSignals(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	send := func(ms ...message.Message) {
		for _, m := range ms {
			b := make([]byte, 200)
			n, err := tcpcoder.DefaultCoder.Encode(m, b)
			if err == nil {
				_, err = theirs.Write(b[:n])
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
	got := make(chan byte, 100)
	go func() {
		r := bufio.NewReader(theirs)
		for {
			b, err := r.ReadByte()
			if err != nil {
				close(got)
				return
			}
			got <- b
		}
	}()
	conn, err := coap.Framed(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go send(message.Message{Code: codes.CSM}, message.Message{Code: codes.Ping, Token: []byte{9}},
		message.Message{Code: codes.Content, Token: []byte{1}, Payload: []byte("x")}, message.Message{Code: codes.Release})
	if token, payload := answered(t, conn); token != 1 || payload != "x" {
		t.Errorf("%d %s", token, payload)
	}
	if _, err := conn.Read(make([]byte, 100)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after the release: %v", err)
	}
	conn.Close()
	var sent []byte
	for b := range got {
		sent = append(sent, b)
	}
	if !bytes.HasSuffix(sent, []byte{1, byte(codes.Pong), 9}) || sent[1] != byte(codes.CSM) {
		t.Errorf("sent % x", sent)
	}
}
