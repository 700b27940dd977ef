package hub_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// An outcome is how a call of a method has ended.
type outcome struct {
	*iothub.MethodAnswer
	err error
}

// call calls a method in the background.
func (r *running) call(t *testing.T, id string, m iothub.Method) <-chan outcome {
	t.Helper()
	service := r.client(t, hub.PolicyService)
	ended := make(chan outcome, 1)
	go func() {
		answer, err := service.CallMethod(t.Context(), id, m)
		ended <- outcome{answer, err}
	}()
	return ended
}

// method waits for a method, and answers its name, request id and payload.
func (d *device) method(t *testing.T) (name, rid, payload string) {
	t.Helper()
	topic, payload := d.receive(t)
	name, rid, ok := strings.Cut(strings.TrimPrefix(topic, "$iothub/methods/POST/"), "/?$rid=")
	if !ok || rid == "" {
		t.Fatalf("no method: %s", topic)
	}
	return name, rid, payload
}

func (d *device) answer(t *testing.T, status int, rid, payload string) {
	t.Helper()
	d.publish(t, fmt.Sprintf("%s%d/?$rid=%s", iothub.TopicMethodResponses, status, rid), 0, payload)
}

func number(err error) int {
	e, _ := errors.AsType[*iothub.Error](err)
	if e == nil {
		return 0
	}
	return e.Number
}

// TestMethods has a device asked and answer, in another order than it was asked.
func TestMethods(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	d := h.mustConnect(t, connection{id: "dev1"})
	d.subscribe(t, iothub.TopicMethods)
	first := h.call(t, "dev1", iothub.Method{Name: "blink", Payload: map[string]any{"times": 3}})
	name, firstID, payload := d.method(t)
	if name != "blink" || payload != `{"times":3}` {
		t.Errorf("%s %s", name, payload)
	}
	second := h.call(t, "dev1", iothub.Method{Name: "stop now"})
	name, secondID, payload := d.method(t)
	if name != "stop now" || payload != "null" {
		t.Errorf("%s %s", name, payload)
	}
	d.answer(t, -7, secondID, "")
	if o := <-second; o.err != nil || o.Status != -7 || string(o.Payload) != "null" {
		t.Error(o)
	}
	d.answer(t, 200, firstID, `{"done":true}`)
	if o := <-first; o.err != nil || o.Status != 200 || string(o.Payload) != `{"done":true}` {
		t.Error(o)
	}
	d.answer(t, 200, firstID, `{"done":"again"}`) // nobody waits for it
	third := h.call(t, "dev1", iothub.Method{Name: "third"})
	_, rid, _ := d.method(t)
	d.answer(t, 200, rid, `3`)
	if o := <-third; o.err != nil || string(o.Payload) != "3" {
		t.Error(o)
	}
}

// TestMethodsOfWhoIsAway: not connected, connected without taking methods, and gone before the answer are told apart
// as IoT Hub does.
func TestMethodsOfWhoIsAway(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	status, body := h.rest(t, hub.PolicyService, "POST", "/twins/dev1/methods?api-version=2021-04-12", "", `{"methodName":"m"}`)
	var outer, inner struct {
		Message          string `json:"Message"`
		ExceptionMessage string
		ErrorCode        int `json:"errorCode"`
	}
	if err := errors.Join(json.Unmarshal([]byte(body), &outer), json.Unmarshal([]byte(outer.Message), &inner)); err != nil || status != 404 || inner.ErrorCode != 404103 {
		t.Errorf("%d %s: %v", status, body, err)
	}
	if status, body = h.rest(t, hub.PolicyService, "POST", "/twins/dev2/methods", "", `{"methodName":"m"}`); status != 404 || !strings.Contains(body, "ErrorCode:DeviceNotFound;") {
		t.Error(status, body)
	}
	d := h.mustConnect(t, connection{id: "dev1"})
	d.subscribe(t, iothub.TopicTwinResponses)
	if o := <-h.call(t, "dev1", iothub.Method{Name: "m"}); !iothub.IsNotOnline(o.err) {
		t.Error(o.err)
	}
	waits := h.call(t, "dev1", iothub.Method{Name: "later", ConnectTimeout: 300 * time.Second})
	d.subscribe(t, iothub.TopicMethods)
	name, _, _ := d.method(t)
	if name != "later" {
		t.Error(name)
	}
	d.Disconnect(0)
	if o := <-waits; number(o.err) != 404104 || !iothub.IsNotOnline(o.err) {
		t.Error(o.err)
	}
	waits = h.call(t, "dev1", iothub.Method{Name: "much later", ConnectTimeout: 300 * time.Second})
	d = h.mustConnect(t, connection{id: "dev1"})
	d.subscribe(t, iothub.TopicMethods)
	_, rid, _ := d.method(t)
	d.answer(t, 200, rid, "1")
	if o := <-waits; o.err != nil {
		t.Error(o.err)
	}
}

