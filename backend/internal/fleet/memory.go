package fleet

import (
	"slices"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
)

// memory keeps what was understood of devices, since pages that follow thousands of them look again and again, and few
// have changed meanwhile.
type memory struct {
	mu    sync.Mutex
	known map[string]remembered // by id
}

type remembered struct {
	state state
	Device
}

// A state is what an overview is made of.
type state struct {
	generation string
	twin       int64
	revision   uint64
	connected  bool
	since      time.Time
}

func stateNow(d twin.Device) state {
	return state{d.Generation, d.Twin.Version, d.Revision, d.Connection.Connected, d.Connection.Updated}
}

// overview is what an operator sees of a device now.
func (m *memory) overview(d twin.Device, now time.Time) Device {
	s := stateNow(d)
	m.mu.Lock()
	r, known := m.known[d.ID]
	m.mu.Unlock()
	if known && r.state == s {
		return r.Device.at(now)
	}
	r = remembered{s, understand(d)}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = map[string]remembered{}
	}
	m.known[d.ID] = r
	return r.Device.at(now)
}

// bound forgets all if most of it is about devices that are gone.
func (m *memory) bound(devices int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.known) > 2*devices+100 {
		m.known = nil
	}
}

// at says of components that should be back by now that they are late. It leaves d as it is, since others have it too.
func (d Device) at(now time.Time) Device {
	late := func(c Component) bool { return c.Masking.Until != nil && now.After(*c.Masking.Until) }
	if !slices.ContainsFunc(d.Components, late) {
		return d
	}
	d.Components = slices.Clone(d.Components)
	for i := range d.Components {
		d.Components[i].Masking.Late = late(d.Components[i])
	}
	return d
}
