package hub

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

const (
	connectTimeout = 10 * time.Second   // from accepting the connection to the whole CONNECT, TLS included
	maxSilence     = 1767 * time.Second // of a connection, whatever keep-alive it asks for: IoT Hub's
	storeTimeout   = 10 * time.Second   // to note the end of a connection, when its own context is done
)

// serveDevice is the life of one connection.
func (h *Hub) serveDevice(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if run := h.greet(ctx, conn); run != nil {
		if socket, ok := conn.(*webSocket); ok {
			socket.leave() // it is a device, and no longer one of the back end's
		}
		run(ctx)
	}
}

// greet lets a device in, or an application that wants to be told what happens, or nobody: then it answers nil. Until then it has one of the places for strangers; on loopback nobody is one.
func (h *Hub) greet(ctx context.Context, conn net.Conn) (run func(context.Context)) {
	if from := addressOf(conn); !from.IsLoopback() {
		place, _ := h.greetings.Begin(from, func() { conn.Close() })
		if place == nil {
			h.log.Debug("connection is closed, too many others are not let in yet", "remote", conn.RemoteAddr())
			return nil
		}
		defer h.greetings.End(place)
	}
	conn.SetDeadline(time.Now().Add(connectTimeout))
	in := bufio.NewReaderSize(conn, 512)
	packet, err := readPacket(in)
	if err != nil {
		h.log.Debug("connection without a CONNECT", "remote", conn.RemoteAddr(), "error", err)
		return nil
	}
	connect, ok := packet.(*packets.ConnectPacket)
	if !ok {
		h.log.Debug("connection does not begin with a CONNECT", "remote", conn.RemoteAddr())
		return nil
	}
	admit := h.admit
	if isSubscriber(connect.Username) {
		admit = h.admitSubscriber
	}
	run, code, err := admit(ctx, conn, in, connect)
	if err != nil {
		h.log.Warn("connection is refused", "client", connect.ClientIdentifier, "remote", conn.RemoteAddr(), "cause", err)
		refuse(conn, code)
		return nil
	}
	return run
}

func refuse(conn net.Conn, code byte) {
	if code > packets.ErrRefusedNotAuthorised { // a violation, for which there is no answer
		return
	}
	answer := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	answer.ReturnCode = code
	answer.Write(conn)
}

// admit checks the CONNECT of a device, and answers how to go on, or a return code and the cause.
func (h *Hub) admit(ctx context.Context, conn net.Conn, in *bufio.Reader, c *packets.ConnectPacket) (run func(context.Context), code byte, err error) {
	if code := c.Validate(); code != packets.Accepted {
		return nil, code, errors.New("CONNECT is not valid")
	}
	if c.ProtocolVersion != 4 {
		return nil, packets.ErrRefusedBadProtocolVersion, errors.New("not MQTT 3.1.1")
	}
	name, err := parseUsername(c.Username)
	if err != nil {
		return nil, packets.ErrRefusedBadUsernameOrPassword, err
	}
	if c.ClientIdentifier != name.id() {
		return nil, packets.ErrRefusedIDRejected, errors.New("client id is not the device id")
	}
	chain, err := clientCertificates(ctx, conn)
	if err != nil {
		return nil, packets.ErrRefusedNotAuthorised, err
	}
	shown, err := h.authenticateDevice(ctx, name, string(c.Password), chain)
	if errors.Is(err, twin.Unauthorized) {
		return nil, packets.ErrRefusedNotAuthorised, err
	}
	if err != nil {
		return nil, packets.ErrRefusedServerUnavailable, err
	}
	s := newSession(h, conn, in, name, c, shown)
	if c.WillFlag {
		if s.will, err = parseTopic(name, c.WillTopic); err != nil || s.will.operation != opTelemetry {
			return nil, packets.ErrProtocolViolation, errors.New("will is not for the device's events")
		}
	}
	return func(ctx context.Context) { h.runSession(ctx, s) }, packets.Accepted, nil
}

