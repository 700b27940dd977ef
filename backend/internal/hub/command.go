package hub

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// maxFlying is how many commands a device may have that it has not acknowledged.
const maxFlying = 16

// outbox is what a session knows of its device's queue.
type outbox struct {
	wake chan struct{} // holds one if there may be something to deliver

	mu      sync.Mutex
	opened  bool                     // somebody delivers
	after   uint64                   // the last command that was looked at
	flying  map[uint16]*twin.Command // that are not acknowledged, by packet id
	counted map[uint64]int           // deliveries of commands that were not acknowledged, by sequence
}

func (o *outbox) init(counted map[uint64]int) {
	o.wake, o.flying = make(chan struct{}, 1), map[uint16]*twin.Command{}
	o.counted = make(map[uint64]int, len(counted))
	maps.Copy(o.counted, counted)
}

// open has the queue looked at, and tells whether somebody does so already.
func (o *outbox) open() (already bool) {
	o.look()
	o.mu.Lock()
	defer o.mu.Unlock()
	already, o.opened = o.opened, true
	return already
}

// look has the queue looked at.
func (o *outbox) look() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// unacknowledged is how often commands have been delivered that are still in the queue, as far as this session knows.
func (o *outbox) unacknowledged() map[uint64]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.counted
}

// deliver sends commands as they come, until the session ends.
func (s *session) deliver(ctx context.Context) error {
	for {
		select {
		case <-s.outbox.wake:
		case <-ctx.Done():
			return nil
		}
		for more := true; more && s.subscribed(subCommands); {
			var err error
			if more, err = s.deliverNext(ctx); err != nil {
				return err
			}
		}
	}
}

// deliverNext sends the next command, and tells whether there may be more to send now.
func (s *session) deliverNext(ctx context.Context) (more bool, err error) {
	o := &s.outbox
	o.mu.Lock()
	after, full := o.after, len(o.flying) >= maxFlying
	o.mu.Unlock()
	if full {
		return false, nil
	}
	c, err := s.hub.store.Command(ctx, s.id, after)
	if c == nil || err != nil {
		return false, err
	}
	end, packet := o.take(c, s.subscribed(subCommandsOnce))
	if end != "" {
		return true, s.hub.settle(ctx, *c, end)
	}
	if packet == nil { // another one flies under the same packet id
		return false, nil
	}
	packet.TopicName, packet.Payload = s.name.topic()+"/messages/devicebound/"+formatBag(*c), c.Payload
	if err := s.reply(ctx, packet); err != nil {
		return false, err
	}
	if packet.Qos == 0 {
		return true, s.hub.settle(ctx, *c, twin.Success)
	}
	return true, nil
}

// take answers the packet to deliver c with, or how c has ended already, or neither if it has to wait.
// The packet id comes from the sequence, so that it is the same when the command is delivered again, by any hub.
func (o *outbox) take(c *twin.Command, once bool) (end string, packet *packets.PublishPacket) {
	o.mu.Lock()
	defer o.mu.Unlock()
	id := uint16(c.Sequence%0xffff) + 1
	if o.flying[id] != nil {
		return "", nil
	}
	o.after = c.Sequence
	switch {
	case !time.Now().Before(c.Expires):
		end = twin.Expired
	case o.counted[c.Sequence] >= twin.MaxDeliveries:
		end = twin.TooOften
	}
	if end != "" || once {
		delete(o.counted, c.Sequence)
	}
	if end != "" {
		return end, nil
	}
	packet = message("", nil)
	if !once {
		packet.Qos, packet.MessageID, packet.Dup = 1, id, o.counted[c.Sequence] > 0
		o.counted[c.Sequence]++
		o.flying[id] = c
	}
	return "", packet
}

