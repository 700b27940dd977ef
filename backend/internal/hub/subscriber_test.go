package hub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/backend/internal/store"
	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// serviceToken is the password of an application.
func (r *running) serviceToken(t *testing.T, policy string) string {
	t.Helper()
	cs, err := r.ConnectionString(policy)
	if err != nil {
		t.Fatal(err)
	}
	token, err := cs.ServiceToken(time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// application connects one; client is its id.
func (r *running) application(t *testing.T, client, user string, keep bool) *device {
	t.Helper()
	return r.mustConnect(t, connection{clientID: client, username: user, password: r.serviceToken(t, hub.PolicyService), keepSession: keep})
}

// event waits for the next one that it is told.
func (d *device) event(t *testing.T) (topic string, e iothub.Event) {
	t.Helper()
	topic, text := d.receive(t)
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	return topic, e
}

func (d *device) listen(t *testing.T, qos byte, filters ...string) {
	t.Helper()
	for _, filter := range filters {
		if token := d.Subscribe(filter, qos, nil); !token.WaitTimeout(patience) || token.Error() != nil || token.(*mqtt.SubscribeToken).Result()[filter] != qos {
			t.Fatal(filter, token.Error(), token.(*mqtt.SubscribeToken).Result())
		}
	}
}

// TestSubscriber: applications hear by MQTT what happens, of what they have subscribed to, in order; and from the event
// on that they name.
func TestSubscriber(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	all, some := h.application(t, "all", iothub.EventsUsername, false), h.application(t, "some", iothub.EventsUsername, false)
	all.listen(t, 1, "#")
	some.listen(t, 0, iothub.EventTopic("+", "", iothub.EventUpdateFinished), iothub.EventTopic("a+b", "", iothub.EventDeviceCreated))
	h.create(t, "a+b")
	h.create(t, "dev1")
	d := h.mustConnect(t, connection{id: "dev1"})
	d.publish(t, iothub.TopicTelemetry("dev1"), 1, "x")
	d.publish(t, iothub.TopicReported+"1", 1, `{"components": {"c/x": {"update": {"id": "u", "result": "updated"}}}}`)
	want := []string{"events/a%2Bb/deviceCreated", "events/dev1/deviceCreated", "events/dev1/deviceConnected", "events/dev1/telemetry", "events/dev1/twinChanged", "events/dev1/updateFinished"}
	var got, ids []string
	for range want {
		topic, e := all.event(t)
		got, ids = append(got, topic), append(ids, e.ID)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{want[0], want[5]} {
		if topic, _ := some.event(t); topic != want {
			t.Error(topic)
		}
	}
	again := h.application(t, "", iothub.EventsUsername+"?after="+ids[2], false)
	again.listen(t, 1, "events/dev1/#")
	for i, want := range want[3:] {
		if topic, e := again.event(t); topic != want || e.ID != ids[3+i] || e.Device != "dev1" {
			t.Error(topic, e)
		}
	}
}

// TestSubscriberGoesOn: with clean session 0 the hub remembers what an application has acknowledged, and what it has
// subscribed to, also over a restart; the rest comes again.
func TestSubscriberGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := start(t, dir)
	a := h.dial(t)
	connect := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	connect.ProtocolName, connect.ProtocolVersion, connect.ClientIdentifier = "MQTT", 4, "a/b"
	connect.UsernameFlag, connect.PasswordFlag = true, true
	connect.Username, connect.Password = iothub.EventsUsername, []byte(h.serviceToken(t, hub.PolicyService))
	subscribe := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	subscribe.MessageID, subscribe.Topics, subscribe.Qoss = 1, []string{"events/+/deviceCreated"}, []byte{2}
	a.send(connect)
	if answer := a.read().(*packets.ConnackPacket); answer.ReturnCode != 0 || answer.SessionPresent {
		t.Fatal(answer)
	}
	a.send(subscribe)
	if answer := a.read().(*packets.SubackPacket); answer.ReturnCodes[0] != 1 {
		t.Fatal(answer)
	}
	acknowledge := func(a raw, p *packets.PublishPacket) {
		ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
		ack.MessageID = p.MessageID
		a.send(ack)
	}
	var told []*packets.PublishPacket
	for i := range 5 {
		h.create(t, fmt.Sprint("dev", i))
		told = append(told, a.published())
	}
	for _, i := range []int{4, 0, 1} { // 2 and 3 are missing
		acknowledge(a, told[i])
	}
	a.send(packets.NewControlPacket(packets.Disconnect))
	for _, err := a.Conn.Read(make([]byte, 1)); err == nil; { // the hub has noted the end
		_, err = a.Conn.Read(make([]byte, 1))
	}
	h.stop()
	h = start(t, dir)
	b := h.dial(t)
	connect.Password = []byte(h.serviceToken(t, hub.PolicyService))
	b.send(connect)
	if answer := b.read().(*packets.ConnackPacket); answer.ReturnCode != 0 || !answer.SessionPresent {
		t.Fatal(answer)
	}
	for _, want := range []string{"dev2", "dev3", "dev4"} {
		p := b.published()
		if !strings.HasPrefix(p.TopicName, "events/"+want+"/") {
			t.Error(p.TopicName)
		}
		acknowledge(b, p)
	}
	connect.CleanSession = true // it is forgotten, and the connection before ends
	c := h.dial(t)
	c.send(connect)
	if answer := c.read().(*packets.ConnackPacket); answer.ReturnCode != 0 || answer.SessionPresent {
		t.Fatal(answer)
	}
	if _, err := packets.ReadPacket(b); err == nil {
		t.Error("there are two connections of one client id")
	}
}

// TestLost: an application that was away for longer than the hub keeps events is told so with the first that it hears.
func TestLost(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.Context(), store.Config{Dir: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil)), LogBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	h := startWith(t, s, hub.Config{})
	h.create(t, "dev1")
	d := h.mustConnect(t, connection{id: "dev1"})
	for range 40 {
		d.publish(t, iothub.TopicTelemetry("dev1"), 1, strings.Repeat("x", 4<<10))
	}
	h.create(t, "dev2")
	for e, err := range h.owner.Events(t.Context(), "dev2", "1") {
		if err != nil || e.Type != iothub.EventDeviceCreated || e.Lost < 20 {
			t.Errorf("%+v %v", e, err)
		}
		break
	}
	a := h.application(t, "", iothub.EventsUsername+"?after=1", false)
	a.listen(t, 1, "events/+/deviceCreated")
	if _, e := a.event(t); e.Device != "dev2" || e.Lost < 20 {
		t.Errorf("%+v", e)
	}
	h.create(t, "dev3")
	if _, e := a.event(t); e.Device != "dev3" || e.Lost != 0 {
		t.Errorf("%+v", e)
	}
}

// TestSubscriberMay: who may not read what happens is not told, and is told no more; applications only listen.
func TestSubscriberMay(t *testing.T) {
	t.Parallel()
	var good atomic.Bool
	good.Store(true)
	h := startWith(t, openStore(t, t.TempDir()), hub.Config{Verify: time.Millisecond, Reader: func(_ context.Context, token string) (string, error) {
		switch {
		case token == "publisher's":
			return "", twin.Forbidden
		case token != "viewer's" || !good.Load():
			return "", twin.Unauthorized
		}
		return "ann", nil
	}})
	dev := h.create(t, "dev1")
	own, err := iothub.SignToken("h/devices/dev1", dev.Authentication.SymmetricKey.PrimaryKey, "", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]connection{
		"without a token":     {clientID: "a", username: "events", password: "x"},
		"a device's token":    {clientID: "a", username: "events", password: own},
		"a gateway's token":   {clientID: "a", username: "events", password: h.gatewayToken(t)},
		"a registry's token":  {clientID: "a", username: "events", password: h.serviceToken(t, hub.PolicyRegistryReadWrite)},
		"another right":       {clientID: "a", username: "events", password: "publisher's"},
		"no position":         {clientID: "a", username: "events?after=x", password: "viewer's"},
		"no client id":        {clientID: strings.Repeat("a", 129), username: "events", password: "viewer's"},
		"as a device":         {clientID: "dev1", username: iothub.Username("h", "dev1"), password: "viewer's"},
		"as a device, policy": {clientID: "dev1", username: iothub.Username("h", "dev1"), password: h.serviceToken(t, hub.PolicyService)},
	} {
		if _, err := h.connect(t, c); err == nil {
			t.Error(what, "is let in")
		}
	}
	for _, topic := range []string{"events/dev1/telemetry", iothub.TopicTelemetry("dev1"), iothub.TopicReported + "1"} {
		a := h.mustConnect(t, connection{clientID: "a", username: "events", password: "viewer's"})
		a.Publish(topic, 0, false, "{}")
		a.expectLost(t)
	}
	a := h.mustConnect(t, connection{clientID: "a", username: "events", password: "viewer's"})
	for _, filter := range []string{"devices/#", iothub.TopicTwinResponses, "events/a#", iothub.TopicCommands("dev1")} {
		if token := a.Subscribe(filter, 0, nil).(*mqtt.SubscribeToken); !token.WaitTimeout(patience) || token.Result()[filter] != 0x80 {
			t.Errorf("%s is granted: %v", filter, token.Result())
		}
	}
	d := h.mustConnect(t, connection{id: "dev1"})
	if token := d.Subscribe("events/#", 0, nil).(*mqtt.SubscribeToken); !token.WaitTimeout(patience) || token.Result()["events/#"] != 0x80 {
		t.Error("a device hears of others")
	}
	good.Store(false)
	a.expectLost(t)
}

// TestSubscriberShare: nobody takes the places of all, nor has the hub remember more than a share.
func TestSubscriberShare(t *testing.T) {
	t.Parallel()
	s := openStore(t, t.TempDir())
	h := startWith(t, s, hub.Config{Reader: func(context.Context, string) (string, error) { return "ann", nil }})
	ann := func(i int, keep bool) connection {
		return connection{clientID: fmt.Sprint(i), username: "events", password: "ann's", keepSession: keep}
	}
	var all []*device
	for i := range 32 {
		all = append(all, h.mustConnect(t, ann(i, false)))
	}
	if _, err := h.connect(t, ann(32, false)); err == nil {
		t.Error("one user has too many")
	}
	h.application(t, "other", "events", false)
	for _, a := range all {
		a.Disconnect(0)
	}
	for i := range 100 {
		eventually(t, "there is a place again", func() bool {
			a, err := h.connect(t, ann(i, true))
			if err == nil {
				a.listen(t, 1, "events/#")
				a.Disconnect(0)
			}
			return err == nil
		})
	}
	kept := func() (n int) {
		for _, err := range s.Documents(t.Context(), "subscribers", "user ann") {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	eventually(t, "some are remembered, and about a share", func() bool { n := kept(); return n > 50 && n < 80 })
}

// TestSubscriberSlow: an application that acknowledges nothing is told no more than it can be, and holds up nobody.
func TestSubscriberSlow(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	d := h.mustConnect(t, connection{id: "dev1"})
	slow := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("mqtt://" + h.MQTTAddr()).SetClientID("slow").SetUsername("events").
		SetPassword(h.serviceToken(t, hub.PolicyService)).SetProtocolVersion(4).SetAutoReconnect(false).SetAutoAckDisabled(true))
	if token := slow.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	defer slow.Disconnect(0)
	var told []mqtt.Message
	heard := make(chan mqtt.Message, 1000)
	if token := slow.Subscribe("events/#", 1, func(_ mqtt.Client, m mqtt.Message) { heard <- m }); !token.WaitTimeout(patience) {
		t.Fatal("no SUBACK")
	}
	fast := h.application(t, "fast", "events", false)
	fast.listen(t, 1, "events/dev1/telemetry")
	const n = 150
	for i := range n {
		d.publish(t, iothub.TopicTelemetry("dev1"), 1, fmt.Sprint(i))
		fast.event(t)
	}
	for len(told) < 64 {
		told = append(told, <-heard)
	}
	if len(heard) > 0 {
		t.Error("more than 64 events are on the way")
	}
	slices.Reverse(told) // acknowledgements may come in any order
	for len(told) < n {
		for _, m := range told[:min(64, len(told))] {
			m.Ack()
		}
		m := <-heard
		told = append([]mqtt.Message{m}, told...)
		m.Ack()
	}
}
