package bridge

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// A message is what applications get of what a device measures: each, where the
// twin has the last.
type message struct {
	Time   time.Time      `json:"time,omitzero"` // if the device says it
	Values map[string]any `json:"values"`        // by path, as read has them

	component string // whose reading it is
}

const (
	// maxTelemetry bounds a message, in bytes, below what a hub takes.
	maxTelemetry = 192 << 10
	// telemetryTimeout is how long a device waits for the hub to have its messages. It
	// gives up itself after a minute and a half.
	telemetryTimeout = 30 * time.Second
)

// A packet is a message as the hub gets it.
type packet struct {
	bag  string // of properties
	body []byte
}

// encode gives a message and its properties, among them a name, so that a hub that has
// it twice knows. If its time is known the name is the same when the device sends it
// again, not knowing that it has arrived.
func (m message) encode() (packet, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return packet{}, err
	}
	if len(body) > maxTelemetry {
		return packet{}, fmt.Errorf("%d bytes are more than a hub takes", len(body))
	}
	name := newUpdateID() + newUpdateID()
	if !m.Time.IsZero() {
		sum := sha256.Sum256(body)
		name = hex.EncodeToString(sum[:16])
	}
	properties := map[string]string{"$.ct": "application/json", "$.ce": "utf-8", "$.mid": name, iothub.PropertyOnce: name}
	if m.component != "" {
		properties["component"] = m.component
	}
	return packet{iothub.PropertyBag(properties), body}, nil
}

// messages makes one message of what stands side by side, is of one instance and not
// of two times. The application type of a sensor, which agents say first, names whose
// reading it is.
func (s *session) messages(records []lwm2m.Record) (all []message) {
	var of lwm2m.Path
	owners := map[lwm2m.Path]string{}
	for _, r := range records {
		instance := r.Path.Prefix(lwm2m.DepthInstance)
		if isSensor(r.Path) && r.Path == instance.Child(objects.SensorApplication) {
			owners[instance] = r.Value.Text()
			continue
		}
		if n := len(all); n == 0 || instance != of || !all[n-1].fits(r) {
			owner := cmp.Or(owners[instance], s.valueAt(instance.Child(objects.SensorApplication)).Text())
			all = append(all, message{Values: map[string]any{}, component: owner})
			of = instance
		}
		m := &all[len(all)-1]
		if !r.Time.IsZero() {
			m.Time = r.Time.UTC()
		}
		m.Values[r.Path.String()] = exact(r.Value)
	}
	return all
}

func (m message) fits(r lwm2m.Record) bool {
	_, another := m.Values[r.Path.String()]
	return !another && (m.Time.IsZero() || r.Time.IsZero() || m.Time.Equal(r.Time))
}

// send returns when the hub has the values as messages. While there is no connection
// it waits for one.
func (s *session) send(ctx context.Context, records []lwm2m.Record) error {
	ctx, cancel := context.WithTimeout(ctx, telemetryTimeout)
	defer cancel()
	var left []packet
	for _, m := range s.messages(records) {
		p, err := m.encode()
		if err != nil {
			s.log.Warn("values are not told to applications", "path", records[0].Path.String(), "error", err)
			continue
		}
		left = append(left, p)
	}
	for len(left) > 0 {
		if err := s.link.await(ctx); err != nil {
			return err
		}
		if left = s.link.send(ctx, left); ctx.Err() != nil && len(left) > 0 {
			return fmt.Errorf("the hub has not taken a message: %w", ctx.Err())
		}
	}
	return nil
}

// tellsEach reports whether a device sends each reading by itself, so that its
// notifications of them are for the twin only: agents do.
func tellsEach(d *lwm2m.Device, p lwm2m.Path) bool {
	return isSensor(p) && slices.ContainsFunc(d.Registration().Objects, func(o lwm2m.Path) bool { return o.Object() == objects.ComponentUpdateID })
}

// notified takes values that the device was asked to notify, when the hub has them:
// until then the device is not acknowledged, and tells nothing newer. If the hub does
// not take them in time, the observation is given up until it does.
func (s *session) notified(d *lwm2m.Device, p lwm2m.Path, records []lwm2m.Record) {
	s.take(d, stamped(records))
	if tellsEach(d, p) {
		return
	}
	err := s.send(s.life, records)
	if err == nil {
		return
	}
	s.log.Warn("the hub does not take the values of a device, which is asked for them again later", "path", p.String(), "error", err)
	s.mu.Lock()
	if s.device == d {
		s.lapsed[p] = true
	}
	s.mu.Unlock()
	now, cancel := context.WithCancel(s.life)
	cancel()
	_ = d.CancelObserve(now, p) // on this side; the device hears of it as its notification is refused
}

// stamped gives values whose time the device does not say the present one.
func stamped(records []lwm2m.Record) []lwm2m.Record {
	out := slices.Clone(records)
	for i := range out {
		if out[i].Time.IsZero() {
			out[i].Time = time.Now()
		}
	}
	return out
}

// observeAgain begins the observations again that were given up.
func (s *session) observeAgain(ctx context.Context) error {
	s.mu.Lock()
	d, lapsed := s.device, slices.SortedFunc(maps.Keys(s.lapsed), lwm2m.Path.Compare)
	s.mu.Unlock()
	if len(lapsed) == 0 || !listens(d) {
		return nil
	}
	if !s.link.stands() {
		return errDown
	}
	for _, p := range lapsed {
		s.mu.Lock()
		delete(s.lapsed, p)
		s.mu.Unlock()
		_, err := d.Observe(ctx, p, s.viewer(d, p))
		s.mu.Lock()
		switch {
		case s.device != d:
		case unreachable(err):
			s.lapsed[p] = true
		case err != nil:
			s.log.Info("what was observed is not any more", "path", p.String(), "error", err)
			delete(s.viewed, p)
		}
		s.mu.Unlock()
		if unreachable(err) {
			return err
		}
	}
	return nil
}

// sent takes what a device sends by itself.
func (b *Bridge) sent(ctx context.Context, d *lwm2m.Device, records []lwm2m.Record) error {
	b.mu.Lock()
	s := b.sessions[d.Registration().Endpoint]
	b.mu.Unlock()
	if s == nil {
		return lwm2m.Errorf(lwm2m.CodeUnavailable, "this device is not joined with its twin yet")
	}
	s.learn(d, records)
	if err := s.send(ctx, records); err != nil {
		s.log.Debug("values are not taken", "error", err)
		return lwm2m.Errorf(lwm2m.CodeUnavailable, "the hub does not take values now")
	}
	return nil
}
