package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// An outbox is a device's, as its agent keeps it.
type outbox struct {
	mu      sync.Mutex
	waiting []objects.Outcome
}

func (o *outbox) add(d *device, outcomes ...objects.Outcome) {
	o.mu.Lock()
	o.waiting = append(o.waiting, outcomes...)
	o.mu.Unlock()
	o.show(d)
}

func (o *outbox) show(d *device) {
	o.mu.Lock()
	text := ""
	if len(o.waiting) > 0 {
		text = o.waiting[0].Encode()
	}
	o.mu.Unlock()
	d.set(objects.ComponentOutcome, lwm2m.String(text))
}

func (o *outbox) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waiting) == 0
}

// serve answers acknowledgements of d; of those, some are lost on their way,
// and of some only the answer is.
func (o *outbox) serve(d *device, random *rand.Rand) {
	write := d.updates.OnWrite
	d.updates.OnWrite = func(ctx context.Context, records []lwm2m.Record) error {
		for _, r := range records {
			if r.Path.Resource() != objects.ComponentAcknowledge {
				return write(ctx, records)
			}
			o.mu.Lock()
			lost := random.IntN(6)
			if lost != 0 && len(o.waiting) > 0 && o.waiting[0].ID == r.Value.Text() {
				o.waiting = o.waiting[1:]
			}
			o.mu.Unlock()
			if lost < 2 {
				return errors.New("no memory")
			}
			go o.show(d)
		}
		return nil
	}
}

// lossy passes datagrams on to a server, some of them twice and some never.
func lossy(t *testing.T, server string, random *rand.Rand) (address string) {
	t.Helper()
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() { front.Close(); running.Wait() })
	var mu sync.Mutex
	times := func() int {
		mu.Lock()
		defer mu.Unlock()
		switch n := random.IntN(100); {
		case n < 4:
			return 0
		case n < 20:
			return 2
		}
		return 1
	}
	running.Go(func() {
		behind := map[string]net.Conn{}
		defer func() {
			for _, c := range behind {
				c.Close()
			}
		}()
		for b := make([]byte, 2048); ; {
			n, from, err := front.ReadFrom(b)
			if err != nil {
				return
			}
			c := behind[from.String()]
			if c == nil {
				if c, err = net.Dial("udp", strings.TrimPrefix(server, "coap://")); err != nil {
					return
				}
				behind[from.String()] = c
				running.Go(func() { back(front, c, from, times) })
			}
			for range times() {
				_, _ = c.Write(b[:n])
			}
		}
	})
	return "coap://" + front.LocalAddr().String()
}

func back(front net.PacketConn, c net.Conn, to net.Addr, times func() int) {
	for b := make([]byte, 2048); ; {
		n, err := c.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		for range times() {
			_, _ = front.WriteTo(b[:n], to)
		}
	}
}

// TestOutcomes has outcomes reach the twin over a network that loses and
// doubles messages, from a device that restarts, through a hub that does: each
// is in the event log once, in order.
func TestOutcomes(t *testing.T) {
	s, h, dir, stopHub, stopDevice := start(t)
	s.device.await(t)
	stopDevice()
	random := rand.New(rand.NewPCG(3, 4))
	s.address = lossy(t, s.address, rand.New(rand.NewPCG(5, 6)))
	s.device, stopDevice = startDevice(t, s.address)
	box := &outbox{}
	box.serve(s.device, random)
	var want []string
	for n := range 8 {
		o := objects.Outcome{ID: fmt.Sprint("u", n), To: "2.0.0", Result: "turned back", Cause: fmt.Sprint("cause ", n), Downtime: 1.25, Predicted: 1}
		if n%3 == 1 {
			o.Cause, o.Result = "", "updated"
		}
		want = append(want, o.ID+" "+o.Result+" "+o.Cause)
		box.add(s.device, o)
		switch n {
		case 2, 6:
			s.device.await(t)
			stopDevice()
			s.device, stopDevice = startDevice(t, s.address)
			box.serve(s.device, random)
			box.show(s.device)
		case 4:
			eventually(t, "an outcome", s.at(t, "components", name, "outcome"), func(v any) bool { return v != nil })
			stopHub()
		case 5:
			h, _ = startHub(t, dir, h.MQTTAddr(), h.HTTPAddr())
			s.service = iothub.NewClient(connection(t, h, hub.PolicyOwner))
		}
	}
	polls := 0
	eventually(t, "the outbox is empty", func() bool {
		if polls++; polls%25 == 0 { // as an agent reminds the server
			box.show(s.device)
		}
		return box.empty()
	}, func(empty bool) bool { return empty })
	if d := cmp.Diff(want, s.story(t)); d != "" {
		t.Error(d)
	}
	eventually(t, "the error of the prediction", s.at(t, "components", name, "outcome", "predictionError"), is(0.25))
}

