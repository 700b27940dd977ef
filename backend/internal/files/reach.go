package files

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/subtle"
	"net/netip"
	"sync"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
)

const (
	optionEcho = message.OptionID(252) // RFC 9175 section 2.2
	echoSize   = 8                     // bytes
	echoPeriod = time.Hour             // that a value is given out; it holds for one more

	// amplification is how many times its request an answer may be long towards an
	// address that anyone may have forged (RFC 9175 section 2.4).
	amplification = 3
	// What else such an address may draw, for clients that know no Echo: so many
	// bytes a second, and at once.
	unprovenRate  = 32 << 10
	unprovenBurst = 128 << 10
)

// A reach knows which clients receive what is sent to their address: those that show
// a value that was sent there (RFC 9175). It keeps no list: the value is the address
// under a key of the hour.
type reach struct {
	mu    sync.RWMutex
	keys  [2]cipher.Block // of this period, and of the one before
	since time.Time
}

func newReach(now time.Time) *reach {
	return &reach{keys: [2]cipher.Block{newKey(), newKey()}, since: now}
}

func newKey() cipher.Block {
	key := make([]byte, 16)
	rand.Read(key) // it never fails
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // of a key of another length
	}
	return block
}

// check tells whether what a request shows proves its address, and what to show from
// now on; nil if that is the same. Nobody can forge loopback.
func (r *reach) check(from netip.Addr, shown []byte, now time.Time) (proven bool, next []byte) {
	if from.Unmap().IsLoopback() {
		return true, nil
	}
	keys := r.current(now)
	want := echoOf(keys[0], from)
	if subtle.ConstantTimeCompare(shown, want) == 1 {
		return true, nil
	}
	return subtle.ConstantTimeCompare(shown, echoOf(keys[1], from)) == 1, want
}

func (r *reach) current(now time.Time) [2]cipher.Block {
	r.mu.RLock()
	keys, old := r.keys, now.Sub(r.since)
	r.mu.RUnlock()
	if old < echoPeriod {
		return keys
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old = now.Sub(r.since); old >= echoPeriod {
		r.keys = [2]cipher.Block{newKey(), r.keys[0]}
		r.since = now
	}
	if old >= 2*echoPeriod {
		r.keys[1] = newKey()
	}
	return r.keys
}

// echoOf is the value for an address: AES as a pseudo-random function of it.
func echoOf(key cipher.Block, from netip.Addr) []byte {
	b := from.As16()
	key.Encrypt(b[:], b[:])
	return b[:echoSize]
}
