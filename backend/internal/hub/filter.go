package hub

import (
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// maxFilters bounds what one application subscribes to.
const maxFilters = 64

// maxTopic is how long a filter is: a device's id and a module's, encoded, and a type of events.
const maxTopic = 1024

// eventTopic is where applications hear of an event.
func eventTopic(e twin.Event) string {
	device, module := twin.Split(e.Device)
	return iothub.EventTopic(device, module, e.Type)
}

// A filter is what an application has subscribed to.
type filter struct {
	Topic string `json:"topic"` // MQTT 3.1.1, section 4.7
	QoS   byte   `json:"qos"`
}

// valid tells whether events can have such topics.
func (f filter) valid() bool {
	levels := strings.Split(f.Topic, "/")
	if !slices.Contains([]string{"events", "+", "#"}, levels[0]) || len(f.Topic) > maxTopic || strings.Contains(f.Topic, "\x00") {
		return false
	}
	for i, level := range levels {
		if len(level) > 1 && strings.ContainsAny(level, "+#") || level == "#" && i < len(levels)-1 {
			return false
		}
	}
	return true
}

func (f filter) matches(topic string) bool {
	wanted, levels := strings.Split(f.Topic, "/"), strings.Split(topic, "/")
	for i, level := range wanted {
		switch {
		case level == "#":
			return true
		case i >= len(levels) || level != "+" && level != levels[i]:
			return false
		}
	}
	return len(wanted) == len(levels)
}

// granted is the highest QoS at which a topic is wanted.
func granted(filters []filter, topic string) (qos byte, wanted bool) {
	for _, f := range filters {
		if f.matches(topic) {
			qos, wanted = max(qos, f.QoS), true
		}
	}
	return qos, wanted
}

// without answers others, and leaves filters as they are.
func without(filters []filter, topic string) []filter {
	return slices.DeleteFunc(slices.Clone(filters), func(f filter) bool { return f.Topic == topic })
}

// position is how far somebody is who is told events in order and acknowledges them in any.
type position struct {
	done   uint64   // up to here all are dealt with
	flying []flight // in order, the first of them not acknowledged
	last   uint16   // packet id
}

// flight is an event on the way, or with id 0 those after the one before, up to a sequence, which need no acknowledgement.
type flight struct {
	sequence uint64
	id       uint16
}

// skip is about an event that needs no acknowledgement.
func (p *position) skip(sequence uint64) {
	switch n := len(p.flying); {
	case n == 0:
		p.done = sequence
	case p.flying[n-1].id == 0:
		p.flying[n-1].sequence = sequence
	default:
		p.flying = append(p.flying, flight{sequence, 0})
	}
}

// send answers the packet id for an event.
func (p *position) send(sequence uint64) uint16 {
	for {
		p.last++
		taken := slices.ContainsFunc(p.flying, func(f flight) bool { return f.id == p.last })
		if p.last != 0 && !taken {
			break
		}
	}
	p.flying = append(p.flying, flight{sequence, p.last})
	return p.last
}

// acknowledge tells whether an event is on the way under this id.
func (p *position) acknowledge(id uint16) bool {
	at := slices.IndexFunc(p.flying, func(f flight) bool { return f.id == id })
	if id == 0 || at < 0 {
		return false
	}
	p.flying[at].id = 0
	kept := p.flying[:0]
	for _, f := range p.flying {
		switch n := len(kept); {
		case f.id == 0 && n == 0:
			p.done = f.sequence
		case f.id == 0 && kept[n-1].id == 0:
			kept[n-1] = f
		default:
			kept = append(kept, f)
		}
	}
	p.flying = kept
	return true
}
