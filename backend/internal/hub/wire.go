package hub

import (
	"bufio"
	"context"
	"net"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// wire is an MQTT connection that has been let in.
type wire struct {
	conn    net.Conn
	in      *bufio.Reader
	out     chan packets.ControlPacket
	silence time.Duration // after which nobody is there any more
	expiry  time.Time     // of what has let it in
	active  atomic.Int64  // when the last packet came, Unix nanoseconds
}

// open begins a wire with what its CONNECT says.
func (w *wire) open(conn net.Conn, in *bufio.Reader, c *packets.ConnectPacket, expiry time.Time) {
	w.conn, w.in, w.expiry, w.out = conn, in, expiry, make(chan packets.ControlPacket, maxQueue)
	w.silence = time.Duration(c.Keepalive) * 3 * time.Second / 2
	if w.silence == 0 || w.silence > maxSilence {
		w.silence = maxSilence
	}
	w.active.Store(time.Now().UnixNano())
}

func (w *wire) lastActivity() time.Time { return time.Unix(0, w.active.Load()).UTC() }

// read hands over packets until one is not taken or the connection ends.
func (w *wire) read(handle func(packets.ControlPacket) error) error {
	for {
		now := time.Now()
		if !now.Before(w.expiry) {
			return errExpired
		}
		deadline := now.Add(w.silence)
		if w.expiry.Before(deadline) {
			deadline = w.expiry
		}
		w.conn.SetReadDeadline(deadline)
		packet, err := readPacket(w.in)
		switch now := time.Now(); {
		case err == nil:
		case !now.Before(w.expiry): // the error is that of a TCP connection, or of a WebSocket
			return errExpired
		case !now.Before(deadline):
			return errSilent
		default:
			return err
		}
		w.active.Store(time.Now().UnixNano())
		if err := handle(packet); err != nil {
			return err
		}
	}
}

// reply queues an answer and waits for room: who floods the hub slows down only itself.
func (w *wire) reply(ctx context.Context, packet packets.ControlPacket) error {
	select {
	case w.out <- packet:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// write sends what is queued, and flushes when the queue is empty.
func (w *wire) write(ctx context.Context) error {
	buffer := bufio.NewWriterSize(w.conn, 512)
	for {
		select {
		case packet := <-w.out:
			w.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if err := packet.Write(buffer); err != nil {
				return err
			}
			if len(w.out) > 0 {
				continue
			}
			if err := buffer.Flush(); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}
