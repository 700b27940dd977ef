package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

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

	closed chan struct{}

	mu      sync.Mutex
	ready   chan struct{} // closed while the connection stands and answers are subscribed to
	offered bool          // methods are taken
	reason  string        // why there is no connection, the last time
	lastID  int
	waiting map[string]chan answer // by request id
}

// callbacks must not block.
type callbacks struct {
	up      func()               // the connection stands and is subscribed, each time anew
	lost    func() time.Duration // it is lost; says when to make it again
	refused func()               // the hub does not know the device, each time that it is asked
	desired func()               // a patch of the desired properties has arrived
	method  func(invocation)     // so has a direct method
}

type answer struct {
	status int // 0 if there will be none: the connection is lost
	body   []byte
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
	if isClosed(l.ready) {
		l.ready = make(chan struct{})
	}
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

// send gives messages to the hub, and returns those that it has not taken on this
// connection.
func (l *twinLink) send(ctx context.Context, all []packet) (left []packet) {
	tokens := make([]mqtt.Token, len(all))
	for i, p := range all {
		tokens[i] = l.client.Publish(iothub.TopicTelemetry(l.device)+p.bag, 1, false, p.body)
	}
	for i, t := range tokens {
		select {
		case <-t.Done():
		case <-ctx.Done():
		}
		if !isClosed(t.Done()) || t.Error() != nil {
			left = append(left, all[i])
		}
	}
	return left
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
