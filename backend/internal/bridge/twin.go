package bridge

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// A twinLink is one device's MQTT connection to the hub, as Azure's SDKs make
// it: it asks for the twin, patches reported properties, and hears of desired
// ones and of direct methods.
type twinLink struct {
	client mqtt.Client
	device string
	log    *slog.Logger
	callbacks

	telling sync.Mutex
	told    bool // the hub lets methods through, on this connection; guarded by telling

	mu      sync.Mutex
	ready   bool   // answers are subscribed to
	offered bool   // methods are taken
	reason  string // why there is no connection, the last time
	lastID  int
	waiting map[string]chan answer // by request id
}

// callbacks must not block.
type callbacks struct {
	up      func()           // the connection stands and is subscribed, each time anew
	desired func()           // a patch of the desired properties has arrived
	method  func(invocation) // so has a direct method
}

type answer struct {
	status int // 0 if there will be none: the connection is lost
	body   []byte
}

// Times of a twin connection.
const (
	tokenLife      = time.Hour
	keepAlive      = 3 * time.Minute
	requestTimeout = 20 * time.Second
	maxPause       = 30 * time.Second
	firstPause     = 10 * time.Second // most often the device is not in the registry
)

// errDown says that the connection is being made again.
var errDown = errors.New("no connection to the hub")

// dial begins to connect, and goes on until close.
func dial(hub iothub.ConnectionString, device string, on callbacks, log *slog.Logger) *twinLink {
	l := &twinLink{device: device, log: log, callbacks: on, waiting: map[string]chan answer{}}
	o := mqtt.NewClientOptions().AddBroker(hub.MQTTURL()).SetClientID(device).
		SetProtocolVersion(4).SetCleanSession(true).SetKeepAlive(keepAlive).
		SetConnectRetry(true).SetConnectRetryInterval(firstPause).SetMaxReconnectInterval(maxPause).
		SetTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12}).SetOrderMatters(true)
	o.SetCredentialsProvider(func() (string, string) {
		token, err := hub.DeviceToken(time.Now().Add(tokenLife))
		if err != nil {
			log.Error("cannot sign token", "error", err) // the key was checked when it was read
		}
		return iothub.Username(hub.HostName, device), token
	})
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { l.receive(m) })
	o.SetOnConnectHandler(func(mqtt.Client) { go l.subscribe() })
	o.SetConnectionNotificationHandler(func(_ mqtt.Client, n mqtt.ConnectionNotification) {
		if failed, is := n.(mqtt.ConnectionNotificationFailed); is {
			l.failed(device, failed.Reason)
		}
	})
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) {
		log.Warn("hub connection lost", "error", err)
		l.abandon()
		l.subscribe() // if it stands again already
	})
	l.client = mqtt.NewClient(o)
	l.client.Connect() // retries by itself
	return l
}

// failed says, once for each reason, why there is no connection. It is tried
// again for ever: a device may be registered after its agent has started.
func (l *twinLink) failed(device string, err error) {
	l.mu.Lock()
	old := l.reason
	l.reason = err.Error()
	l.mu.Unlock()
	if old == err.Error() {
		return
	}
	hint := "is the hub there?"
	if errors.Is(err, packets.ErrorRefusedNotAuthorised) {
		hint = "register the device, it is let in within half a minute then: tranquil device create " + device
	}
	l.log.Warn("the hub does not take the device, trying again", "error", err, "hint", hint)
}

func (l *twinLink) close() { l.client.Disconnect(250) }

// subscribe goes on until it has succeeded or the connection is lost.
func (l *twinLink) subscribe() {
	l.telling.Lock()
	l.told = false
	l.telling.Unlock()
	for ; l.client.IsConnectionOpen(); time.Sleep(time.Second) {
		t := l.client.SubscribeMultiple(map[string]byte{iothub.TopicTwinResponses: 0, iothub.TopicDesired: 0}, nil)
		if !t.WaitTimeout(requestTimeout) || t.Error() != nil {
			l.log.Warn("cannot subscribe to the twin", "error", t.Error())
			continue
		}
		l.mu.Lock()
		l.ready = true
		l.mu.Unlock()
		l.tellOffer()
		l.up()
		return
	}
}

