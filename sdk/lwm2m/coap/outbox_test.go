package coap

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// pipes is a listener for connections that hold nothing: what one end writes waits
// until the other reads.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if c, ok := <-p; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}
func (p pipes) Close() error   { close(p); return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// connect makes a connection whose capabilities are exchanged.
func (p pipes) connect(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	here, there := net.Pipe()
	t.Cleanup(func() { here.Close() })
	p <- there
	_ = here.SetDeadline(time.Now().Add(2 * time.Minute))
	r := bufio.NewReader(here)
	if _, err := readFrame(r); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(here, "\x00\xe1"); err != nil {
		t.Fatal(err)
	}
	return here, r
}

// eager answers everything.
type eager struct{ asked atomic.Int64 }

func (e *eager) ServeRequest(context.Context, string, *lwm2m.Message) *lwm2m.Message {
	e.asked.Add(1)
	return &lwm2m.Message{Code: lwm2m.CodeContent}
}

func (*eager) ServeNotification(_ string, _ *lwm2m.Message, done func(lwm2m.Reception)) {
	done(lwm2m.Refused)
}

// TestPeersThatTakeNothing ask for as much as may be served at once, and read no
// answer: they hold up nobody else.
func TestPeersThatTakeNothing(t *testing.T) {
	s, listener, handler := newSettings(nil), make(pipes), &eager{}
	conn := newConn(newSessions(tcpSessions{s, false}, s).listen(listener), s)
	served := make(chan error, 1)
	go func() { served <- conn.Serve(t.Context(), handler) }()
	t.Cleanup(func() {
		conn.Close()
		if err := <-served; err != nil && !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	for range maxHandlers/maxServing + 1 {
		greedy, _ := listener.connect(t)
		for range maxServing {
			if _, err := io.WriteString(greedy, "\x01\x01T"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for handler.asked.Load() < maxHandlers {
		time.Sleep(time.Millisecond)
	}
	other, answers := listener.connect(t)
	if _, err := io.WriteString(other, "\x01\x01T"); err != nil {
		t.Fatalf("another peer has no connection any more: %v", err)
	}
	if answer, err := readFrame(answers); err != nil || string(answer) != "\x01\x45T" {
		t.Errorf("another peer is answered %x, %v", answer, err)
	}
}

func TestFullOutboxEndsItsConnection(t *testing.T) {
	for name, frame := range map[string][]byte{"many": []byte("x"), "long": []byte(strings.Repeat("x", maxFrame))} {
		here, there := net.Pipe()
		o := newOutbox(here)
		go o.send()
		var err error
		for n := 0; err == nil; n++ {
			if err = o.put(frame); n > maxOutbox+1 {
				t.Fatalf("%s: %d messages wait", name, n)
			}
		}
		if _, read := there.Read(make([]byte, 1)); !errors.Is(err, errNoPeer) || read == nil {
			t.Errorf("%s: %v, and the connection is open", name, err)
		}
		o.end()
	}
}

// TestOutboxEndsWithWhatWaits: what was sent before the end arrives.
func TestOutboxEndsWithWhatWaits(t *testing.T) {
	here, there := net.Pipe()
	o := newOutbox(here)
	for range 3 {
		if err := o.put([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	go o.send()
	got := make(chan string)
	go func() {
		b := make([]byte, 3)
		n, _ := io.ReadFull(there, b)
		got <- string(b[:n])
	}()
	o.end()
	if all := <-got; all != "xxx" {
		t.Errorf("%q arrived", all)
	}
}
