package hub

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

const (
	maxSubscribers = 256              // applications that one hub tells by MQTT
	maxOfOne       = 32               // of one user or policy
	maxWindow      = 64               // events on the way to one
	verifyEvery    = 30 * time.Second // whether it still may
	saveEvery      = 2 * time.Second  // how far it is
)

// A subscriber is an application that is told by MQTT what happens, in order: at QoS 1 until it has acknowledged. Its user
// name is "events", or "events?after=ID" to go on after an event; with clean session 0 the hub remembers for its client
// id what it has acknowledged.
type subscriber struct {
	hub    *Hub
	log    *slog.Logger
	who    string // whose it is
	key    string // that, and client id
	user   string // name
	kept   bool   // clean session 0
	verify func(context.Context) error
	cancel context.CancelCauseFunc
	done   chan struct{}
	wire

	mu       sync.Mutex
	progress position
	filters  []filter
	saved    twin.Document // as the store has it
	begun    chan struct{} // closed when there is a filter
	begin    sync.Once
	window   chan struct{} // one for each event on the way
}

func isSubscriber(user string) bool {
	name, _, _ := strings.Cut(user, "?")
	return name == iothub.EventsUsername
}

// admitSubscriber checks the CONNECT of an application.
func (h *Hub) admitSubscriber(ctx context.Context, conn net.Conn, in *bufio.Reader, c *packets.ConnectPacket) (run func(context.Context), code byte, err error) {
	if code := c.Validate(); code != packets.Accepted {
		return nil, code, errors.New("CONNECT is not valid")
	}
	if c.ProtocolVersion != 4 {
		return nil, packets.ErrRefusedBadProtocolVersion, errors.New("not MQTT 3.1.1")
	}
	who, expiry, verify, err := h.authenticateSubscriber(ctx, string(c.Password))
	if errors.Is(err, twin.Unauthorized) || errors.Is(err, twin.Forbidden) {
		return nil, packets.ErrRefusedNotAuthorised, err
	}
	if err != nil {
		return nil, packets.ErrRefusedServerUnavailable, err
	}
	if len(c.ClientIdentifier) > 128 {
		return nil, packets.ErrRefusedIDRejected, errors.New("client id is longer than 128 bytes")
	}
	s := &subscriber{
		hub: h, who: who, key: who + "/" + url.PathEscape(cmp.Or(c.ClientIdentifier, rand.Text())), user: c.Username, kept: !c.CleanSession, verify: verify,
		done: make(chan struct{}), begun: make(chan struct{}), window: make(chan struct{}, maxWindow),
	}
	s.log = h.log.With("subscriber", s.key)
	s.open(conn, in, c, expiry)
	return func(ctx context.Context) { h.runSubscriber(ctx, s) }, packets.Accepted, nil
}

// authenticateSubscriber checks a token of a policy that may read what happens, or one of an operator's API. verify tells
// whether it is still good.
func (h *Hub) authenticateSubscriber(ctx context.Context, password string) (who string, expiry time.Time, verify func(context.Context) error, err error) {
	if token, err := iothub.ParseToken(password); err == nil {
		verify := func(context.Context) error { return h.verifyPolicy(token, serviceConnect) }
		if !token.Covers("/api/v1/events") {
			return "", time.Time{}, nil, twin.Unauthorized.With("token is for another resource")
		}
		return "policy " + token.Policy, token.Expiry, verify, verify(ctx)
	}
	if h.reader == nil {
		return "", time.Time{}, nil, twin.Unauthorized.With("the password is no token of a policy")
	}
	who, err = h.reader(ctx, password)
	verify = func(ctx context.Context) error {
		_, err := h.reader(ctx, password)
		return err
	}
	return "user " + who, time.Now().Add(100 * 365 * 24 * time.Hour), verify, err // verify knows when it expires
}

// state is what is kept of a subscriber.
type state struct {
	Position uint64   `json:"position"` // of the last event that it has acknowledged
	Filters  []filter `json:"filters"`
}

// resume finds where the application is: after the event that it names, or where it was, or at what comes next.
func (s *subscriber) resume(ctx context.Context) (resumed bool, err error) {
	newest, err := s.hub.store.Position(ctx)
	if err != nil {
		return false, err
	}
	at := state{Position: newest}
	if s.saved, resumed, err = s.hub.store.Document(ctx, "subscribers", s.key); err != nil {
		return false, err
	}
	if resumed && !s.kept { // it wants to be forgotten
		err = s.hub.store.Remove(ctx, "subscribers", s.saved)
		s.saved, resumed = twin.Document{}, false
	} else if resumed {
		err = json.Unmarshal(s.saved.Text, &at)
	} else {
		s.saved.Name = s.key
	}
	if err != nil && !errors.Is(err, twin.PreconditionFailed) {
		return false, err
	}
	_, query, _ := strings.Cut(s.user, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return false, twin.ArgumentInvalid.With("user name is not %s?after=ID", iothub.EventsUsername)
	}
	if after := values.Get("after"); after != "" {
		if at.Position, err = strconv.ParseUint(after, 10, 64); err != nil {
			return false, twin.ArgumentInvalid.With("after=%.40s is not an id of an event of this hub", after)
		}
	}
	s.progress.done = min(at.Position, newest) // an id from the future is one of a log that was since lost
	s.setFilters(at.Filters)
	return resumed, nil
}

