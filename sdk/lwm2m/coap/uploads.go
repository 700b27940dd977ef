package coap

import (
	"strings"
	"sync"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

const (
	maxUpload  = 1 << 20 // bytes of one request put together from blocks
	maxUploads = 256     // requests at once
	maxHeld    = 1 << 24 // bytes of all of them
)

// uploads puts long requests together (Block1).
type uploads struct {
	lifetime time.Duration // EXCHANGE_LIFETIME

	mu   sync.Mutex
	m    map[uploadID]*upload
	held int // bytes in m
}

type uploadID struct {
	peer   string
	code   lwm2m.Code
	target string
}

func identify(peer string, r *lwm2m.Message) uploadID {
	return uploadID{peer, r.Code, strings.Join(r.Path, "/") + "?" + strings.Join(r.Query, "&")}
}

type upload struct {
	at   time.Time // of its last block
	body []byte
}

func newUploads(lifetime time.Duration) *uploads {
	return &uploads{lifetime: lifetime, m: map[uploadID]*upload{}}
}

// add takes a request. If it is whole, with its last block, request gets the
// whole body and complete is true; if not, early is the answer to this block.
func (u *uploads) add(peer string, m message.Message, request *lwm2m.Message) (early message.Message, complete bool) {
	b, ok := getBlock(m, message.Block1)
	if !ok {
		return message.Message{}, true
	}
	id := identify(peer, request)
	if b.num == 0 && request.Size > maxUpload {
		return message.Message{Code: codes.RequestEntityTooLarge, Options: b.add(nil, message.Block1)}, false
	}
	body, code := u.append(id, b, request.Payload)
	if code != codes.Empty {
		return message.Message{Code: code, Options: b.add(nil, message.Block1)}, false
	}
	request.Payload = body
	return message.Message{}, true
}

// append gives the whole body with the last block, else the code to answer.
func (u *uploads) append(id uploadID, b block, payload []byte) ([]byte, codes.Code) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if b.num == 0 {
		u.sweep()
		u.drop(id)
		for len(u.m) >= maxUploads {
			u.giveWay(id, func(*upload) int { return 1 })
		}
		u.m[id] = &upload{}
	}
	up, ok := u.m[id]
	if !ok || b.offset() != len(up.body) || b.more && !b.filled(len(payload)) {
		u.drop(id)
		return nil, codes.RequestEntityIncomplete
	}
	if len(up.body)+len(payload) > maxUpload {
		u.drop(id)
		return nil, codes.RequestEntityTooLarge
	}
	for u.held+len(payload) > maxHeld {
		u.giveWay(id, func(up *upload) int { return len(up.body) })
	}
	up.at, up.body = time.Now(), append(up.body, payload...)
	u.held += len(payload)
	if b.more {
		return nil, codes.Continue
	}
	u.drop(id)
	return up.body, codes.Empty
}

// giveWay drops an upload of whichever address takes most, by this measure,
// besides id: the one that has been silent for longest, as among addresses that take
// the same. So what one address leaves unfinished holds up nobody else, nor what many
// leave whoever goes on.
func (u *uploads) giveWay(id uploadID, measure func(*upload) int) {
	shares, oldest := map[string]int{}, map[string]uploadID{}
	var most string
	for other, up := range u.m {
		if other == id {
			continue
		}
		from := host(other.peer)
		shares[from] += measure(up)
		if first, ok := oldest[from]; !ok || up.at.Before(u.m[first].at) {
			oldest[from] = other
		}
	}
	for from := range shares {
		if _, ok := shares[most]; !ok || shares[from] > shares[most] || shares[from] == shares[most] && u.m[oldest[from]].at.Before(u.m[oldest[most]].at) {
			most = from
		}
	}
	u.drop(oldest[most])
}

// host is a peer without its port: whoever opens many is still one.
func host(peer string) string {
	return peer[:max(strings.LastIndexByte(peer, ':'), 0)]
}

func (u *uploads) drop(id uploadID) {
	if up, ok := u.m[id]; ok {
		u.held -= len(up.body)
		delete(u.m, id)
	}
}

func (u *uploads) sweep() {
	for id, up := range u.m {
		if time.Since(up.at) > u.lifetime {
			u.drop(id)
		}
	}
}
