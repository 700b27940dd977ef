package bridge

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// A bareDevice answers as the test says, and not as a good client would.
type bareDevice func(m *lwm2m.Message) *lwm2m.Message

func (b bareDevice) ServeRequest(_ context.Context, _ string, m *lwm2m.Message) *lwm2m.Message {
	return b(m)
}

func (bareDevice) ServeNotification(_ string, _ *lwm2m.Message, done func(lwm2m.Reception)) {
	done(lwm2m.Refused)
}

// register has it register with these objects.
func (b bareDevice) register(t *testing.T, server, endpoint, links string) {
	t.Helper()
	conn, err := coap.Dial(server, coap.WithTransmission(coap.Transmission{AckTimeout: ackTimeout}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	background(t, func(ctx context.Context) error { return conn.Serve(ctx, b) })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	peer, err := conn.Resolve(ctx, server)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := conn.Exchange(ctx, peer, &lwm2m.Message{
		Code: lwm2m.Post, Path: []string{"rd"}, Query: []string{"ep=" + url.QueryEscape(endpoint), "lt=300", "lwm2m=1.0"},
		Format: new(lwm2m.FormatLink), Payload: []byte(links),
	})
	if err != nil || answer.Code != lwm2m.CodeCreated {
		t.Fatal(answer, err)
	}
}

func content(t *testing.T, base lwm2m.Path, records ...lwm2m.Record) *lwm2m.Message {
	payload, err := lwm2m.Encode(lwm2m.FormatTLV, base, records)
	if err != nil {
		t.Error(err)
	}
	return &lwm2m.Message{Code: lwm2m.CodeContent, Format: new(lwm2m.FormatTLV), Payload: payload}
}

// TestASensorThatCannotBeObserved does not keep the rest of a device out of the
// twin, and shows what can be read.
func TestASensorThatCannotBeObserved(t *testing.T) {
	h, _ := startHub(t, t.TempDir(), "127.0.0.1:0", "127.0.0.1:0")
	s := join(t, h, endpoint)
	sensor := lwm2m.NewPath(3303, 0)
	bareDevice(func(m *lwm2m.Message) *lwm2m.Message {
		path := "/" + strings.Join(m.Path, "/")
		switch {
		case m.Code == lwm2m.Get && path == sensor.String(): // whether it is to be observed or not
			return content(t, sensor, lwm2m.Record{Path: sensor.Child(objects.SensorValue), Value: lwm2m.Float(21.5)})
		case m.Code == lwm2m.Get && strings.HasPrefix(path, "/3304/0"):
			return &lwm2m.Message{Code: lwm2m.CodeUnauthorized}
		}
		return &lwm2m.Message{Code: lwm2m.CodeMethodNotAllowed}
	}).register(t, s.address, endpoint, "</3303/0>,</3304/0>")
	eventually(t, "the device is online", s.at(t, "state"), is("online"))
	eventually(t, "its reading", s.at(t, "lwm2m", "3303", "0", "5700", "value"), is(21.5))
}

// TestAnOutcomeThatIsNotShown: a device that says that it has an outcome, and does not
// show it, harms nobody.
func TestAnOutcomeThatIsNotShown(t *testing.T) {
	h, _ := startHub(t, t.TempDir(), "127.0.0.1:0", "127.0.0.1:0")
	s := join(t, h, endpoint)
	component := lwm2m.NewPath(objects.ComponentUpdateID, 0)
	asked := make(chan struct{}, 100)
	bareDevice(func(m *lwm2m.Message) *lwm2m.Message {
		switch {
		case m.Code != lwm2m.Get:
			return &lwm2m.Message{Code: lwm2m.CodeMethodNotAllowed}
		case len(m.Path) == lwm2m.DepthInstance:
			answer := content(t, component,
				lwm2m.Record{Path: component.Child(objects.ComponentName), Value: lwm2m.String(name)},
				lwm2m.Record{Path: component.Child(objects.ComponentOutcome), Value: lwm2m.String("{}")})
			answer.Observe = new(uint32(1))
			return answer
		}
		asked <- struct{}{}
		return content(t, component)
	}).register(t, s.address, endpoint, "</26250/0>")
	for range 2 { // it goes on
		select {
		case <-asked:
		case <-time.After(30 * time.Second):
			t.Fatal("the outcome is not asked for")
		}
	}
}
