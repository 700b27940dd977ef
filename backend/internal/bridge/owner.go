package bridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Of several bridges of one hub, the one that a device has registered with last
// acts for it. The twin names that bridge, and a hub has one connection for each
// device:
//
//   - Who hears a registration connects, which ends the connection of any other
//     bridge, and writes its name to the twin before anything else.
//   - Who has no connection does nothing with a device that the twin would have to
//     know of.
//   - Whose connection was lost waits a little, connects again and reads the twin. If
//     another bridge is named there, it lets go of the device, its registration and
//     its update, and does not come back unless the device registers here anew.

// errCeded says that the device is another bridge's.
var errCeded = errors.New("the device has registered with another bridge")

// ownerKey is the reported property that names the bridge.
const ownerKey = "bridge"

// An ownership is what a session knows of whose its device is.
type ownership struct {
	bridge string      // the name of this one
	claims bool        // the device has registered here, and the twin does not know yet; under mu
	cede   func() bool // lets go of the device, unless it has just registered here
}

// own has the twin name this bridge if the device has registered here, and tells
// with errCeded if it has registered elsewhere since. The twin was just read.
func (s *session) own(ctx context.Context, reported map[string]any) error {
	s.mu.Lock()
	claims := s.claims
	s.mu.Unlock()
	owner := reported[ownerKey]
	switch {
	case owner == s.bridge:
	case owner == nil || claims:
		if err := s.link.report(ctx, map[string]any{ownerKey: s.bridge}); err != nil {
			return err
		}
		reported[ownerKey] = s.bridge
		s.unlearn()
	default:
		return errCeded
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims = false
	return nil
}

// unlearn forgets what this bridge remembers of a device that another one may have
// had meanwhile: the twin knows better.
func (s *session) unlearn() {
	s.endPush()
	s.job, s.checked = nil, ""
	clear(s.replies)
	clear(s.executed)
	clear(s.given)
	if !s.recalled {
		return
	}
	s.recalled = false
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.viewed)
}

// connected tells whether the session has the hub's one connection for its device.
func (s *session) connected() error {
	if !s.link.stands() {
		return errDown
	}
	return nil
}

// rest is how long to wait before a lost connection is made again: another bridge may
// have taken it, and needs the time to write its name. A device that has gone is
// probably there.
func (s *session) rest() time.Duration {
	if s.gone() {
		return 2 * farewell
	}
	return claimTime + rand.N(2*claimTime)
}

// claimTime is what a bridge needs at least to write its name; tests have less.
var claimTime = time.Second

// cede has the bridge let go of a device that has registered with another one: the
// session ends, and the device hears at its next update that it is not registered
// here. It reports false if it has registered here meanwhile.
func (b *Bridge) cede(endpoint string, s *live) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.mu.Lock()
	claims := s.claims
	s.mu.Unlock()
	if claims {
		return false
	}
	b.Log.Info("device has registered with another bridge", "device", endpoint)
	b.letGo(endpoint, s)
	if err := b.ledger.remove(endpoint); err != nil {
		b.Log.Error("cannot note that an update is another bridge's", "device", endpoint, "error", err)
	}
	return true
}
