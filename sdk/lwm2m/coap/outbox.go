package coap

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxOutbox bounds the messages that wait to be sent over one connection, and
	// maxOutboxBytes what they are long.
	maxOutbox      = 256
	maxOutboxBytes = 1 << 20
	// writeTimeout bounds how long a peer may not take what is sent to it.
	writeTimeout = 30 * time.Second
	// lastWords is how long a connection is kept for what waits when it is to end.
	lastWords = time.Second
)

// outbox is what waits to be sent over a connection of TCP or TLS. Nobody waits for a
// peer that does not take it: when it is full, that connection ends.
type outbox struct {
	conn   net.Conn
	frames chan []byte
	bytes  atomic.Int64
	last   chan struct{} // nothing comes any more
	done   chan struct{}
	end    func()
}

func newOutbox(conn net.Conn) *outbox {
	o := &outbox{conn: conn, frames: make(chan []byte, maxOutbox), last: make(chan struct{}), done: make(chan struct{})}
	o.end = sync.OnceFunc(func() {
		close(o.last)
		defer time.AfterFunc(lastWords, func() { _ = conn.Close() }).Stop()
		<-o.done
	})
	return o
}

func (o *outbox) put(frame []byte) error {
	if o.bytes.Add(int64(len(frame))) <= maxOutboxBytes {
		select {
		case o.frames <- frame:
			return nil
		default:
		}
	}
	_ = o.conn.Close()
	return fmt.Errorf("%w: it does not take what is sent to it", errNoPeer)
}

// send is what one goroutine of each connection does until end is called, or the
// connection fails.
func (o *outbox) send() {
	defer close(o.done)
	for {
		select {
		case frame := <-o.frames:
			if o.write(frame) != nil {
				return
			}
		case <-o.last:
			for len(o.frames) > 0 && o.write(<-o.frames) == nil {
			}
			return
		}
	}
}

func (o *outbox) write(frame []byte) error {
	o.bytes.Add(-int64(len(frame)))
	return writeFrame(o.conn, frame)
}

// writeFrame sends a whole frame; what was sent in part leaves nothing to go on with.
func writeFrame(conn net.Conn, frame []byte) error {
	_ = conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := conn.Write(frame); err != nil {
		_ = conn.Close()
		return fmt.Errorf("%w: %w", errNoPeer, err)
	}
	return nil
}
