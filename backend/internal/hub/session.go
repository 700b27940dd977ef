package hub

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

const (
	maxQueue     = 64               // packets that wait for a slow device
	writeTimeout = 30 * time.Second // for a device that reads nothing
)

// Causes for the end of a connection.
var (
	errDisconnect = errors.New("device disconnected")
	errTakenOver  = errors.New("device connected anew")
	errRemoved    = errors.New("device was deleted or disabled")
	errExpired    = errors.New("token has expired")
	errSilent     = errors.New("keep-alive timeout")
	errSlow       = errors.New("device reads too slowly")
	errViolation  = errors.New("protocol violation")
)

// session is one device's MQTT connection: a goroutine that reads and handles, and one that writes.
type session struct {
	hub     *Hub
	log     *slog.Logger
	device  string
	conn    net.Conn
	in      *bufio.Reader
	connect *packets.ConnectPacket
	will    request
	expiry  time.Time // of the token
	silence time.Duration

	cancel context.CancelCauseFunc
	out    chan packets.ControlPacket
	subs   atomic.Uint32 // subscriptions
	active atomic.Int64  // when the last packet came, Unix nanoseconds
	calls  calls
	done   chan struct{} // closed when the session has left the hub
}

func newSession(h *Hub, conn net.Conn, device string, c *packets.ConnectPacket, expiry time.Time) *session {
	silence := time.Duration(c.Keepalive) * 3 * time.Second / 2
	if silence == 0 || silence > maxSilence {
		silence = maxSilence
	}
	s := &session{
		hub: h, log: h.log.With("device", device), device: device, conn: conn, connect: c, expiry: expiry, silence: silence,
		out: make(chan packets.ControlPacket, maxQueue), done: make(chan struct{}),
	}
	s.active.Store(time.Now().UnixNano())
	return s
}

// run answers the CONNECT and handles packets until the connection ends; the result tells why.
func (s *session) run(ctx context.Context, subs subscriptions, resumed bool) error {
	s.conn.SetDeadline(time.Time{})
	answer := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	answer.SessionPresent = resumed
	s.out <- answer
	s.subs.Store(uint32(subs)) // only now may the hub send: CONNACK comes first
	s.hub.arrived(subs)
	written := make(chan struct{})
	go func() {
		defer close(written)
		if err := s.write(ctx); err != nil {
			s.close(err)
		}
	}()
	err := s.read(ctx)
	s.close(err)
	<-written
	return context.Cause(ctx)
}

// close ends the session; the first cause counts.
func (s *session) close(cause error) {
	s.cancel(cause)
}

func (s *session) lastActivity() time.Time { return time.Unix(0, s.active.Load()).UTC() }

func (s *session) read(ctx context.Context) error {
	for {
		now := time.Now()
		if !now.Before(s.expiry) {
			return errExpired
		}
		deadline := now.Add(s.silence)
		if s.expiry.Before(deadline) {
			deadline = s.expiry
		}
		s.conn.SetReadDeadline(deadline)
		packet, err := readPacket(s.in)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			if time.Now().Before(s.expiry) {
				return errSilent
			}
			return errExpired
		}
		if err != nil {
			return err
		}
		s.active.Store(time.Now().UnixNano())
		if err := s.handle(ctx, packet); err != nil {
			return err
		}
	}
}

func (s *session) handle(ctx context.Context, packet packets.ControlPacket) error {
	switch p := packet.(type) {
	case *packets.PublishPacket:
		return s.publish(ctx, p)
	case *packets.SubscribePacket:
		return s.subscribe(ctx, p)
	case *packets.UnsubscribePacket:
		return s.unsubscribe(ctx, p)
	case *packets.PingreqPacket:
		return s.reply(ctx, packets.NewControlPacket(packets.Pingresp))
	case *packets.DisconnectPacket:
		return errDisconnect
	}
	return errViolation
}

// subscribe grants known filters at most QoS 1, refuses others, and keeps them if the session outlives the connection.
func (s *session) subscribe(ctx context.Context, p *packets.SubscribePacket) error {
	answer := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
	answer.MessageID = p.MessageID
	subs := subscriptions(s.subs.Load())
	for i, filter := range p.Topics {
		bit := subscription(s.device, filter)
		granted := min(p.Qoss[i], 1)
		if bit == 0 {
			s.log.Warn("subscription is refused", "filter", filter)
			granted = 0x80 // failure (MQTT 3.1.1, section 3.9.3)
		}
		subs |= bit
		answer.ReturnCodes = append(answer.ReturnCodes, granted)
	}
	if len(p.Topics) == 0 {
		return errViolation
	}
	if err := s.setSubscriptions(ctx, subs); err != nil {
		return err
	}
	return s.reply(ctx, answer)
}

func (s *session) unsubscribe(ctx context.Context, p *packets.UnsubscribePacket) error {
	subs := subscriptions(s.subs.Load())
	for _, filter := range p.Topics {
		subs &^= subscription(s.device, filter)
	}
	if err := s.setSubscriptions(ctx, subs); err != nil {
		return err
	}
	answer := packets.NewControlPacket(packets.Unsuback).(*packets.UnsubackPacket)
	answer.MessageID = p.MessageID
	return s.reply(ctx, answer)
}

func (s *session) setSubscriptions(ctx context.Context, subs subscriptions) error {
	before := subscriptions(s.subs.Swap(uint32(subs)))
	s.hub.arrived(subs &^ before)
	if before == subs || s.connect.CleanSession {
		return nil
	}
	_, err := s.hub.store.Update(ctx, s.device, func(d *twin.Device) (*twin.Event, error) {
		d.Connection.Subscriptions = uint8(subs)
		return nil, nil
	})
	return err
}

func (s *session) subscribed(bit subscriptions) bool {
	return subscriptions(s.subs.Load())&bit != 0
}

// reply queues an answer and waits for room: a device that floods the hub slows down only itself.
func (s *session) reply(ctx context.Context, packet packets.ControlPacket) error {
	select {
	case s.out <- packet:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// push queues what the hub says of its own accord, and never waits.
func (s *session) push(packet packets.ControlPacket) {
	select {
	case s.out <- packet:
	default:
		s.close(errSlow)
	}
}

// write sends what is queued, and flushes when the queue is empty.
func (s *session) write(ctx context.Context) error {
	w := bufio.NewWriterSize(s.conn, 512)
	for {
		select {
		case packet := <-s.out:
			s.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
			if err := packet.Write(w); err != nil {
				return err
			}
			if len(s.out) > 0 {
				continue
			}
			if err := w.Flush(); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}