// clientCertificates are what the client has shown in the TLS handshake.
func clientCertificates(ctx context.Context, conn net.Conn) ([]*x509.Certificate, error) {
	secure, ok := conn.(*tls.Conn)
	if !ok {
		return nil, nil
	}
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return secure.ConnectionState().PeerCertificates, nil
}

// runSession takes over from an earlier connection of the device, and runs until this one ends.
func (h *Hub) runSession(ctx context.Context, s *session) {
	ctx, s.cancel = context.WithCancelCause(ctx)
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	defer s.cancel(nil)
	h.enter(s)
	defer h.leave(s)
	if context.Cause(ctx) != nil { // the next connection came while this one waited
		return
	}
	d, resumed, err := h.connected(ctx, s)
	if _, refused := errors.AsType[*twin.Error](err); refused { // deleted or disabled since it was admitted
		refuse(s.conn, packets.ErrRefusedNotAuthorised)
		return
	}
	if err != nil {
		s.log.Error("cannot note connection", "error", err)
		refuse(s.conn, packets.ErrRefusedServerUnavailable)
		return
	}
	s.log.Info("device is connected", "remote", s.conn.RemoteAddr(), "resumed", resumed)
	cause := s.run(ctx, d, resumed)
	s.log.Info("device is disconnected", "cause", cause)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	if s.connect.WillFlag && !errors.Is(cause, errDisconnect) {
		s.sendWill(ctx)
	}
	end := d.Connection
	end.LastActivity, end.Deliveries = s.lastActivity(), s.outbox.unacknowledged()
	if err := h.disconnected(ctx, s.id, end); err != nil {
		s.log.Error("cannot note end of connection", "error", err)
	}
}

// enter makes s the device's session, and waits for the end of the one before.
func (h *Hub) enter(s *session) {
	h.mu.Lock()
	before := h.sessions[s.id]
	h.sessions[s.id] = s
	h.mu.Unlock()
	if before != nil {
		before.close(errTakenOver)
		<-before.done
	}
}

func (h *Hub) leave(s *session) {
	h.mu.Lock()
	if h.sessions[s.id] == s {
		delete(h.sessions, s.id)
	}
	h.mu.Unlock()
	close(s.done)
}

// connected notes the begin of a connection; resumed tells that subscriptions of an earlier one are still there.
func (h *Hub) connected(ctx context.Context, s *session) (d twin.Device, resumed bool, err error) {
	d, err = h.store.Update(ctx, s.id, func(d *twin.Device) (*twin.Event, error) {
		if d.Disabled {
			return nil, twin.Unauthorized.With("device is disabled")
		}
		now, c := time.Now().UTC(), &d.Connection
		resumed = c.Session && !s.connect.CleanSession
		c.Connected, c.Updated, c.LastActivity = true, now, now
		c.Node, c.Epoch = h.store.Node(), c.Epoch+1
		c.Session = !s.connect.CleanSession
		if !resumed {
			c.Subscriptions = 0
		}
		s.epoch.Store(c.Epoch)
		return &twin.Event{Type: twin.Connected, Device: d.ID, Time: now}, nil
	})
	return d, resumed, err
}

var errNotPresent = errors.New("it is not the present connection")

// disconnected notes the end of a connection, unless it was noted or there is a later one.
func (h *Hub) disconnected(ctx context.Context, id string, end twin.Connection) error {
	_, err := h.store.Update(ctx, id, func(d *twin.Device) (*twin.Event, error) {
		c := &d.Connection
		if c.Epoch != end.Epoch || !c.Connected {
			return nil, errNotPresent
		}
		now := time.Now().UTC()
		c.Connected, c.Updated, c.LastActivity, c.Deliveries = false, now, end.LastActivity, end.Deliveries
		return &twin.Event{Type: twin.Disconnected, Device: d.ID, Time: now}, nil
	})
	if errors.Is(err, errNotPresent) || errors.Is(err, twin.DeviceNotFound) {
		return nil
	}
	return err
}