// story is what the event log tells of outcomes.
func (s system) story(t *testing.T) (all []string) {
	t.Helper()
	twin, err := s.service.Twin(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	for event, err := range s.service.Events(t.Context(), endpoint, "0") {
		if err != nil {
			t.Fatal(err)
		}
		var change iothub.TwinChange
		if event.Type != iothub.EventTwinChanged {
			continue
		}
		if err := json.Unmarshal(event.Body, &change); err != nil {
			t.Fatal(err)
		}
		if o := outcomeOf(change.Properties.Reported, name); o != nil {
			cause, _ := o["cause"].(string)
			all = append(all, fmt.Sprint(o["id"], " ", o["result"], " ", cause))
		}
		if change.Version >= twin.Version {
			break
		}
	}
	return all
}

// TestAnUnreadableOutcome is refused, visibly; the rest of the twin goes on.
func TestAnUnreadableOutcome(t *testing.T) {
	s, _, _, _, _ := start(t)
	s.set(objects.ComponentOutcome, lwm2m.String("{}"))
	eventually(t, "refused", s.at(t, "refused", "components/"+name+"/outcome"), func(v any) bool { return v != nil })
	s.set(objects.ComponentVersion, lwm2m.String("1.1.0"))
	eventually(t, "its version", s.at(t, "components", name, "version"), is("1.1.0"))
}

// TestEnded: what a twin has of an outcome.
func TestEnded(t *testing.T) {
	o := objects.Outcome{ID: "u", Kind: "rollback", From: "2.0.0", To: "1.0.0", Result: "turned back", Cancelled: true, Warnings: []string{"a", "b"}}
	want := map[string]any{"id": "u", "kind": "rollback", "from": "2.0.0", "to": "1.0.0", "result": "turned back", "cancelled": true, "warnings": "a; b", "downtime": 0.0}
	if diff := cmp.Diff(want, withoutNils(ended(o))); diff != "" {
		t.Error(diff)
	}
	o.Warnings = []string{strings.Repeat("x", 5000)}
	if got, _ := ended(o)["warnings"].(string); len(got) > 2000 {
		t.Errorf("%d bytes of warnings", len(got))
	}
}

// TestMerge: what diff takes apart, merge puts together.
func TestMerge(t *testing.T) {
	for _, pair := range [][2]string{
		{`{}`, `{"a": {"b": 1}}`},
		{`{"a": {"b": 1, "c": 2}, "d": 3}`, `{"a": {"c": 4}}`},
		{`{"a": "x"}`, `{"a": {"b": 1}}`},
	} {
		from, to := decode(t, pair[0]), decode(t, pair[1])
		if got := iothub.Merge(from, diff(from, to)); !cmp.Equal(got, to) {
			t.Errorf("%v, want %v", got, to)
		}
	}
}

// TestOutcomeSaysWhatRuns: with an outcome the twin gets what the device says since
// then, and not with one after which another update has begun.
func TestOutcomeSaysWhatRuns(t *testing.T) {
	v := told()
	tell := func(resource uint16, value lwm2m.Value) {
		v.take([]lwm2m.Record{{Path: lwm2m.NewPath(objects.ComponentUpdateID, 0, resource), Value: value}})
	}
	tell(objects.ComponentVersion, lwm2m.String("2.0.0"))
	tell(objects.ComponentSchema, lwm2m.Int(0))
	tell(objects.ComponentRunning, lwm2m.Bool(true))
	tell(objects.ComponentStale, lwm2m.Bool(false))
	tell(objects.ComponentUpdateIdentifier, lwm2m.String("u1"))
	tell(objects.ComponentResult, lwm2m.String("updated"))
	ended := objects.Outcome{ID: "u1", To: "2.0.0", Result: "updated"}
	want := map[string]any{"version": "2.0.0", "schema": nil, "running": true, "stale": false}
	if d := cmp.Diff(want, v.since(0, ended)); d != "" {
		t.Error(d)
	}
	tell(objects.ComponentUpdateIdentifier, lwm2m.String("u2"))
	tell(objects.ComponentResult, lwm2m.String(""))
	if later := v.since(0, ended); later != nil {
		t.Errorf("the next update has begun, and the twin is told %v", later)
	}
}
