package hub_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

const responses = "$iothub/twin/res/"

func sign(t *testing.T, resource, key, policy string, life time.Duration) string {
	t.Helper()
	token, err := iothub.SignToken(resource, key, policy, time.Now().Add(life))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestConnect(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	keys := h.create(t, "dev1").Authentication.SymmetricKey
	h.create(t, "dev2")
	service := h.client(t, hub.PolicyService).ConnectionString.Key
	gateway, err := h.ConnectionString(hub.PolicyDevice)
	if err != nil {
		t.Fatal(err)
	}
	dev1 := "any.host/devices/dev1"
	for _, test := range []struct {
		name string
		with connection
		want error
	}{
		{"primary key", connection{password: sign(t, dev1, keys.PrimaryKey, "", time.Hour)}, nil},
		{"secondary key", connection{password: sign(t, dev1, keys.SecondaryKey, "", time.Hour)}, nil},
		{"gateway's token", connection{}, nil},
		{"old user name", connection{username: "h/dev1/api-version=2016-11-14&DeviceClientType=x%2F1"}, nil},
		{"wrong key", connection{password: sign(t, dev1, service, "", time.Hour)}, packets.ErrorRefusedNotAuthorised},
		{"expired", connection{password: sign(t, dev1, keys.PrimaryKey, "", -time.Minute)}, packets.ErrorRefusedNotAuthorised},
		{"expired secondary", connection{password: sign(t, dev1, keys.SecondaryKey, "", -time.Minute)}, packets.ErrorRefusedNotAuthorised},
		{"no token", connection{password: "secret"}, packets.ErrorRefusedNotAuthorised},
		{"other device's resource", connection{password: sign(t, "h/devices/dev2", keys.PrimaryKey, "", time.Hour)}, packets.ErrorRefusedNotAuthorised},
		{"other device's key", connection{id: "dev2", password: sign(t, "h/devices", keys.PrimaryKey, "", time.Hour)}, packets.ErrorRefusedNotAuthorised},
		{"policy that connects no devices", connection{password: sign(t, "h/devices", service, "service", time.Hour)}, packets.ErrorRefusedNotAuthorised},
		{"gateway's expired token", connection{password: sign(t, "h/devices", gateway.Key, "device", -time.Minute)}, packets.ErrorRefusedNotAuthorised},
		{"unknown device", connection{id: "dev3"}, packets.ErrorRefusedNotAuthorised},
		{"unknown module", connection{id: "dev1/mod"}, packets.ErrorRefusedNotAuthorised},
		{"module by the device's id", connection{username: "h/dev1/mod/?api-version=1"}, packets.ErrorRefusedIDRejected},
		{"other client id", connection{clientID: "dev2"}, packets.ErrorRefusedIDRejected},
		{"bad user name", connection{username: "dev1"}, packets.ErrorRefusedBadUsernameOrPassword},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.with.id == "" {
				test.with.id = "dev1"
			}
			d, err := h.connect(t, test.with)
			if !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			d.Disconnect(0)
		})
	}
}

func TestTwinOfDevice(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	d := h.mustConnect(t, connection{id: "dev1"})
	d.subscribe(t, iothub.TopicTwinResponses)
	d.publish(t, iothub.TopicTwinGet+"1", 0, " ")
	d.expect(t, responses+"200/?$rid=1", `{"desired":{"$version":1},"reported":{"$version":1}}`)

	d.publish(t, iothub.TopicReported+"a-2", 1, `{"x":{"y":1.5},"gone":null}`)
	d.expect(t, responses+"204/?$rid=a-2&$version=2", "")
	d.publish(t, iothub.TopicReported+"3&$version=2", 0, `{"z":[1]}`)
	d.expect(t, responses+"204/?$rid=3&$version=3", "")
	d.publish(t, iothub.TopicTwinGet+"4", 0, "")
	d.expect(t, responses+"200/?$rid=4", `{"desired":{"$version":1},"reported":{"x":{"y":1.5},"z":[1],"$version":3}}`)
}

