package lwm2m

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"
)

// Store keeps what a [Server] knows of its devices, so that a restart of the server
// ends no registration and no observation. Package store has one in files. It is
// called from one goroutine at a time.
type Store interface {
	// Save keeps the state of an endpoint, in place of an earlier one. What is lost by
	// a power cut right after it only has the device register anew.
	Save(endpoint string, state []byte) error
	// Remove forgets an endpoint. That it is not there is no error.
	Remove(endpoint string) error
	// Load gives what is kept, by endpoint.
	Load() (map[string][]byte, error)
}

// kept is the state of an endpoint. Its list of objects is as it came.
type kept struct {
	Registration Registration
	List         string
	Observed     []keptObservation
}

type keptObservation struct {
	Token []byte
	Paths []Path
}

// keeper saves what has changed, in a goroutine of its own: devices do not wait for
// it, and what changes often is saved less often.
type keeper struct {
	mu     sync.Mutex
	dirty  map[string]bool // by endpoint
	wake   chan struct{}
	sprees map[string]*spree // by endpoint; of the goroutine that saves
}

// A spree is how often an endpoint was saved lately.
type spree struct {
	since time.Time
	saves int
}

// What changes all the time is saved maxSpree times within spreeTime: a device must not
// wear out a disk.
const (
	maxSpree  = 16
	spreeTime = 10 * time.Second
)

// spends reports whether an endpoint may be saved now.
func (k *keeper) spends(endpoint string) bool {
	now := time.Now()
	p := k.sprees[endpoint]
	if p == nil || now.Sub(p.since) >= spreeTime {
		if len(k.sprees) > maxSpree { // those that are over
			maps.DeleteFunc(k.sprees, func(_ string, p *spree) bool { return now.Sub(p.since) >= spreeTime })
		}
		p = &spree{since: now}
		k.sprees[endpoint] = p
	}
	p.saves++
	return p.saves <= maxSpree
}

// keep has the state of an endpoint saved.
func (s *Server) keep(endpoint string) {
	if s.config.Store == nil {
		return
	}
	s.keeper.mu.Lock()
	s.keeper.dirty[endpoint] = true
	s.keeper.mu.Unlock()
	signal(s.keeper.wake)
}

// keepStore saves until stop is closed, and then what is left.
func (s *Server) keepStore(stop <-chan struct{}) {
	for {
		select {
		case <-s.keeper.wake:
			s.save(s.keeper.spends)
		case <-stop:
			s.save(func(string) bool { return true })
			return
		}
	}
}

// save saves what may be saved now, and the rest later.
func (s *Server) save(now func(endpoint string) bool) {
	s.keeper.mu.Lock()
	dirty := s.keeper.dirty
	s.keeper.dirty = map[string]bool{}
	s.keeper.mu.Unlock()
	late := false
	for endpoint := range dirty {
		if !now(endpoint) {
			late = true
			s.keeper.mu.Lock()
			s.keeper.dirty[endpoint] = true
			s.keeper.mu.Unlock()
			continue
		}
		if err := s.saveOne(endpoint); err != nil {
			s.logger.Error("cannot keep a registration, the device will have to register anew after a restart", "endpoint", endpoint, "error", err)
		}
	}
	if late {
		time.AfterFunc(time.Second, func() { signal(s.keeper.wake) })
	}
}

func (s *Server) saveOne(endpoint string) error {
	s.mu.Lock()
	d, here := s.devices[endpoint]
	s.mu.Unlock()
	if !here {
		return s.config.Store.Remove(endpoint)
	}
	state, err := json.Marshal(d.kept())
	if err != nil {
		return err
	}
	return s.config.Store.Save(endpoint, state)
}

func (d *Device) kept() kept {
	k := kept{Registration: d.Registration()}
	k.List, k.Registration.Links, k.Registration.Objects = string(EncodeLinks(k.Registration.Links)), nil, nil
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.observed {
		k.Observed = append(k.Observed, keptObservation{[]byte(o.token), o.paths})
	}
	return k
}

// restore begins with the devices that are in the store. Each has its whole lifetime
// from now on, since nobody has listened to it.
func (s *Server) restore() {
	if s.config.Store == nil {
		return
	}
	all, err := s.config.Store.Load()
	if err != nil {
		s.logger.Error("some registrations that were kept cannot be read, those devices will have to register anew", "error", err)
	}
	for endpoint, state := range all {
		if err := s.restoreOne(state); err != nil {
			s.logger.Warn("a registration that was kept cannot be used, the device will have to register anew", "endpoint", endpoint, "error", err)
			s.keep(endpoint)
		}
	}
}

func (s *Server) restoreOne(state []byte) error {
	var k kept
	if err := json.Unmarshal(state, &k); err != nil {
		return err
	}
	r := k.Registration
	switch {
	case r.ID == "" || r.Endpoint == "":
		return errors.New("there is no name")
	case r.Lifetime <= 0 || r.Lifetime > s.config.MaxLifetime:
		return fmt.Errorf("the lifetime is %v, at most %v are accepted", r.Lifetime, s.config.MaxLifetime)
	}
	links, err := DecodeLinks([]byte(k.List))
	if err != nil {
		return err
	}
	r.setLinks(links)
	r.Updated = time.Now()
	d := newDevice(s, r)
	d.unheard = true
	if w, ok := s.transport.(Waker); ok {
		d.cut = !w.Connected(r.Address)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.devices) >= s.config.MaxDevices {
		return fmt.Errorf("%d devices are registered, and no more can be", len(s.devices))
	}
	s.enterLocked(d, r)
	for _, k := range k.Observed {
		if len(k.Paths) == 0 || s.observations[string(k.Token)] != nil {
			continue
		}
		o := newObservation(d, compositeKey(k.Paths), k.Paths, nil)
		o.token, o.earlier = string(k.Token), true
		d.observed[o.key] = o
		s.observations[o.token], d.tokens[o.token] = o, struct{}{}
	}
	s.report(Restored, d, r)
	return nil
}

// wakePause is waited between two devices that are woken: they come at once.
const wakePause = 10 * time.Millisecond

// wake has devices hear that their connections are lost, if the transport can tell them.
func (s *Server) wake(t Transport, stop <-chan struct{}) {
	waker, ok := t.(Waker)
	if !ok {
		return
	}
	for _, d := range s.Devices() {
		if d.Awake() {
			continue
		}
		waker.Wake(d.Registration().Address)
		select {
		case <-stop:
			return
		case <-time.After(wakePause):
		}
	}
}

// Earlier lists what an earlier run of the server has observed of the device and nobody
// has observed again: the paths of each observation.
func (d *Device) Earlier() (all [][]Path) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.observed {
		if o.earlier {
			all = append(all, o.paths)
		}
	}
	return all
}
