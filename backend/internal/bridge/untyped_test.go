package bridge

import (
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// TestUntypedValues: a device of LwM2M 1.0 does not say of which types its values are.
// Nothing is written to it before somebody has: the order, or the definition of its
// object, with which values are read as well.
func TestUntypedValues(t *testing.T) {
	t.Parallel()
	old := func(c *lwm2m.ClientConfig) { c.Version = "1.0" }
	h, _ := startHub(t, t.TempDir(), "127.0.0.1:0", "127.0.0.1:0")
	s := join(t, h, endpoint)
	var leave func()
	s.device, leave = startDeviceWith(t, s.address, old)
	eventually(t, "the device is online", s.at(t, "state"), is("online"))
	status := func(name, payload string, want int, contains string) {
		t.Helper()
		if answer := s.call(t, name, payload); answer.Status != want || !strings.Contains(string(answer.Payload), contains) {
			t.Errorf("%s %s: %d %s", name, payload, answer.Status, answer.Payload)
		}
	}
	status("write", `{"path": "/33000/0/1", "value": "77"}`, 400, "bridge.objects")
	status("write", `{"path": "/33000/0/1", "value": 78, "type": "integer"}`, 200, "")
	eventually(t, "the number", s.thingAt(1), isValue(lwm2m.Int(78)))
	s.desire(t, tree(map[string]any{"1": map[string]any{"value": 79}, "0": map[string]any{"value": "hall", "type": "string"}}))
	eventually(t, "the text", s.thingAt(0), isValue(lwm2m.String("hall")))
	eventually(t, "an answer", s.at(t, "lwm2m", "33000", "0", "1", "err"), func(v any) bool { text, _ := v.(string); return strings.Contains(text, "type") })
	if v := s.thingAt(1)(); v != lwm2m.Int(78) {
		t.Errorf("the device has %v", v)
	}

	leave() // it would come back, and bring its bridge with it
	b, err := New(Config{Hub: connection(t, h, hub.PolicyDevice), Listen: "127.0.0.1:0", Log: quiet, AckTimeout: ackTimeout, Objects: []lwm2m.Definition{newThing().Definition()}})
	if err != nil {
		t.Fatal(err)
	}
	background(t, b.Serve)
	s = system{service: iothub.NewClient(connection(t, h, hub.PolicyOwner))}
	s.device, _ = startDeviceWith(t, "coap://"+b.Addr(), old)
	eventually(t, "the number that is wanted", s.thingAt(1), isValue(lwm2m.Int(79)))
	status("write", `{"path": "/33000/0/8", "value": 1}`, 200, "")
	eventually(t, "a float", s.thingAt(8), isValue(lwm2m.Float(1)))
	status("read", `{"path": "/33000/0"}`, 200, `"/33000/0/0":"hall"`)
}