// receive sorts what the hub publishes.
func (l *twinLink) receive(m mqtt.Message) {
	status, id, ok := parseResponse(m.Topic())
	if !ok {
		if strings.HasPrefix(m.Topic(), strings.TrimSuffix(iothub.TopicDesired, "#")) {
			l.desired()
		}
		if call, ok := parseInvocation(m.Topic()); ok {
			call.payload = m.Payload()
			l.method(call)
		}
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.waiting[id]; c != nil {
		delete(l.waiting, id)
		c <- answer{status, m.Payload()}
	}
}

// abandon ends the requests whose answers the lost connection would have
// brought.
func (l *twinLink) abandon() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ready = false
	for _, c := range l.waiting {
		c <- answer{}
	}
	clear(l.waiting)
}

// parseResponse reads `$iothub/twin/res/{status}/?$rid={rid}[&…]`.
func parseResponse(topic string) (status int, id string, ok bool) {
	rest, ok := strings.CutPrefix(topic, strings.TrimSuffix(iothub.TopicTwinResponses, "#"))
	if !ok {
		return 0, "", false
	}
	code, query, ok := strings.Cut(rest, "/?")
	if !ok {
		return 0, "", false
	}
	status, err := strconv.Atoi(code)
	values, err2 := url.ParseQuery(query)
	return status, values.Get("$rid"), err == nil && err2 == nil
}

// stands tells whether something can be asked of the hub now.
func (l *twinLink) stands() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ready && l.client.IsConnectionOpen()
}

// send begins to send a message with its properties; wait returns when the hub has
// it.
func (l *twinLink) send(bag string, body []byte) (wait func(context.Context) error, err error) {
	if !l.stands() {
		return nil, errDown
	}
	t := l.client.Publish(iothub.TopicTelemetry(l.device)+bag, 1, false, body)
	return func(ctx context.Context) error {
		select {
		case <-t.Done():
			return t.Error()
		case <-ctx.Done():
			return fmt.Errorf("the hub has not taken a message: %w", ctx.Err())
		}
	}, nil
}

// request publishes to a twin topic and waits for the answer.
func (l *twinLink) request(ctx context.Context, topic string, payload []byte) ([]byte, error) {
	c := make(chan answer, 1)
	l.mu.Lock()
	l.lastID++
	id := strconv.Itoa(l.lastID)
	l.waiting[id] = c
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.waiting, id)
		l.mu.Unlock()
	}()
	if !l.stands() {
		return nil, errDown
	}
	l.client.Publish(topic+id, 0, false, payload)
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	select {
	case a := <-c:
		if a.status == 0 {
			return nil, errDown
		}
		if a.status/100 != 2 {
			return nil, refusal(a)
		}
		return a.body, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("the hub did not answer: %w", ctx.Err())
	}
}

// A hubError is what the hub refused for good; the same request would be
// refused again.
type hubError struct {
	status int
	text   string
}

func (e hubError) Error() string { return fmt.Sprintf("the hub refused with %d: %s", e.status, e.text) }

func refusal(a answer) error {
	if a.status == 429 || a.status >= 500 {
		return fmt.Errorf("the hub cannot now (%d)", a.status)
	}
	return hubError{a.status, string(a.body)}
}

// get returns the twin's desired and reported properties.
func (l *twinLink) get(ctx context.Context) (desired, reported map[string]any, err error) {
	b, err := l.request(ctx, iothub.TopicTwinGet, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot get twin: %w", err)
	}
	var twin struct{ Desired, Reported map[string]any }
	if err := json.Unmarshal(b, &twin); err != nil {
		return nil, nil, fmt.Errorf("cannot read twin: %w", err)
	}
	return twin.Desired, twin.Reported, nil
}

// report patches the reported properties.
func (l *twinLink) report(ctx context.Context, patch map[string]any) error {
	b, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	if _, err = l.request(ctx, iothub.TopicReported, b); err != nil {
		return fmt.Errorf("cannot report: %w", err)
	}
	return nil
}
