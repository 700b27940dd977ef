package hub_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// send puts a message into a device's queue, and answers the status.
func (r *running) send(t *testing.T, path string, headers map[string]string, body string) (int, string) {
	t.Helper()
	return r.restWith(t, hub.PolicyService, "POST", path+"/messages/deviceBound?api-version=2021-04-12", headers, body)
}

func (r *running) mustSend(t *testing.T, headers map[string]string, body string) {
	t.Helper()
	if status, answer := r.send(t, "/devices/dev1", headers, body); status != http.StatusCreated {
		t.Fatal(status, answer)
	}
}

// message waits for one, and answers its properties.
func (d *device) message(t *testing.T) (properties map[string]string, payload string) {
	t.Helper()
	topic, payload := d.receive(t)
	bag, ok := strings.CutPrefix(topic, "devices/"+strings.Replace(d.id, "/", "/modules/", 1)+"/messages/devicebound/")
	if !ok {
		t.Fatalf("no message: %s", topic)
	}
	values, err := url.ParseQuery(bag)
	if err != nil {
		t.Fatal(err)
	}
	properties = map[string]string{}
	for name := range values {
		properties[name] = values.Get(name)
	}
	return properties, payload
}

func (r *running) queued(t *testing.T, id string) int {
	t.Helper()
	d, err := r.owner.Device(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return d.CloudToDeviceMessageCount
}

// TestMessages: messages wait for a device that is away, come in order with their properties, and are gone when the
// device has acknowledged them.
func TestMessages(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	h.create(t, "dev2")
	expiry := time.Now().Add(2 * time.Hour).UTC().Format(time.RFC3339)
	h.mustSend(t, map[string]string{
		"iothub-messageid": "m 1", "iothub-correlationid": "c&1", "iothub-app-colour": "röt+", "iothub-expiry": expiry, "iothub-ack": "full",
	}, "first")
	for i := range 19 { // more than fly at once
		h.mustSend(t, nil, fmt.Sprint(i))
	}
	if n := h.queued(t, "dev1"); n != 20 {
		t.Error(n)
	}
	d, other := h.mustConnect(t, connection{id: "dev1", keepSession: true}), h.mustConnect(t, connection{id: "dev2"})
	other.subscribe(t, iothub.TopicCommands("dev2"))
	if token := d.Subscribe(iothub.TopicCommands("dev1"), 1, nil); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	properties, payload := d.message(t)
	want := map[string]string{
		"$.mid": "m 1", "$.cid": "c&1", "colour": "röt+", "$.exp": expiry, "iothub-ack": "full", "$.to": "/devices/dev1/messages/devicebound",
	}
	if diff := cmp.Diff(want, properties); diff != "" || payload != "first" {
		t.Error(payload, diff)
	}
	for i := range 19 {
		if _, payload := d.message(t); payload != fmt.Sprint(i) {
			t.Errorf("got %s, want %d", payload, i)
		}
	}
	eventually(t, "the queue is empty", func() bool { return h.queued(t, "dev1") == 0 })
	h.mustSend(t, nil, "while it is connected")
	if _, payload := d.message(t); payload != "while it is connected" {
		t.Error(payload)
	}
	eventually(t, "it is acknowledged", func() bool { return h.queued(t, "dev1") == 0 })
	d.Disconnect(0)
	h.mustSend(t, nil, "while it is away")
	d = h.mustConnect(t, connection{id: "dev1", keepSession: true}) // its subscription has survived
	if _, payload := d.message(t); payload != "while it is away" {
		t.Error(payload)
	}
	eventually(t, "the queue is empty", func() bool { return h.queued(t, "dev1") == 0 })
	select {
	case m := <-other.messages:
		t.Error("another device's message:", m.Topic())
	default:
	}
}

// TestMessagesAtMostOnce: whoever subscribes with QoS 0 does not acknowledge.
func TestMessagesAtMostOnce(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	h.mustSend(t, map[string]string{"iothub-ack": "positive"}, "x")
	d := h.mustConnect(t, connection{id: "dev1"})
	d.subscribe(t, iothub.TopicCommands("dev1"))
	d.message(t)
	eventually(t, "the queue is empty", func() bool { return h.queued(t, "dev1") == 0 })
}

// raw is a device that does only what it is told to.
type raw struct {
	net.Conn
	t *testing.T
}

func (r *running) raw(t *testing.T, id string) raw {
	t.Helper()
	d := r.dial(t)
	connect := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	connect.ProtocolName, connect.ProtocolVersion = "MQTT", 4
	connect.ClientIdentifier, connect.UsernameFlag, connect.PasswordFlag = id, true, true
	connect.Username, connect.Password = iothub.Username("h", id), []byte(r.gatewayToken(t))
	subscribe := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	subscribe.MessageID, subscribe.Topics, subscribe.Qoss = 1, []string{iothub.TopicCommands(id)}, []byte{1}
	d.send(connect)
	if answer := d.read().(*packets.ConnackPacket); answer.ReturnCode != 0 {
		t.Fatal(answer)
	}
	d.send(subscribe)
	return d
}

// dial opens a connection on which nothing was said.
func (r *running) dial(t *testing.T) raw {
	t.Helper()
	conn, err := net.Dial("tcp", r.MQTTAddr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	return raw{conn, t}
}

func (r raw) send(p packets.ControlPacket) {
	r.t.Helper()
	if err := p.Write(r); err != nil {
		r.t.Fatal(err)
	}
}

func (r raw) read() packets.ControlPacket {
	r.t.Helper()
	p, err := packets.ReadPacket(r)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

// published skips what is no PUBLISH.
func (r raw) published() *packets.PublishPacket {
	r.t.Helper()
	for {
		if p, ok := r.read().(*packets.PublishPacket); ok {
			return p
		}
	}
}

// TestUnacknowledgedMessages come again with the same packet id, and ten times at most; their sender hears of it.
func TestUnacknowledgedMessages(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	h.mustSend(t, map[string]string{"iothub-messageid": "poison", "iothub-ack": "negative"}, "poison")
	var id uint16
	for i := range 10 {
		d := h.raw(t, "dev1")
		p := d.published()
		if string(p.Payload) != "poison" || p.Qos != 1 || p.Dup != (i > 0) || i > 0 && p.MessageID != id {
			t.Fatalf("delivery %d: %v", i, p)
		}
		id = p.MessageID
		d.Close()
		eventually(t, "it is gone", func() bool {
			known, err := h.owner.Device(t.Context(), "dev1")
			return err == nil && known.ConnectionState == "Disconnected"
		})
	}
	h.mustSend(t, map[string]string{"iothub-messageid": "good", "iothub-ack": "full"}, "good")
	d := h.raw(t, "dev1")
	p := d.published()
	if string(p.Payload) != "good" {
		t.Fatal(p)
	}
	ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
	ack.MessageID = p.MessageID
	d.send(ack)
	ack.MessageID = 7777 // of nothing: it is ignored
	d.send(ack)
	eventually(t, "the queue is empty", func() bool { return h.queued(t, "dev1") == 0 })

	for range 2 { // abandoned, it comes again
		ends, token := h.feedback(t, 2)
		if diff := cmp.Diff(map[string]string{"poison": "DeliveryCountExceeded", "good": "Success"}, ends); diff != "" {
			t.Error(diff)
		}
		if status, body := h.rest(t, hub.PolicyService, "POST", "/messages/serviceBound/feedback/"+token+"/abandon", "", ""); status != 204 {
			t.Error(status, body)
		}
	}
	_, token := h.feedback(t, 2)
	if status, body := h.rest(t, hub.PolicyService, "DELETE", "/messages/serviceBound/feedback/"+token, "", ""); status != 204 {
		t.Error(status, body)
	}
	if status, body := h.rest(t, hub.PolicyService, "GET", "/messages/serviceBound/feedback", "", ""); status != 204 {
		t.Error(status, body)
	}
	for _, bad := range []string{"x", "JEpTLkFQSS4+"} {
		if status, _ := h.rest(t, hub.PolicyService, "DELETE", "/messages/serviceBound/feedback/"+bad, "", ""); status != 400 {
			t.Error(bad, status)
		}
	}
}

// feedback reads the ends of n messages by their ids.
func (r *running) feedback(t *testing.T, n int) (ends map[string]string, token string) {
	t.Helper()
	ends = map[string]string{}
	eventually(t, "there is feedback", func() bool {
		status, body, header := r.exchange(t, hub.PolicyService, "GET", "/messages/serviceBound/feedback", nil, "")
		if status != 200 {
			return false
		}
		var list []struct{ OriginalMessageID, DeviceID, StatusCode string }
		if err := json.Unmarshal([]byte(body), &list); err != nil || len(list) != n || list[0].DeviceID != "dev1" {
			t.Fatal(body, err)
		}
		for _, end := range list {
			ends[end.OriginalMessageID] = end.StatusCode
		}
		token = strings.Trim(header.Get("ETag"), `"`)
		return true
	})
	return ends, token
}

// TestQueueIsBounded: fifty messages wait for a device; what has expired takes no place and is told of.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	h.create(t, "dev2")
	soon := time.Now().Add(2 * time.Second)
	h.mustSend(t, map[string]string{"iothub-messageid": "short", "iothub-expiry": soon.UTC().Format(time.RFC3339), "iothub-ack": "full"}, "x")
	for i := range 49 {
		h.mustSend(t, nil, fmt.Sprint(i))
	}
	eventually(t, "what has expired makes room", func() bool {
		status, body := h.send(t, "/devices/dev1", nil, "last")
		if status != 201 && (status != 403 || !strings.Contains(body, "ErrorCode:DeviceMaximumQueueDepthExceeded;")) {
			t.Fatal(status, body)
		}
		return status == 201
	})
	if ends, _ := h.feedback(t, 1); ends["short"] != "Expired" {
		t.Error(ends)
	}
	if status, body := h.send(t, "/devices/dev2", nil, "x"); status != 201 {
		t.Error("another device's queue is full", status, body)
	}
	if status, body := h.rest(t, hub.PolicyService, "DELETE", "/devices/dev1/commands", "", ""); status != 200 || !strings.Contains(body, `"totalMessagesPurged":50`) {
		t.Error(status, body)
	}
	if n := h.queued(t, "dev1"); n != 0 {
		t.Error(n)
	}
	h.mustSend(t, nil, "of the old device")
	if err := h.owner.DeleteDevice(t.Context(), "dev1"); err != nil {
		t.Fatal(err)
	}
	h.create(t, "dev1")
	if n := h.queued(t, "dev1"); n != 0 {
		t.Error("messages outlive their device")
	}
}

func TestBadMessages(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	late := time.Now().Add(72 * time.Hour).Format(time.RFC3339)
	for name, test := range map[string]struct {
		path    string
		headers map[string]string
		size    int
		status  int
	}{
		"no device":      {"/devices/dev9", nil, 1, 404},
		"no module":      {"/devices/dev1/modules/m", nil, 1, 404},
		"too large":      {"/devices/dev1", nil, 64<<10 + 1, 413},
		"ack":            {"/devices/dev1", map[string]string{"iothub-ack": "maybe"}, 1, 400},
		"expiry":         {"/devices/dev1", map[string]string{"iothub-expiry": "soon"}, 1, 400},
		"late":           {"/devices/dev1", map[string]string{"iothub-expiry": late}, 1, 400},
		"over":           {"/devices/dev1", map[string]string{"iothub-expiry": "2020-01-01T00:00:00Z"}, 1, 400},
		"unknown header": {"/devices/dev1", map[string]string{"iothub-x": "y"}, 1, 400},
	} {
		if status, body := h.send(t, test.path, test.headers, strings.Repeat("x", test.size)); status != test.status {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, _ := h.rest(t, hub.PolicyRegistryRead, "POST", "/devices/dev1/messages/deviceBound", "", "x"); status != 401 {
		t.Error(status)
	}
}

// TestModules: a module has an identity, keys, a twin and messages of its own, and goes with its device.
func TestModules(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	const path = "/devices/dev1/modules/mod"
	if status, body := h.rest(t, hub.PolicyOwner, "PUT", path, "", `{}`); status != 404 {
		t.Error("a module without a device", status, body)
	}
	device := h.create(t, "dev1").Authentication.SymmetricKey.PrimaryKey
	status, body := h.rest(t, hub.PolicyOwner, "PUT", path, "", `{"deviceId":"dev1","moduleId":"mod","authentication":{"type":"sas"}}`)
	var module iothub.Device
	if err := json.Unmarshal([]byte(body), &module); err != nil || status != 200 || module.ModuleID != "mod" || module.DeviceID != "dev1" {
		t.Fatal(status, body, err)
	}
	if status, body := h.rest(t, hub.PolicyOwner, "PUT", path, "", `{}`); status != 409 || !strings.Contains(body, "ErrorCode:ModuleAlreadyExistsOnDevice;") {
		t.Error(status, body)
	}
	for path, count := range map[string]int{"/devices": 1, "/devices/dev1/modules": 1} {
		if status, body := h.rest(t, hub.PolicyOwner, "GET", path, "", ""); status != 200 || strings.Count(body, `"deviceId"`) != count {
			t.Error(path, status, body)
		}
	}
	if _, err := h.connect(t, connection{id: "dev1/mod", password: sign(t, "h/devices/dev1/modules/mod", device, "", time.Hour)}); err == nil {
		t.Error("the device's key is the module's")
	}
	d := h.mustConnect(t, connection{id: "dev1/mod", password: sign(t, "h/devices/dev1/modules/mod", module.Authentication.SymmetricKey.PrimaryKey, "", time.Hour)})
	events := h.follow(t, "dev1", "mod")
	d.subscribe(t, iothub.TopicTwinResponses, iothub.TopicDesired, iothub.TopicMethods, "devices/dev1/modules/mod/messages/devicebound/#")
	d.publish(t, iothub.TopicReported+"1", 0, `{"a":1}`)
	d.expect(t, responses+"204/?$rid=1&$version=2", "")
	d.publish(t, "devices/dev1/modules/mod/messages/events/%24.ct=text%2Fplain&k=v", 1, "hello")
	if status, body := h.rest(t, hub.PolicyService, "PATCH", "/twins/dev1/modules/mod", "", `{"properties":{"desired":{"b":2}}}`); status != 200 || !strings.Contains(body, `"moduleId":"mod"`) {
		t.Error(status, body)
	}
	d.expect(t, "$iothub/twin/PATCH/properties/desired/?$version=2", `{"b":2,"$version":2}`)
	if twin, err := h.owner.Twin(t.Context(), "dev1"); err != nil || twin.Version != 1 {
		t.Error("the device's twin has changed", twin, err)
	}
	called := make(chan string)
	go func() {
		_, body := h.rest(t, hub.PolicyService, "POST", "/twins/dev1/modules/mod/methods", "", `{"methodName":"m"}`)
		called <- body
	}()
	_, rid, _ := d.method(t)
	d.answer(t, 200, rid, `"done"`)
	if body := <-called; !strings.Contains(body, `"done"`) {
		t.Error(body)
	}
	if status, body := h.send(t, path, nil, "to the module"); status != 201 {
		t.Error(status, body)
	}
	if properties, payload := d.message(t); payload != "to the module" || properties["$.to"] != "/devices/dev1/modules/mod/messages/devicebound" {
		t.Error(payload, properties)
	}
	for event := range events {
		if event.Type != iothub.EventTelemetry {
			continue
		}
		var body iothub.Telemetry
		if err := json.Unmarshal(event.Body, &body); err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(body.SystemProperties, func(name, _ string) bool {
			return name == "iothub-enqueuedtime" || name == "iothub-connection-auth-generation-id"
		})
		want := iothub.Telemetry{Properties: map[string]string{"k": "v"}, Payload: []byte("hello"), SystemProperties: map[string]string{
			"content-type": "text/plain", "iothub-connection-device-id": "dev1", "iothub-connection-module-id": "mod",
			"iothub-connection-auth-method": `{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`,
		}}
		if diff := cmp.Diff(want, body); diff != "" || event.Device != "dev1" || event.Module != "mod" {
			t.Error(event, diff)
		}
		break
	}
	if err := h.owner.DeleteDevice(t.Context(), "dev1"); err != nil {
		t.Fatal(err)
	}
	d.expectLost(t)
	if status, body := h.rest(t, hub.PolicyService, "GET", "/twins/dev1/modules/mod", "", ""); status != 404 || !strings.Contains(body, "ErrorCode:ModuleNotFound;") {
		t.Error(status, body)
	}
}

// TestBulk changes many devices at once, each by itself.
func TestBulk(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	post := func(body string) (int, string) {
		return h.rest(t, hub.PolicyOwner, "POST", "/devices?api-version=1", "", body)
	}
	status, body := post(`[{"id":"a","importMode":"create","status":"enabled","tags":{"x":1},"properties":{"desired":{"y":2}}},
		{"id":"b","importMode":"createOrUpdate"},{"id":"b","moduleId":"m","importMode":"Create"}]`)
	if status != 200 || !strings.Contains(body, `"isSuccessful":true`) {
		t.Error(status, body)
	}
	if twin, err := h.owner.Twin(t.Context(), "a"); err != nil || twin.Tags["x"] != 1.0 || twin.Properties.Desired["y"] != 2.0 {
		t.Error(twin, err)
	}
	status, body = post(`[{"id":"a","importMode":"Update","status":"disabled"},{"id":"b","importMode":"UpdateIfMatchETag","eTag":"old"},
		{"id":"b","moduleId":"m","importMode":"updateTwin","tags":{"z":3}},{"id":"a","importMode":"create"},{"id":"x","importMode":"delete"},{"id":"y","importMode":"what"}]`)
	if status != 400 || !strings.Contains(body, `"isSuccessful":false`) {
		t.Error(status, body)
	}
	for _, code := range []string{"PreconditionFailed", "DeviceAlreadyExists", "DeviceNotFound", "ArgumentInvalid"} {
		if strings.Count(body, code) != 1 {
			t.Errorf("%s in %s", code, body)
		}
	}
	if d, err := h.owner.Device(t.Context(), "a"); err != nil || d.Status != "disabled" {
		t.Error(d, err)
	}
	if status, body := post(`[{"id":"a","importMode":"Delete"},{"id":"b","importMode":"deleteIfMatchETag","eTag":"MQ=="}]`); status != 200 {
		t.Error(status, body)
	}
	if status, _ := h.rest(t, hub.PolicyOwner, "GET", "/devices/b/modules/m", "", ""); status != 404 {
		t.Error(status)
	}
	many := strings.Repeat(`{"id":"a","importMode":"create"},`, 100) + `{"id":"b"}`
	if status, _ := post("[" + many + "]"); status != 400 {
		t.Error(status)
	}
}
