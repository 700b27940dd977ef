package coap

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
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
