package fetch

import (
	"bytes"
	"testing"
	"time"

	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp/coder"

	"github.com/tranquil-iot/tranquil/agent/internal/fetch/congestion"
)

// FuzzTransfer has a script decide which request is answered next, and how: whatever it
// is, what the transfer has written is the beginning of the resource.
func FuzzTransfer(f *testing.F) {
	f.Add([]byte{1, 1, 1, 1, 1, 1, 1, 1, 1, 1})           // all is well
	f.Add([]byte{1, 9, 1, 0, 0, 1, 0x19, 0x11, 9, 1})     // loss, another order
	f.Add([]byte{1, 3, 3, 3, 0, 3, 3, 11, 3, 3, 3, 3, 3}) // smaller blocks
	f.Add([]byte{1, 4, 1, 5, 1, 1, 1, 1, 7, 1, 0, 0, 0})
	body, _ := randomBlob(5000)
	f.Fuzz(func(t *testing.T, script []byte) {
		server := &coapServer{content: map[string][]byte{"/x": body}}
		var got bytes.Buffer
		var requests []message.Message
		write := func(datagram []byte) error {
			req := message.Message{Options: make(message.Options, 0, 16)}
			if _, err := coder.DefaultCoder.Decode(bytes.Clone(datagram), &req); err != nil {
				t.Fatalf("malformed request: %v", err)
			}
			requests = append(requests, req)
			return nil
		}
		now := time.Unix(100, 0)
		tr := newTransfer(write, wayTo{pace: congestion.New(time.Second)}, resource{path: "/x"}, &sink{w: &got, size: int64(len(body))}, &pin{})
		for _, op := range script {
			if err := tr.askMore(now); err != nil || len(tr.asks) == 0 {
				break
			}
			now = now.Add(10 * time.Millisecond)
			if op&7 == 0 {
				now = tr.earliest()
				tr.expire(now)
				continue
			}
			req := requests[len(requests)-1-int(op>>3)%len(requests)]
			if err := tr.handle(answerBadly(t, server, req, op&7), now); err != nil {
				break
			}
			if !bytes.HasPrefix(body, got.Bytes()) {
				t.Fatalf("after %d bytes others came", got.Len())
			}
		}
		if tr.complete() && !bytes.Equal(body, got.Bytes()) {
			t.Errorf("complete with %d bytes", got.Len())
		}
	})
}

// answerBadly answers a request in one of several ways.
func answerBadly(t *testing.T, server *coapServer, req message.Message, how byte) []byte {
	server.twist = func(b block, ans *message.Message) bool {
		switch how {
		case 3: // a smaller block
			if b.szx > smallestSZX {
				size := b.size() / 2
				setUint(ans, message.Block2, block{num: b.num * 2, szx: b.szx - 1, more: true}.encode())
				ans.Payload = ans.Payload[:min(size, int64(len(ans.Payload)))]
			}
		case 4: // another block
			setUint(ans, message.Block2, block{num: b.num + 1, szx: b.szx, more: true}.encode())
		case 5:
			ans.Code, ans.Payload = codes.BadRequest, nil
		case 6:
			ans.Options = ans.Options.Set(message.Option{ID: message.ETag, Value: []byte("other")})
		}
		return true
	}
	out := server.answer(req)
	if how == 7 { // cut off
		return out[:len(out)/2]
	}
	return out
}
