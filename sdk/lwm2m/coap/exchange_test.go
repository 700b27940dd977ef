package coap

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// abyss is a link that answers nothing and notes when it was given datagrams.
type abyss struct {
	mu sync.Mutex
	at []time.Time
}

func (*abyss) receive(ctx context.Context, _ func(origin, []byte), _ func(string)) error {
	<-ctx.Done()
	return nil
}
func (*abyss) resolve(_ context.Context, address string) (string, error) { return address, nil }
func (*abyss) addr() net.Addr                                            { return &net.UDPAddr{} }
func (*abyss) close() error                                              { return nil }

func (a *abyss) send(string, []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.at = append(a.at, time.Now())
	return nil
}

// TestBackOff: each pause is twice as long as the one before at least, from
// AckTimeout on (RFC 7252 section 4.2).
func TestBackOff(t *testing.T) {
	l, timeout := &abyss{}, 4*time.Millisecond
	c := newConn(l, newSettings([]Option{WithTransmission(Transmission{AckTimeout: timeout, MaxRetransmit: 4})}))
	defer c.Close()
	_, err := c.confirm(t.Context(), peerA, message.Message{Code: codes.GET}, nil)
	if !errors.Is(err, lwm2m.ErrTimeout) {
		t.Fatalf("nobody answers: %v", err)
	}
	if len(l.at) != 5 {
		t.Fatalf("sent %d times, want 5", len(l.at))
	}
	for i, at := range l.at[1:] {
		if pause := at.Sub(l.at[i]); pause < timeout<<i {
			t.Errorf("pause %d is %v, want %v at least", i, pause, timeout<<i)
		}
	}
}

// A liar is a link whose peer answers as it likes.
type liar struct {
	abyss
	answers func(request message.Message) []message.Message
	back    chan []byte
}

func (l *liar) receive(ctx context.Context, f func(origin, []byte), _ func(string)) error {
	for {
		select {
		case b := <-l.back:
			f(origin{peer: peerA}, b)
		case <-ctx.Done():
			return nil
		}
	}
}

func (l *liar) send(to string, b []byte) error {
	m, err := unmarshal(b)
	if err != nil {
		return err
	}
	for _, answer := range l.answers(m) {
		b, err := marshal(answer)
		if err != nil {
			return err
		}
		l.back <- b
	}
	return l.abyss.send(to, b)
}

// TestLiars: answers that cannot be are not believed, and cost little.
func TestLiars(t *testing.T) {
	good := func(m message.Message) message.Message {
		return message.Message{Type: message.Acknowledgement, MessageID: m.MessageID, Token: m.Token, Code: codes.Content, Payload: []byte("good")}
	}
	with := func(change func(m *message.Message)) func(m message.Message) []message.Message {
		return func(m message.Message) []message.Message {
			lie := good(m)
			lie.Payload = []byte("evil")
			change(&lie)
			return []message.Message{lie, good(m)}
		}
	}
	blockOf := func(payload string, more bool) func(m *message.Message) {
		return func(m *message.Message) {
			m.Payload = []byte(payload)
			m.Options = block{more: more, szx: 6}.add(m.Options, message.Block2)
		}
	}
	for name, test := range map[string]struct {
		answers func(m message.Message) []message.Message
		fails   bool
	}{
		"another token":     {with(func(m *message.Message) { m.Token = []byte("wrongtok") }), false},
		"no token":          {with(func(m *message.Message) { m.Token = nil }), false},
		"a request":         {with(func(m *message.Message) { m.Code = codes.GET }), false},
		"more is wanted":    {with(func(m *message.Message) { m.Code = codes.Continue }), true},
		"an empty block":    {with(blockOf("", true)), true},
		"half of a block":   {with(blockOf("half", true)), true},
		"the last is whole": {with(blockOf("good", false)), false},
	} {
		l := &liar{answers: test.answers, back: make(chan []byte, 1000)}
		c := newConn(l, newSettings([]Option{WithTransmission(Transmission{AckTimeout: time.Second})}))
		ctx, cancel := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		serving.Go(func() { _ = c.Serve(ctx, nil) })
		answer, err := c.Exchange(ctx, peerA, &lwm2m.Message{Code: lwm2m.Get, Path: []string{"3"}})
		if test.fails != (err != nil) || err == nil && string(answer.Payload) != "good" {
			t.Errorf("%s: %v, %v", name, answer, err)
		}
		if len(l.at) > 3 {
			t.Errorf("%s: asked %d times", name, len(l.at))
		}
		c.Close()
		cancel()
		serving.Wait()
	}
}

// TestSmallerBlocks: a peer that refuses the first block for its size gets smaller ones
// (RFC 7959 section 2.9.3), of a payload and of what is read as it is sent.
func TestSmallerBlocks(t *testing.T) {
	const text = "0123456789"
	payload := []byte(strings.Repeat(text, 300))
	for name, request := range map[string]*lwm2m.Message{
		"payload": {Code: lwm2m.Put, Path: []string{"5"}, Payload: payload},
		"body":    {Code: lwm2m.Put, Path: []string{"5"}, Body: iotest.HalfReader(bytes.NewReader(payload)), Size: int64(len(payload))},
	} {
		var got []byte
		l := &liar{back: make(chan []byte, 1000), answers: func(m message.Message) []message.Message {
			b, _ := getBlock(m, message.Block1)
			answer := message.Message{Type: message.Acknowledgement, MessageID: m.MessageID, Token: m.Token, Code: codes.Continue}
			switch {
			case b.szx > 2:
				b.szx, answer.Code = 2, codes.RequestEntityTooLarge
			case !b.more:
				answer.Code = codes.Changed
				fallthrough
			default:
				got = append(got, m.Payload...)
			}
			answer.Options = b.add(nil, message.Block1)
			return []message.Message{answer}
		}}
		c := newConn(l, newSettings(nil))
		ctx, cancel := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		serving.Go(func() { _ = c.Serve(ctx, nil) })
		answer, err := c.Exchange(ctx, peerA, request)
		if err != nil || answer.Code != lwm2m.CodeChanged || !bytes.Equal(got, payload) {
			t.Errorf("%s: %v, %v, %d bytes", name, answer, err, len(got))
		}
		c.Close()
		cancel()
		serving.Wait()
	}
}