// runSubscriber tells an application what happens until the connection ends.
func (h *Hub) runSubscriber(ctx context.Context, s *subscriber) {
	ctx, s.cancel = context.WithCancelCause(ctx)
	stop := context.AfterFunc(ctx, func() { s.conn.Close() })
	defer stop()
	defer s.cancel(nil)
	if !h.enterSubscriber(s) {
		refuse(s.conn, packets.ErrRefusedServerUnavailable)
		s.log.Warn("application is refused, there are too many", "of", s.who, "mostOfOne", maxOfOne, "most", maxSubscribers)
		return
	}
	defer h.leaveSubscriber(s)
	resumed, err := s.resume(ctx) // only now: the connection before has said how far it is
	if err != nil {
		s.log.Warn("application is refused", "cause", err)
		code := byte(packets.ErrRefusedServerUnavailable)
		if errors.Is(err, twin.ArgumentInvalid) {
			code = packets.ErrRefusedBadUsernameOrPassword
		}
		refuse(s.conn, code)
		return
	}
	s.conn.SetDeadline(time.Time{})
	answer := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	answer.SessionPresent = resumed
	s.out <- answer
	s.log.Info("application is connected", "remote", s.conn.RemoteAddr(), "after", s.progress.done)
	var tasks sync.WaitGroup
	for _, part := range []func(context.Context) error{s.write, s.feed, s.keep} {
		tasks.Go(func() {
			if err := part(ctx); err != nil {
				s.cancel(err)
			}
		})
	}
	s.cancel(s.read(func(p packets.ControlPacket) error { return s.handle(ctx, p) }))
	tasks.Wait()
	s.log.Info("application is disconnected", "cause", context.Cause(ctx))
}

// enterSubscriber makes s the application's connection, and waits for the end of the one before.
func (h *Hub) enterSubscriber(s *subscriber) bool {
	h.mu.Lock()
	before, own := h.subscribers[s.key], 0
	for _, other := range h.subscribers {
		if other.who == s.who {
			own++
		}
	}
	if before == nil && (len(h.subscribers) >= maxSubscribers || own >= maxOfOne) {
		h.mu.Unlock()
		return false
	}
	h.subscribers[s.key] = s
	h.mu.Unlock()
	if before != nil {
		before.cancel(errTakenOver)
		<-before.done
	}
	return true
}

func (h *Hub) leaveSubscriber(s *subscriber) {
	h.mu.Lock()
	if h.subscribers[s.key] == s {
		delete(h.subscribers, s.key)
	}
	h.mu.Unlock()
	close(s.done)
}

func (s *subscriber) handle(ctx context.Context, packet packets.ControlPacket) error {
	switch p := packet.(type) {
	case *packets.SubscribePacket:
		return s.subscribe(ctx, p)
	case *packets.UnsubscribePacket:
		return s.unsubscribe(ctx, p)
	case *packets.PubackPacket:
		s.acknowledged(p.MessageID)
		return nil
	case *packets.PingreqPacket:
		return s.reply(ctx, packets.NewControlPacket(packets.Pingresp))
	case *packets.DisconnectPacket:
		return errDisconnect
	}
	return fmt.Errorf("%w: an application only listens", errViolation)
}

func (s *subscriber) subscribe(ctx context.Context, p *packets.SubscribePacket) error {
	if len(p.Topics) == 0 {
		return errViolation
	}
	answer := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
	answer.MessageID = p.MessageID
	s.mu.Lock()
	filters := s.filters
	s.mu.Unlock()
	for i, topic := range p.Topics {
		f := filter{topic, min(p.Qoss[i], 1)}
		granted := f.QoS
		if others := without(filters, topic); f.valid() && len(others) < maxFilters {
			filters = append(others, f)
		} else {
			s.log.Warn("subscription is refused", "filter", topic)
			granted = 0x80 // failure (MQTT 3.1.1, section 3.9.3)
		}
		answer.ReturnCodes = append(answer.ReturnCodes, granted)
	}
	if err := s.reply(ctx, answer); err != nil { // before the first event
		return err
	}
	s.setFilters(filters)
	return nil
}

