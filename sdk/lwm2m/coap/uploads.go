package coap

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

const (
	maxUpload  = 1 << 16 // bytes of one request put together from blocks
	maxUploads = 256     // requests at once
)

// uploads puts long requests together (Block1).
type uploads struct {
	mu sync.Mutex
	m  map[uploadID]*upload
}

type uploadID struct {
	peer   netip.AddrPort
	code   lwm2m.Code
	target string
}

type upload struct {
	at   time.Time
	body []byte
}

func newUploads() *uploads { return &uploads{m: map[uploadID]*upload{}} }

// add takes a request. If it is whole, with its last block, request gets the
// whole body and complete is true; if not, early is the answer to this block.
func (u *uploads) add(peer netip.AddrPort, m message.Message, request *lwm2m.Message) (early message.Message, complete bool) {
	b, ok := getBlock(m, message.Block1)
	if !ok {
		return message.Message{}, true
	}
	id := uploadID{peer, request.Code, strings.Join(request.Path, "/") + "?" + strings.Join(request.Query, "&")}
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
		if len(u.m) >= maxUploads {
			return nil, codes.ServiceUnavailable
		}
		u.m[id] = &upload{at: time.Now()}
	}
	up, ok := u.m[id]
	if !ok || b.offset() != len(up.body) || b.more && len(payload) != b.size() {
		delete(u.m, id)
		return nil, codes.RequestEntityIncomplete
	}
	if len(up.body)+len(payload) > maxUpload {
		delete(u.m, id)
		return nil, codes.RequestEntityTooLarge
	}
	up.body = append(up.body, payload...)
	if b.more {
		return nil, codes.Continue
	}
	delete(u.m, id)
	return up.body, codes.Empty
}

func (u *uploads) sweep() {
	for id, up := range u.m {
		if time.Since(up.at) > exchangeLifetime {
			delete(u.m, id)
		}
	}
}
