package coap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

const exchangeLifetime = 247 * time.Second

var peerA = "127.0.0.1:1"

func TestDuplicatesForget(t *testing.T) {
	d := newDuplicates(exchangeLifetime)
	old := d.identify(exchangeID{peerA, 1}, []byte("asked"))
	d.begin(old)
	d.finish(old, []byte("done"))
	if fresh, answer := d.begin(old); fresh || string(answer) != "done" {
		t.Errorf("repeated: %v, %q", fresh, answer)
	}
	d.order[0].at = time.Now().Add(-2 * exchangeLifetime)
	if fresh, _ := d.begin(old); !fresh {
		t.Error("remembered longer than a message id is taken")
	}
	for i := range maxDuplicates + 10 {
		d.begin(requestID{exchangeID{fmt.Sprint(i >> 8), uint16(i)}, 0})
	}
	if len(d.m) > maxDuplicates || len(d.order) > maxDuplicates {
		t.Errorf("%d, %d answers are remembered", len(d.m), len(d.order))
	}
}

func TestOneConfirmableAtATime(t *testing.T) {
	p := newPeers(exchangeLifetime)
	first, release, err := p.acquire(t.Context(), peerA)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := p.acquire(ctx, peerA); !errors.Is(err, context.Canceled) {
		t.Errorf("a second one: %v", err)
	}
	release()
	second, release, err := p.acquire(t.Context(), peerA)
	if err != nil || second == first {
		t.Errorf("message ids %d and %d, %v", first, second, err)
	}
	release()
}

func TestPeersForget(t *testing.T) {
	p := newPeers(exchangeLifetime)
	p.nextMID(peerA)
	long := time.Now().Add(-2 * exchangeLifetime)
	p.m[peerA].used, p.swept = long, long
	p.nextMID("127.0.0.1:2")
	if _, ok := p.m[peerA]; ok || len(p.m) != 1 {
		t.Error("a peer that was silent for long is remembered")
	}
}

func TestUploads(t *testing.T) {
	u := newUploads(exchangeLifetime)
	part := func(num uint32, more bool, payload string) (codes.Code, []byte) {
		request := &lwm2m.Message{Code: lwm2m.Put, Path: []string{"1"}, Payload: []byte(payload)}
		m := message.Message{Options: block{num: num, more: more, szx: 0}.add(nil, message.Block1)}
		early, complete := u.add(peerA, m, request)
		if complete {
			return codes.Empty, request.Payload
		}
		return early.Code, nil
	}
	sixteen := "0123456789abcdef"
	for _, tt := range []struct {
		num     uint32
		more    bool
		payload string
		code    codes.Code
		whole   string
	}{
		{0, true, sixteen, codes.Continue, ""},
		{1, false, "end", codes.Empty, sixteen + "end"},
		{1, false, "end", codes.RequestEntityIncomplete, ""},
		{0, true, sixteen, codes.Continue, ""},
		{2, true, sixteen, codes.RequestEntityIncomplete, ""},
		{0, true, "short", codes.RequestEntityIncomplete, ""},
	} {
		code, whole := part(tt.num, tt.more, tt.payload)
		if code != tt.code || string(whole) != tt.whole {
			t.Errorf("block %d: %v %q, want %v %q", tt.num, code, whole, tt.code, tt.whole)
		}
	}
	for i := range uint32(maxUpload/16 + 1) {
		if code, _ := part(i, true, sixteen); code != codes.Continue {
			if i != maxUpload/16 || code != codes.RequestEntityTooLarge {
				t.Errorf("block %d: %v", i, code)
			}
		}
	}
}

// begin uploads blocks of 16 bytes and leaves the upload unfinished.
func begin(u *uploads, peer, path string, blocks int) (code codes.Code) {
	id := uploadID{peer, lwm2m.Put, path}
	for num := range blocks {
		_, code = u.append(id, block{num: uint32(num), more: true, szx: 0}, make([]byte, 16))
	}
	return code
}

