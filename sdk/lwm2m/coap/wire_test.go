package coap

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/plgd-dev/go-coap/v3/message"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

func FuzzDatagram(f *testing.F) {
	f.Add([]byte("\x41\x02\x12\x34T\xb2rd\x44ep=a\x09lwm2m=1.1"))
	f.Add([]byte("\x61\x45\x00\x01T\x61\x05\xc2\x2d\x16\xb1\x0e\xff\xc1\x09\x64"))
	f.Add([]byte("\x40\x01\x00\x02\xff\xff\xff"))
	f.Add([]byte("\x40\x03\x00\x03\xd4\x2f0000")) // Size1
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := unmarshal(b)
		if err != nil {
			return
		}
		_, _ = getBlock(m, message.Block1)
		first, err := fromWire(m)
		if err != nil || len(first.Path)+len(first.Query)+len(first.Location) > maxOptions/2 {
			return
		}
		first.Size = 0 // goes with the first block, which adds it
		wire := toWire(first)
		wire.Type, wire.MessageID = m.Type, m.MessageID
		again, err := marshal(wire)
		if err != nil {
			t.Fatalf("cannot encode what was decoded: %v", err)
		}
		m, err = unmarshal(again)
		if err != nil {
			t.Fatalf("cannot decode what was encoded: %v", err)
		}
		second, err := fromWire(m)
		if diff := cmp.Diff(first, second); diff != "" || err != nil {
			t.Errorf("%v (-first +second):\n%s", err, diff)
		}
	})
}

func TestWire(t *testing.T) {
	want := &lwm2m.Message{
		Code: lwm2m.Post, Token: []byte("T"), Path: []string{"rd"}, Query: []string{"ep=a", "lt=60"},
		Format: new(lwm2m.FormatLink), Accept: new(lwm2m.FormatTLV), Observe: new(uint32(0)), Payload: []byte("</3/0>"),
	}
	wire := toWire(want)
	wire.Type, wire.MessageID = message.Confirmable, 0x1234
	b, err := marshal(wire)
	if err != nil {
		t.Fatal(err)
	}
	m, err := unmarshal(b)
	if err != nil || m.Type != message.Confirmable || m.MessageID != 0x1234 {
		t.Fatalf("%v, %v", m, err)
	}
	got, err := fromWire(m)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestUnknownCriticalOption(t *testing.T) {
	m := message.Message{Options: message.Options{{ID: message.IfMatch, Value: []byte("x")}}}
	if _, err := fromWire(m); err == nil {
		t.Error("a critical option was ignored")
	}
}