func TestBadReportsAreRefused(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	d := h.mustConnect(t, connection{id: "dev1"})
	d.subscribe(t, iothub.TopicTwinResponses)
	for _, test := range []struct{ rid, payload, status, code string }{
		{"1", `{"a.b":1}`, "400", `"errorCode":400004`},
		{"2", `{"a":`, "400", `"errorCode":400012`},
		{"3", ``, "400", `"errorCode":400012`},
		{"4&$version=7", `{"a":1}`, "412", `"errorCode":412002`},
		{"5", `{"a":[` + strings.Repeat(`1,`, 5000) + `1]}`, "413", `"errorCode":413001`},
	} {
		d.publish(t, iothub.TopicReported+test.rid, 0, test.payload)
		topic, payload := d.receive(t)
		rid, _, _ := strings.Cut(test.rid, "&")
		if topic != responses+test.status+"/?$rid="+rid || !strings.Contains(payload, test.code) {
			t.Errorf("%s: got %s %s", test.payload, topic, payload)
		}
	}
	d.publish(t, iothub.TopicReported+"9", 0, `{"a":1}`)
	d.expect(t, responses+"204/?$rid=9&$version=2", "")
}

func TestDesiredIsPushed(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	h.create(t, "dev2")
	d, other := h.mustConnect(t, connection{id: "dev1"}), h.mustConnect(t, connection{id: "dev2"})
	d.subscribe(t, iothub.TopicDesired)
	other.subscribe(t, iothub.TopicDesired, iothub.TopicTwinResponses)
	for _, patch := range []iothub.TwinPatch{
		{Tags: map[string]any{"site": "x"}}, // not the device's business
		{Desired: map[string]any{"a": 1, "b": nil}},
		{Desired: map[string]any{"a": 1}}, // the same again: told again
	} {
		if _, err := h.owner.PatchTwin(t.Context(), "dev1", patch, ""); err != nil {
			t.Fatal(err)
		}
	}
	const topic = "$iothub/twin/PATCH/properties/desired/?$version="
	d.expect(t, topic+"2", `{"a":1,"b":null,"$version":2}`)
	d.expect(t, topic+"3", `{"a":1,"$version":3}`)
	other.publish(t, iothub.TopicTwinGet+"1", 0, "")
	other.expect(t, responses+"200/?$rid=1", `{"desired":{"$version":1},"reported":{"$version":1}}`)
}

func TestTakeover(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	first := h.mustConnect(t, connection{id: "dev1"})
	second := h.mustConnect(t, connection{id: "dev1"})
	first.expectLost(t)
	second.subscribe(t, iothub.TopicTwinResponses)
	if d, err := h.owner.Device(t.Context(), "dev1"); err != nil || d.ConnectionState != "Connected" {
		t.Error(d, err)
	}
}

// Node's SDK renews its token by connecting anew, and does not subscribe again.
func TestSubscriptionsSurvive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	h := start(t, dir)
	h.create(t, "dev1")
	d := h.mustConnect(t, connection{id: "dev1", keepSession: true})
	d.subscribe(t, iothub.TopicTwinResponses)
	d.Disconnect(0)
	for range 2 {
		d = h.mustConnect(t, connection{id: "dev1", keepSession: true})
		d.publish(t, iothub.TopicTwinGet+"1", 0, "")
		d.expect(t, responses+"200/?$rid=1", `{"desired":{"$version":1},"reported":{"$version":1}}`)
		h.stop()
		h = start(t, dir)
	}
	clean := h.mustConnect(t, connection{id: "dev1"})
	clean.subscribe(t, iothub.TopicDesired)
	clean.publish(t, iothub.TopicTwinGet+"2", 1, "") // nobody listens: PUBACK only
	if _, err := h.owner.PatchTwin(t.Context(), "dev1", iothub.TwinPatch{Desired: map[string]any{}}, ""); err != nil {
		t.Fatal(err)
	}
	if topic, _ := clean.receive(t); !strings.Contains(topic, "desired") {
		t.Errorf("the clean session has old subscriptions: %s", topic)
	}
}

func TestExpiryEndsTheConnection(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	key := h.create(t, "dev1").Authentication.SymmetricKey.PrimaryKey
	d := h.mustConnect(t, connection{id: "dev1", password: sign(t, "h/devices/dev1", key, "", 3*time.Second)})
	d.expectLost(t)
}

func TestRemovalEndsTheConnection(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	d := h.mustConnect(t, connection{id: "dev1"})
	if err := h.owner.DeleteDevice(t.Context(), "dev1"); err != nil {
		t.Fatal(err)
	}
	d.expectLost(t)
	if _, err := h.connect(t, connection{id: "dev1"}); !errors.Is(err, packets.ErrorRefusedNotAuthorised) {
		t.Error(err)
	}
}