// TestUploadsShare has one address, from many ports, begin more uploads than
// there is room for: others get theirs, and go on with them.
func TestUploadsShare(t *testing.T) {
	u := newUploads(exchangeLifetime)
	if code := begin(u, "192.0.2.1:5683", "/early", 1); code != codes.Continue {
		t.Fatalf("the first: %v", code)
	}
	for i := range 2 * maxUploads {
		if code := begin(u, fmt.Sprint("192.0.2.66:", i), "/x", 1); code != codes.Continue {
			t.Fatalf("upload %d of one address: %v", i, code)
		}
	}
	if code := begin(u, "192.0.2.2:5683", "/late", 1); code != codes.Continue {
		t.Errorf("another address: %v", code)
	}
	for _, id := range []uploadID{{"192.0.2.1:5683", lwm2m.Put, "/early"}, {"192.0.2.2:5683", lwm2m.Put, "/late"}} {
		if body, code := u.append(id, block{num: 1, szx: 0}, []byte("end")); code != codes.Empty || len(body) != 19 {
			t.Errorf("%s did not get to its end: %v", id.target, code)
		}
	}
	if _, there := u.m[uploadID{"192.0.2.66:0", lwm2m.Put, "/x"}]; there || len(u.m) > maxUploads {
		t.Errorf("%d uploads, the oldest among them: %v", len(u.m), there)
	}
}

// TestUploadsOfMany: what many addresses leave unfinished, one each, gives way before what
// goes on.
func TestUploadsOfMany(t *testing.T) {
	u := newUploads(exchangeLifetime)
	honest := uploadID{"192.0.2.1:5683", lwm2m.Put, "/list"}
	for i := range 4 * maxUploads {
		if i%100 == 0 {
			if _, code := u.append(honest, block{num: uint32(i / 100), more: true, szx: 0}, make([]byte, 16)); code != codes.Continue {
				t.Fatalf("after %d strangers: %v", i, code)
			}
		}
		begin(u, fmt.Sprintf("127.1.%d.%d:7", i/250, i%250), "/x", 1)
	}
}

// TestBadBlocks: an option that cannot be meant is refused, before anything is kept, and
// so is what is announced to be too long.
func TestBadBlocks(t *testing.T) {
	option := func(value ...byte) message.Message {
		return message.Message{Options: message.Options{{ID: message.Block1, Value: value}}}
	}
	for name, test := range map[string]struct {
		m      message.Message
		framed bool
		want   codes.Code
	}{
		"four bytes":      {option(0, 0, 0, 8), false, codes.BadOption},
		"reserved size":   {option(15), false, codes.BadRequest},
		"the same of TCP": {option(15), true, codes.Empty},
		"a block":         {option(8), false, codes.Empty},
		"no block at all": {message.Message{}, false, codes.Empty},
	} {
		if answer, bad := badBlock(test.m, test.framed); answer.Code != test.want || bad != (test.want != codes.Empty) {
			t.Errorf("%s: %v, %v", name, answer.Code, bad)
		}
	}
	early, whole := newUploads(exchangeLifetime).add("192.0.2.1:1", option(8), &lwm2m.Message{Code: lwm2m.Put, Size: maxUpload + 1})
	if early.Code != codes.RequestEntityTooLarge || whole {
		t.Errorf("too long: %v", early.Code)
	}
}

// TestUploadsShareMemory is TestUploadsShare with bytes.
func TestUploadsShareMemory(t *testing.T) {
	u := newUploads(exchangeLifetime)
	for i := range maxHeld / maxUpload {
		begin(u, "192.0.2.66:1", fmt.Sprint(i), maxUpload/16)
	}
	if code := begin(u, "192.0.2.1:5683", "/late", maxUpload/16); code != codes.Continue {
		t.Errorf("another address: %v", code)
	}
	sum := 0
	for _, up := range u.m {
		sum += len(up.body)
	}
	if u.held > maxHeld || u.held != sum {
		t.Errorf("%d bytes are held, %d counted", sum, u.held)
	}
}

func TestAnswerBlock(t *testing.T) {
	response := message.Message{Code: codes.Content, Payload: bytes.Repeat([]byte("x"), 2500)}
	var whole []byte
	for num := uint32(0); ; num++ {
		r := answerBlock(response, message.Message{Options: block{num: num, szx: maxSZX}.add(nil, message.Block2)}, maxBlock)
		whole = append(whole, r.Payload...)
		if b, ok := getBlock(r, message.Block2); !ok || b.num != num {
			t.Fatalf("block %d: %+v", num, b)
		} else if !b.more {
			break
		}
	}
	if !bytes.Equal(whole, response.Payload) {
		t.Error("the blocks do not make the payload")
	}
	beyond := answerBlock(response, message.Message{Options: block{num: 3, szx: maxSZX}.add(nil, message.Block2)}, maxBlock)
	if lwm2m.Code(beyond.Code).Success() {
		t.Error("a block beyond the end")
	}
}
