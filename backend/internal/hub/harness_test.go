package hub_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"go.uber.org/goleak"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/backend/internal/store"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 2 * time.Minute

// running is a hub on its own store, with a client of the owner's policy.
type running struct {
	*hub.Hub
	owner *iothub.Client
	stop  func() // idempotent
}

func openStore(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Dir: dir, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func start(t *testing.T, dir string) *running {
	t.Helper()
	return startWith(t, openStore(t, dir), hub.Config{})
}

// startWith starts a hub on a store that is open; its addresses are free ones unless they are given.
func startWith(t *testing.T, s *store.Store, cfg hub.Config) *running {
	t.Helper()
	cfg.MQTT, cfg.HTTP = cmp.Or(cfg.MQTT, "127.0.0.1:0"), cmp.Or(cfg.HTTP, "127.0.0.1:0")
	cfg.Log = cmp.Or(cfg.Log, slog.New(slog.NewTextHandler(t.Output(), nil)))
	h, err := hub.New(cfg, s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := h.Serve(ctx); err != nil {
			t.Error(err)
		}
	}()
	r := &running{Hub: h, stop: func() {
		cancel()
		<-served
		s.Close()
	}}
	t.Cleanup(r.stop)
	r.owner = r.client(t, hub.PolicyOwner)
	return r
}

func (r *running) client(t *testing.T, policy string) *iothub.Client {
	t.Helper()
	cs, err := r.ConnectionString(policy)
	if err != nil {
		t.Fatal(err)
	}
	return iothub.NewClient(cs)
}

func (r *running) create(t *testing.T, id string) *iothub.Device {
	t.Helper()
	d, err := r.owner.CreateDevice(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// device is one MQTT client of the hub.
type device struct {
	mqtt.Client
	id       string
	messages chan mqtt.Message
	lost     chan error
}

// connection is what a device connects with; the zero values are good ones.
type connection struct {
	id, clientID, username, password string
	keepSession                      bool
	keepAlive                        time.Duration
	url                              string      // another than mqtt://
	tls                              *tls.Config // what to trust, and to show instead of a password
}

func (r *running) connect(t *testing.T, c connection) (*device, error) {
	t.Helper()
	d := &device{id: c.id, messages: make(chan mqtt.Message, 100), lost: make(chan error, 1)}
	if c.clientID == "" {
		c.clientID = c.id
	}
	if c.username == "" {
		c.username = iothub.Username(r.MQTTAddr(), c.id)
	}
	if c.password == "" && (c.tls == nil || c.tls.Certificates == nil) {
		c.password = r.gatewayToken(t)
	}
	d.Client = mqtt.NewClient(mqtt.NewClientOptions().
		AddBroker(cmp.Or(c.url, "mqtt://"+r.MQTTAddr())).SetTLSConfig(c.tls).
		SetClientID(c.clientID).SetUsername(c.username).SetPassword(c.password).
		SetCleanSession(!c.keepSession).SetProtocolVersion(4).SetAutoReconnect(false).SetKeepAlive(c.keepAlive).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { d.messages <- m }).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { d.lost <- err }))
	token := d.Connect()
	if !token.WaitTimeout(patience) {
		t.Fatal("no CONNACK")
	}
	t.Cleanup(func() { d.Disconnect(0) })
	return d, token.Error()
}

func (r *running) gatewayToken(t *testing.T) string {
	t.Helper()
	cs, err := r.ConnectionString(hub.PolicyDevice)
	if err != nil {
		t.Fatal(err)
	}
	token, err := cs.DeviceToken(time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (r *running) mustConnect(t *testing.T, c connection) *device {
	t.Helper()
	d, err := r.connect(t, c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *device) subscribe(t *testing.T, filters ...string) {
	t.Helper()
	for _, filter := range filters {
		token := d.Subscribe(filter, 0, nil)
		if !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatalf("cannot subscribe to %s: %v", filter, token.Error())
		}
	}
}

func (d *device) publish(t *testing.T, topic string, qos byte, payload string) {
	t.Helper()
	token := d.Publish(topic, qos, false, payload)
	if !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatalf("cannot publish to %s: %v", topic, token.Error())
	}
}

// receive waits for the next message.
func (d *device) receive(t *testing.T) (topic, payload string) {
	t.Helper()
	select {
	case m := <-d.messages:
		return m.Topic(), string(m.Payload())
	case <-time.After(patience):
		t.Fatal("no message")
		return "", ""
	}
}

func (d *device) expect(t *testing.T, topic, payload string) {
	t.Helper()
	gotTopic, gotPayload := d.receive(t)
	if gotTopic != topic || !sameJSON(gotPayload, payload) {
		t.Fatalf("got  %s %s\nwant %s %s", gotTopic, gotPayload, topic, payload)
	}
}

func sameJSON(a, b string) bool {
	normal := func(text string) string {
		var value any
		if json.Unmarshal([]byte(text), &value) != nil {
			return text
		}
		normal, _ := json.Marshal(value)
		return string(normal)
	}
	return strings.TrimSpace(normal(a)) == strings.TrimSpace(normal(b))
}

func (d *device) expectLost(t *testing.T) {
	t.Helper()
	select {
	case <-d.lost:
	case <-time.After(patience):
		t.Fatal("the connection is still there")
	}
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