func TestViolationsEndTheConnection(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	for name, publish := range map[string]struct {
		topic string
		qos   byte
		size  int
	}{
		"QoS 2":                    {iothub.TopicTelemetry("dev1"), 2, 1},
		"unknown topic":            {"$iothub/other", 0, 1},
		"other device's telemetry": {iothub.TopicTelemetry("dev2"), 0, 1},
		"own prefix":               {iothub.TopicTelemetry("dev1") + "x/y", 0, 1},
		"large message":            {iothub.TopicTelemetry("dev1"), 0, 256<<10 + 1},
		"larger packet":            {iothub.TopicTelemetry("dev1"), 0, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			d := h.mustConnect(t, connection{id: "dev1"})
			d.Publish(publish.topic, publish.qos, false, bytes.Repeat([]byte("x"), publish.size))
			d.expectLost(t)
		})
	}
}

func TestUnknownSubscriptionIsRefused(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	d := h.mustConnect(t, connection{id: "dev1"})
	d.subscribe(t, iothub.TopicMethods, iothub.TopicCommands("dev1"))
	for _, filter := range []string{"#", "$iothub/#", iothub.TopicCommands("dev2")} {
		token := d.Subscribe(filter, 0, nil).(*mqtt.SubscribeToken)
		if !token.WaitTimeout(patience) || token.Result()[filter] != 0x80 {
			t.Errorf("%s is granted: %v", filter, token.Result())
		}
	}
	if token := d.Unsubscribe(iothub.TopicMethods); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Error(token.Error())
	}
}

// What is no MQTT, or claims to be huge, is cut off without an answer and without harm to others.
func TestGarbage(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	for name, text := range map[string]string{
		"HTTP":                  "GET / HTTP/1.1\r\nHost: x\r\n\r\n" + strings.Repeat("x", 200),
		"endless length":        "\x10\xff\xff\xff\xff\xff",
		"256 MB of CONNECT":     "\x10\xff\xff\xff\x7f",
		"PUBLISH first":         "\x30\x05\x00\x01a12",
		"truncated CONNECT":     "\x10\x04\x00\x04MQ",
		"reserved type":         "\x00\x00",
		"protocol name missing": "\x10\x0c\x00\x04XXTT\x04\x02\x00\x3c\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", h.MQTTAddr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(patience))
			if _, err := io.WriteString(conn, text); err != nil {
				t.Fatal(err)
			}
			var nerr net.Error
			if answer, err := io.ReadAll(conn); len(answer) > 0 || errors.As(err, &nerr) && nerr.Timeout() {
				t.Errorf("answer %x, %v", answer, err)
			}
		})
	}
	h.mustConnect(t, connection{id: "dev1"})
}

// A device that reads nothing is cut off; the hub and other devices go on.
func TestSlowDevice(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "slow")
	conn, err := net.Dial("tcp", h.MQTTAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	connect := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	connect.ProtocolName, connect.ProtocolVersion, connect.CleanSession = "MQTT", 4, true
	connect.ClientIdentifier, connect.UsernameFlag, connect.PasswordFlag = "slow", true, true
	connect.Username, connect.Password = iothub.Username("h", "slow"), []byte(h.gatewayToken(t))
	subscribe := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	subscribe.MessageID, subscribe.Topics, subscribe.Qoss = 1, []string{iothub.TopicDesired}, []byte{0}
	if err := errors.Join(conn.(*net.TCPConn).SetReadBuffer(4096), connect.Write(conn), subscribe.Write(conn)); err != nil {
		t.Fatal(err)
	}
	big := map[string]any{}
	for _, key := range strings.Split("abcdefg", "") {
		big[key] = strings.Repeat("x", 4096)
	}
	eventually(t, "the slow device is cut off", func() bool {
		if _, err := h.owner.PatchTwin(t.Context(), "slow", iothub.TwinPatch{Desired: big}, ""); err != nil {
			t.Fatal(err)
		}
		d, err := h.owner.Device(t.Context(), "slow")
		if err != nil {
			t.Fatal(err)
		}
		return !d.ConnectionStateUpdatedTime.IsZero() && d.ConnectionState == "Disconnected"
	})
}
