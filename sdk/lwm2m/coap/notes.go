package coap

import (
	"context"
	"sync"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// notes are the notifications of a session over TCP that are being taken. Nothing
// acknowledges them there: a pong says that those before the ping have been taken.
type notes struct {
	mu   sync.Mutex
	open map[chan struct{}]bool
}

// notesOf are those of a peer; of one that has gone nobody's.
func (c *Conn) notesOf(peer string) *notes {
	s, err := c.sessions.session(peer)
	if err != nil {
		return new(notes)
	}
	return &s.notes
}

// add begins a notification, and gives the function that ends it.
func (n *notes) add() (done func(lwm2m.Reception)) {
	taken := make(chan struct{})
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open == nil {
		n.open = map[chan struct{}]bool{}
	}
	n.open[taken] = true
	return func(lwm2m.Reception) {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.open, taken)
		close(taken)
	}
}

// all gives a function that waits until those that are open now have been taken.
func (n *notes) all() (wait func(context.Context)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	var open []chan struct{}
	for taken := range n.open {
		open = append(open, taken)
	}
	return func(ctx context.Context) {
		for _, taken := range open {
			select {
			case <-taken:
			case <-ctx.Done():
			}
		}
	}
}