// TestMethodSubscriptionSurvives: a device that keeps its session takes methods as soon as it is connected again.
func TestMethodSubscriptionSurvives(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	d := h.mustConnect(t, connection{id: "dev1", keepSession: true})
	d.subscribe(t, iothub.TopicMethods)
	d.Disconnect(0)
	eventually(t, "it is gone", func() bool {
		known, err := h.owner.Device(t.Context(), "dev1")
		return err == nil && known.ConnectionState == "Disconnected"
	})
	waits := h.call(t, "dev1", iothub.Method{Name: "m", ConnectTimeout: 300 * time.Second})
	d = h.mustConnect(t, connection{id: "dev1", keepSession: true})
	_, rid, _ := d.method(t)
	d.answer(t, 200, rid, "")
	if o := <-waits; o.err != nil {
		t.Error(o.err)
	}
	token := d.Unsubscribe(iothub.TopicMethods)
	if !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	if o := <-h.call(t, "dev1", iothub.Method{Name: "m"}); !iothub.IsNotOnline(o.err) {
		t.Error(o.err)
	}
}

func TestNoAnswerToAMethod(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	d := h.mustConnect(t, connection{id: "dev1"})
	d.subscribe(t, iothub.TopicMethods)
	slow := h.call(t, "dev1", iothub.Method{Name: "slow", ResponseTimeout: 5 * time.Second})
	_, late, _ := d.method(t)
	for payload, status := range map[string]int{`{"cut`: 502, `"` + strings.Repeat("x", 128<<10) + `"`: 502} {
		bad := h.call(t, "dev1", iothub.Method{Name: "bad"})
		_, rid, _ := d.method(t)
		d.answer(t, 200, rid, payload)
		o := <-bad
		if e, _ := errors.AsType[*iothub.Error](o.err); e == nil || e.Status != status || e.Code != "BadDeviceResponse" {
			t.Error(o.err)
		}
	}
	if o := <-slow; number(o.err) != 504101 {
		t.Error(o.err)
	}
	d.answer(t, 200, late, "")
	var waiting []<-chan outcome
	for range 16 {
		waiting = append(waiting, h.call(t, "dev1", iothub.Method{Name: "many"}))
	}
	var ids []string
	for range waiting {
		_, rid, _ := d.method(t)
		ids = append(ids, rid)
	}
	o := <-h.call(t, "dev1", iothub.Method{Name: "one more"})
	if e, _ := errors.AsType[*iothub.Error](o.err); e == nil || e.Status != 429 {
		t.Error(o.err)
	}
	for _, rid := range ids {
		d.answer(t, 200, rid, "")
	}
	for _, o := range waiting {
		if o := <-o; o.err != nil {
			t.Error(o.err)
		}
	}
}

func TestBadMethods(t *testing.T) {
	t.Parallel()
	h := start(t, t.TempDir())
	h.create(t, "dev1")
	for body, code := range map[string]string{
		`{`:                    "DeserializationError",
		`{}`:                   "ArgumentInvalid",
		`{"methodName":"a/b"}`: "ArgumentInvalid",
		`{"methodName":"a#"}`:  "ArgumentInvalid",
		`{"methodName":"` + strings.Repeat("a", 200) + `"}`:                                 "ArgumentInvalid",
		`{"methodName":"a","responseTimeoutInSeconds":4}`:                                   "ArgumentInvalid",
		`{"methodName":"a","responseTimeoutInSeconds":301}`:                                 "ArgumentInvalid",
		`{"methodName":"a","connectTimeoutInSeconds":-1}`:                                   "ArgumentInvalid",
		`{"methodName":"a","connectTimeoutInSeconds":301}`:                                  "ArgumentInvalid",
		`{"methodName":"a","payload":"` + strings.Repeat("x", 128<<10) + `"}`:               "RequestEntityTooLarge",
		`{"methodName":"a","responseTimeoutInSeconds":null,"connectTimeoutInSeconds":null}`: "404103",
	} {
		if status, answer := h.rest(t, hub.PolicyService, "POST", "/twins/dev1/methods", "", body); status/100 != 4 || !strings.Contains(answer, code) {
			t.Errorf("%.80s: %d %s, want %s", body, status, answer, code)
		}
	}
	if status, _ := h.rest(t, hub.PolicyRegistryRead, "POST", "/twins/dev1/methods", "", `{"methodName":"a"}`); status != 401 {
		t.Error(status)
	}
	d := h.mustConnect(t, connection{id: "dev1"})
	d.Publish(iothub.TopicMethodResponses+"ok/?$rid=1", 0, false, "") // no number: a violation
	d.expectLost(t)
}
