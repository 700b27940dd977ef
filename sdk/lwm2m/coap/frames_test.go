package coap

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

func FuzzFrame(f *testing.F) {
	f.Add([]byte("\xd1\x05\x02T\xb2rd\x44ep=a\x09lwm2m=1.1"))
	f.Add([]byte("\x00\xe1\x01\xe2T"))
	f.Add([]byte("\xe0\xff\xff\x45"))
	f.Add([]byte("\xf0\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bufio.NewReader(bytes.NewReader(b))
		for {
			frame, err := readFrame(r)
			if err != nil {
				return
			}
			if len(frame) > maxFrame {
				t.Fatalf("a message of %d bytes", len(frame))
			}
			m, err := unmarshalFrame(frame)
			if err != nil {
				continue
			}
			first, err := fromWire(m)
			if err != nil || len(first.Path)+len(first.Query)+len(first.Location) > maxOptions/2 || !lwm2m.Code(m.Code).IsRequest() {
				continue
			}
			again, err := marshalFrame(toWire(first))
			if err != nil {
				t.Fatalf("cannot encode what was decoded: %v", err)
			}
			if m, err = unmarshalFrame(again); err != nil {
				t.Fatalf("cannot decode what was encoded: %v", err)
			}
			second, err := fromWire(m)
			if diff := cmp.Diff(first, second); diff != "" || err != nil {
				t.Errorf("%v (-first +second):\n%s", err, diff)
			}
		}
	})
}

// TestFrameLengths has each form of the length (RFC 8323 section 3.2).
func TestFrameLengths(t *testing.T) {
	for _, size := range []int{0, 1, 11, 12, 13, 267, 268, 269, 300, 60_000} {
		want := message.Message{Code: codes.POST, Token: []byte("T"), Payload: bytes.Repeat([]byte("x"), size)}
		b, err := marshalFrame(want)
		if err != nil {
			t.Fatal(err)
		}
		frame, err := readFrame(bufio.NewReader(bytes.NewReader(append(b, "next"...))))
		if err != nil || !bytes.Equal(frame, b) {
			t.Fatalf("%d bytes: read %d of %d, %v", size, len(frame), len(b), err)
		}
		got, err := unmarshalFrame(frame)
		if err != nil || !bytes.Equal(got.Payload, want.Payload) || !bytes.Equal(got.Token, want.Token) {
			t.Errorf("%d bytes: %v, %v", size, got, err)
		}
	}
	b, err := marshalFrame(message.Message{Code: codes.POST, Payload: make([]byte, maxFrame)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readFrame(bufio.NewReader(bytes.NewReader(b))); err == nil {
		t.Error("a message above the limit was taken")
	}
}

// TestBERT takes several blocks at once.
func TestBERT(t *testing.T) {
	u := newUploads(exchangeLifetime)
	whole := bytes.Repeat([]byte("0123456789abcdef"), 300)
	part := func(num uint32, more bool, payload []byte) (codes.Code, []byte) {
		b := block{num: num, more: more, szx: maxSZX, bert: true}
		request := &lwm2m.Message{Code: lwm2m.Put, Path: []string{"1"}, Payload: payload}
		early, complete := u.add(peerA, message.Message{Options: b.add(nil, message.Block1)}, request)
		if complete {
			return codes.Empty, request.Payload
		}
		return early.Code, nil
	}
	if code, _ := part(0, true, whole[:3*maxBlock]); code != codes.Continue {
		t.Fatal(code)
	}
	if code, got := part(3, false, whole[3*maxBlock:]); code != codes.Empty || !bytes.Equal(got, whole) {
		t.Errorf("%v, %d bytes of %d", code, len(got), len(whole))
	}
	if code, _ := part(0, true, whole[:maxBlock+1]); code != codes.RequestEntityIncomplete {
		t.Error(code)
	}
}

// stuck serves nothing until it may.
type stuck chan struct{}

func (s stuck) ServeRequest(context.Context, string, *lwm2m.Message) *lwm2m.Message {
	<-s
	return &lwm2m.Message{Code: lwm2m.CodeContent}
}

func (stuck) ServeNotification(_ string, _ *lwm2m.Message, done func(lwm2m.Reception)) {
	done(lwm2m.Refused)
}

// TestManyRequests: a peer that has too many requests open loses its connection, and
// no other does.
func TestManyRequests(t *testing.T) {
	server, err := Listen("coap+tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	handler, served := make(stuck), make(chan error, 1)
	go func() { served <- server.Serve(ctx, handler) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		server.Close()
	})
	address := server.LocalAddr().String()
	quiet, err := Dial("coap+tcp://" + address)
	if err != nil {
		t.Fatal(err)
	}
	defer quiet.Close()
	go func() { _ = quiet.Serve(ctx, handler) }()
	peer, err := quiet.Resolve(ctx, address)
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := quiet.Exchange(ctx, peer, &lwm2m.Message{Code: lwm2m.Get})
		answered <- err
	}()
	greedy, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer greedy.Close()
	requests := "\x00\xe1" + strings.Repeat("\x01\x01T", maxServing+1)
	if _, err := greedy.Write([]byte(requests)); err != nil {
		t.Fatal(err)
	}
	_ = greedy.SetReadDeadline(time.Now().Add(2 * time.Minute))
	if _, err := io.Copy(io.Discard, greedy); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the greedy peer keeps its connection")
	}
	close(handler)
	if err := <-answered; err != nil {
		t.Errorf("the other peer: %v", err)
	}
}

// TestLongBlocks are announced by whoever takes them (RFC 8323 section 5.3.2): not by who
// takes datagrams.
func TestLongBlocks(t *testing.T) {
	for several, want := range map[bool]uint64{false: maxFrame, true: baseFrame} {
		s := newSettings(nil)
		s.several = several
		l, err := listenTCP(netip.MustParseAddrPort("127.0.0.1:0"), s, false)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", l.addr().String())
		if err != nil {
			t.Fatal(err)
		}
		frame, err := readFrame(bufio.NewReader(conn))
		if err != nil {
			t.Fatal(err)
		}
		m, err := unmarshalFrame(frame)
		if err != nil || m.Code != codes.CSM {
			t.Fatal(m, err)
		}
		if longest, err := m.Options.GetBytes(message.TCPMaxMessageSize); err != nil || number(longest) != want {
			t.Errorf("%v: %d, %v", several, number(longest), err)
		}
		conn.Close()
		l.close()
	}
}