// acknowledged takes a command out of the queue that the device has.
func (s *session) acknowledged(ctx context.Context, id uint16) error {
	o := &s.outbox
	o.mu.Lock()
	c := o.flying[id]
	delete(o.flying, id)
	if c != nil {
		delete(o.counted, c.Sequence)
	}
	o.mu.Unlock()
	if c == nil {
		return nil
	}
	o.look()
	return s.hub.settle(ctx, *c, twin.Success)
}

// formatBag is the property bag of a command's topic.
func formatBag(c twin.Command) string {
	properties := maps.Clone(c.Properties)
	if properties == nil {
		properties = map[string]string{}
	}
	device, module := twin.Split(c.Device)
	properties["$.to"] = "/" + username{device, module}.topic() + "/messages/devicebound"
	properties["$.mid"] = c.MessageID
	properties["$.exp"] = c.Expires.UTC().Format(time.RFC3339)
	if c.Ack != "" {
		properties["iothub-ack"] = c.Ack
	}
	var fields []string
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		fields = append(fields, escaped(name)+"="+escaped(properties[name]))
	}
	return strings.Join(fields, "&")
}

// escaped is url-encoded with %20, since not every device takes '+' for a space.
func escaped(text string) string { return strings.ReplaceAll(url.QueryEscape(text), "+", "%20") }

// announceCommands wakes sessions for whose devices something has come into the queue.
func (h *Hub) announceCommands(arrivals iter.Seq2[string, error]) error {
	for id, err := range arrivals {
		if err != nil {
			return err
		}
		if s := h.session(id); s != nil && s.subscribed(subCommands) {
			s.outbox.look()
		}
	}
	return nil
}

// settle takes a command that has ended out of the queue, and tells whoever wants to know.
func (h *Hub) settle(ctx context.Context, c twin.Command, end string) error {
	if !c.Wants(end) {
		return h.store.Dequeue(ctx, c.Sequence, nil)
	}
	d, err := h.store.Device(ctx, c.Device)
	if errors.Is(err, twin.DeviceNotFound) { // with the device ends who cares
		return h.store.Dequeue(ctx, c.Sequence, nil)
	}
	if err != nil {
		return err
	}
	device, _ := twin.Split(c.Device)
	return h.store.Dequeue(ctx, c.Sequence, &twin.Feedback{
		MessageID: c.MessageID, Device: device, Generation: d.Generation, Time: time.Now().UTC(), Status: end, Text: end,
	})
}

// Send puts a message into the queue of a device; it must have come through [newCommand] or be within the same limits.
func (h *Hub) Send(ctx context.Context, c twin.Command) error {
	if _, err := h.store.Device(ctx, c.Device); err != nil {
		return err
	}
	err := h.store.Enqueue(ctx, c)
	if err != twin.QueueFull {
		return err
	}
	if err := h.dropOverdue(ctx, c.Device); err != nil { // what has expired takes no place
		return err
	}
	return h.store.Enqueue(ctx, c)
}

// dropOverdue ends what has expired in the queue of a device, or in all with device "".
func (h *Hub) dropOverdue(ctx context.Context, device string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	overdue, err := h.store.Overdue(ctx, time.Now())
	if err != nil {
		return err
	}
	for _, found := range overdue {
		if device != "" && found.Device != device {
			continue
		}
		c, err := h.store.Command(ctx, found.Device, found.Sequence-1)
		if err != nil {
			return err
		}
		if c == nil || c.Sequence != found.Sequence {
			continue
		}
		if err := h.settle(ctx, *c, twin.Expired); err != nil {
			return fmt.Errorf("cannot end expired command: %w", err)
		}
	}
	return nil
}

// purge empties the queue of a device, and answers how much there was.
func (h *Hub) purge(ctx context.Context, device string) (int, error) {
	for n, after := 0, uint64(0); ; n++ {
		c, err := h.store.Command(ctx, device, after)
		if c == nil || err != nil {
			return n, err
		}
		if err := h.settle(ctx, *c, twin.Purged); err != nil {
			return n, err
		}
		after = c.Sequence
	}
}
