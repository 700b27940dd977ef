package hub

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
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

// session is one device's MQTT connection: a goroutine that reads and handles, and one that writes; and one that delivers
// commands, if the device wants them.
type session struct {
	hub        *Hub
	log        *slog.Logger
	name       username
	id         string
	generation string
	connect    *packets.ConnectPacket
	will       request
	proof      proof
	wire

	cancel context.CancelCauseFunc
	subs   atomic.Uint32 // subscriptions
	epoch  atomic.Uint64 // of the connection, 0 until it is noted
	calls  calls
	outbox outbox
	tasks  sync.WaitGroup // beside the one that reads
	done   chan struct{}  // closed when the session has left the hub
}

func newSession(h *Hub, conn net.Conn, in *bufio.Reader, name username, c *packets.ConnectPacket, shown proof) *session {
	s := &session{hub: h, log: h.log.With("device", name.id()), name: name, id: name.id(), connect: c, proof: shown, done: make(chan struct{})}
	s.open(conn, in, c, shown.expiry)
	return s
}

// run answers the CONNECT and handles packets until the connection ends; the result tells why.
func (s *session) run(ctx context.Context, d twin.Device, resumed bool) error {
	s.conn.SetDeadline(time.Time{})
	s.generation = d.Generation
	s.outbox.init(d.Connection.Deliveries)
	answer := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	answer.SessionPresent = resumed
	s.out <- answer
	s.tasks.Go(func() { s.attempt(ctx, s.write) })
	s.begin(ctx, subscriptions(d.Connection.Subscriptions)) // only now may the hub send: CONNACK comes first
	s.attempt(ctx, func(ctx context.Context) error {
		return s.read(func(p packets.ControlPacket) error { return s.handle(ctx, p) })
	})
	s.tasks.Wait()
	s.subs.Store(0) // until the session has left the hub, nobody may take it for one that listens
	return context.Cause(ctx)
}

// attempt ends the session with a part of it that fails.
func (s *session) attempt(ctx context.Context, part func(context.Context) error) {
	if err := part(ctx); err != nil {
		s.close(err)
	}
}

// begin makes subscriptions take effect.
func (s *session) begin(ctx context.Context, subs subscriptions) {
	before := subscriptions(s.subs.Swap(uint32(subs)))
	begun := subs &^ before
	if begun&subMethods != 0 {
		s.hub.expected.arrived(s.id)
	}
	if begun&subCommands != 0 && !s.outbox.open() {
		s.tasks.Go(func() { s.attempt(ctx, s.deliver) })
	}
}

// close ends the session; the first cause counts.
func (s *session) close(cause error) {
	s.cancel(cause)
}

func (s *session) handle(ctx context.Context, packet packets.ControlPacket) error {
	switch p := packet.(type) {
	case *packets.PublishPacket:
		return s.publish(ctx, p)
	case *packets.PubackPacket:
		return s.acknowledged(ctx, p.MessageID)
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
		bit := subscription(s.name, filter)
		granted := min(p.Qoss[i], 1)
		switch {
		case bit == 0:
			s.log.Warn("subscription is refused", "filter", filter)
			granted = 0x80 // failure (MQTT 3.1.1, section 3.9.3)
		case bit == subCommands && granted == 0:
			subs |= subCommandsOnce
		case bit == subCommands:
			subs &^= subCommandsOnce
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
		subs &^= subscription(s.name, filter)
	}
	if err := s.setSubscriptions(ctx, subs); err != nil {
		return err
	}
	answer := packets.NewControlPacket(packets.Unsuback).(*packets.UnsubackPacket)
	answer.MessageID = p.MessageID
	return s.reply(ctx, answer)
}

func (s *session) setSubscriptions(ctx context.Context, subs subscriptions) error {
	before := subscriptions(s.subs.Load())
	s.begin(ctx, subs)
	if before == subs || s.connect.CleanSession {
		return nil
	}
	_, err := s.hub.store.Update(ctx, s.id, func(d *twin.Device) (*twin.Event, error) {
		if d.Connection.Epoch != s.epoch.Load() {
			return nil, errTakenOver
		}
		d.Connection.Subscriptions = uint8(subs)
		return nil, nil
	})
	return err
}

func (s *session) subscribed(bit subscriptions) bool {
	return subscriptions(s.subs.Load())&bit != 0
}

// push queues what the hub says of its own accord, and never waits.
func (s *session) push(packet packets.ControlPacket) {
	select {
	case s.out <- packet:
	default:
		s.close(errSlow)
	}
}