func (s *subscriber) unsubscribe(ctx context.Context, p *packets.UnsubscribePacket) error {
	s.mu.Lock()
	filters := s.filters
	s.mu.Unlock()
	for _, topic := range p.Topics {
		filters = without(filters, topic)
	}
	s.setFilters(filters)
	answer := packets.NewControlPacket(packets.Unsuback).(*packets.UnsubackPacket)
	answer.MessageID = p.MessageID
	return s.reply(ctx, answer)
}

func (s *subscriber) setFilters(filters []filter) {
	s.mu.Lock()
	s.filters = filters
	s.mu.Unlock()
	if len(filters) > 0 {
		s.begin.Do(func() { close(s.begun) })
	}
}

// feed sends what happens from the first subscription on.
func (s *subscriber) feed(ctx context.Context) error {
	select {
	case <-s.begun:
	case <-ctx.Done():
		return nil
	}
	var lost uint64 // and not told yet
	for event, err := range s.hub.store.Events(ctx, "", s.progress.done) {
		if err == nil {
			event.Lost += lost
			lost, err = s.tell(ctx, event)
		}
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tell sends an event, if the application wants it, as soon as there is room. If it does not, it answers what the event
// tells of lost ones: the next has to.
func (s *subscriber) tell(ctx context.Context, event twin.Event) (lost uint64, err error) {
	topic := eventTopic(event)
	s.mu.Lock()
	qos, wanted := granted(s.filters, topic)
	if !wanted {
		s.progress.skip(event.Sequence)
	}
	s.mu.Unlock()
	if !wanted {
		return event.Lost, nil
	}
	text, err := tell(event)
	if err != nil {
		return 0, err
	}
	return 0, s.publish(ctx, event.Sequence, message(topic, text), qos)
}

// publish sends a message of an event's as soon as there is room.
func (s *subscriber) publish(ctx context.Context, sequence uint64, p *packets.PublishPacket, qos byte) error {
	if p.Qos = qos; qos > 0 {
		select {
		case s.window <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		s.mu.Lock()
		p.MessageID = s.progress.send(sequence)
		s.mu.Unlock()
	}
	if err := s.reply(ctx, p); err != nil || qos > 0 {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.skip(sequence)
	return nil
}

func (s *subscriber) acknowledged(id uint16) {
	s.mu.Lock()
	known := s.progress.acknowledge(id)
	s.mu.Unlock()
	if known {
		<-s.window
	}
}

// keep looks whether the application still may, and remembers how far it is.
func (s *subscriber) keep(ctx context.Context) error {
	ticker := time.NewTicker(saveEvery)
	defer ticker.Stop()
	verified := time.Now()
	for {
		select {
		case <-ctx.Done():
			late, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
			defer cancel()
			return s.save(late)
		case <-ticker.C:
		}
		if err := s.save(ctx); err != nil {
			return err
		}
		if time.Since(verified) < s.hub.verifyEvery {
			continue
		}
		if err := s.verify(ctx); errors.Is(err, twin.Unauthorized) || errors.Is(err, twin.Forbidden) {
			return errExpired
		}
		verified = time.Now()
	}
}

// save writes down how far the application is. Another connection of it, at another hub, ends this one.
func (s *subscriber) save(ctx context.Context) error {
	if !s.kept {
		return nil
	}
	s.mu.Lock()
	text, err := json.Marshal(state{s.progress.done, s.filters})
	s.mu.Unlock()
	if err != nil || string(text) == string(s.saved.Text) {
		return err
	}
	if s.saved.Revision == 0 {
		if err := s.makeRoom(ctx); err != nil {
			return err
		}
	}
	s.saved.Text = text
	s.saved.Revision, err = s.hub.store.Put(ctx, "subscribers", s.saved)
	if errors.Is(err, twin.PreconditionFailed) {
		return errTakenOver
	}
	return err
}

// maxKept is how many client ids of one user or policy are remembered.
const maxKept = 64

// makeRoom forgets client ids of the same owner that are not connected, if there are too many; several at once may see
// the same room.
func (s *subscriber) makeRoom(ctx context.Context) error {
	var kept []twin.Document
	for d, err := range s.hub.store.Documents(ctx, "subscribers", s.who) {
		if err != nil {
			return err
		}
		kept = append(kept, d)
	}
	for _, d := range kept[:max(0, len(kept)-maxKept+1)] {
		s.hub.mu.Lock()
		_, connected := s.hub.subscribers[d.Name]
		s.hub.mu.Unlock()
		if connected {
			continue
		}
		s.log.Warn("application is forgotten, since its owner has too many", "forgotten", d.Name)
		if err := s.hub.store.Remove(ctx, "subscribers", d); err != nil && !errors.Is(err, twin.PreconditionFailed) {
			return err
		}
	}
	return nil
}
