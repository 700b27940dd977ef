package bridge

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// newParts is an object whose instances a server can make.
func newParts() *objects.Instances {
	return objects.NewInstances(lwm2m.Definition{ID: 33001, Name: "Part", Multiple: true, Resources: []lwm2m.Resource{
		{ID: 0, Operations: lwm2m.RW, Kind: lwm2m.KindString},
	}})
}

// call calls a method of a device, which may have to register first.
func (s system) call(t *testing.T, name, payload string) *iothub.MethodAnswer {
	t.Helper()
	m := iothub.Method{Name: name, Payload: json.RawMessage(payload), ConnectTimeout: 60 * time.Second, ResponseTimeout: 60 * time.Second}
	answer, err := s.service.CallMethod(t.Context(), endpoint, m)
	if err != nil {
		t.Fatalf("%s %s: %v", name, payload, err)
	}
	return answer
}

// TestMethods calls each method, by all its names, on objects of which the bridge
// knows nothing.
func TestMethods(t *testing.T) {
	s, _, _, _, _ := start(t)
	for _, test := range []struct {
		name, payload string
		status        int
		answer        string // the whole, or part of it
	}{
		{"read", `{"path": "/33000/0/0"}`, 200, `{"request":"GET /33000/0/0","response":"attic"}`},
		{"LWM2M_GET", `{"deviceId": "device-1", "resourceUri": "/33000/0/1"}`, 200, `{"request":"GET /33000/0/1","response":1}`},
		{"read", `{"path": "33000.0.4"}`, 200, `{"request":"GET /33000/0/4","response":{"/33000/0/4/0":0,"/33000/0/4/1":1}}`},
		{"read", `{"path": "/33000/0/4/1"}`, 200, `"response":1}`},
		{"read", `{"path": "/33000/0"}`, 200, `"/33000/0/0":"attic"`},
		{"read", `{"path": "/33000/0/2"}`, 405, `{"request":"GET /33000/0/2","error":"4.05`},
		{"read", `{"path": "/33000/9/0"}`, 404, `{"request":"GET /33000/9/0","error":"4.04`},
		{"Write", `{"path": "/33000/0/0", "value": "hall"}`, 200, `{"request":"PUT /33000/0/0"}`},
		{"read", `{"path": "/33000/0/0"}`, 200, `"response":"hall"}`},
		{"LWM2M_WRITE", `{"resourceUri": "/33000/0/1", "newValue": 9007199254740993}`, 200, `{"request":"PUT /33000/0/1"}`},
		{"read", `{"path": "/33000/0/1"}`, 200, `"response":9007199254740993}`},
		{"write", `{"path": "/33000/0/1", "value": "nine"}`, 400, `"error":"4.00`},
		{"write", `{"path": "/33000/0/5", "value": "AAEC/w==", "type": "opaque"}`, 200, ``},
		{"read", `{"path": "/33000/0/5"}`, 200, `"response":"AAEC/w=="}`},
		{"write", `{"path": "/33000/0/5", "value": "no base64", "type": "opaque"}`, 400, `cannot read`},
		{"write", `{"path": "/33000/0/6", "value": {"0": 5, "3": 6}}`, 200, ``},
		{"read", `{"path": "/33000/0/6"}`, 200, `"response":{"/33000/0/6/0":5,"/33000/0/6/3":6}`},
		{"write", `{"path": "/33000/0/7", "value": "2026-11-22T08:00:00Z", "type": "time"}`, 200, ``},
		{"write", `{"path": "/33000/0/8", "value": 21.5}`, 200, ``},
		{"write", `{"path": "/33000/0", "value": {"0": "cellar", "1": 7}}`, 200, `{"request":"PUT /33000/0"}`},
		{"read-composite", `{"paths": ["/33000/0/0", "/33000/0/1", "/33000/0/8"]}`, 200, `"response":{"/33000/0/0":"cellar","/33000/0/1":7,"/33000/0/8":21.5}}`},
		{"write-composite", `{"values": {"/33000/0/0": "roof", "/33000/0/1": 8}}`, 200, `{"request":"iPATCH /33000/0/0 /33000/0/1"}`},
		{"read", `{"path": "/33000/0/1"}`, 200, `"response":8}`},
		{"write", `{"path": "/33000/0", "value": "cellar"}`, 400, `must be an object`},
		{"write", `{"path": "/33000/0/0", "value": "x", "mode": "often"}`, 400, `neither`},
		{"write", `{"path": "/33000/0/0", "value": "x", "type": "word"}`, 400, `is none of boolean`},
		{"execute", `{"path": "/33000/0/2", "arguments": "0='x'"}`, 200, `{"request":"POST /33000/0/2"}`},
		{"LWM2M_EXECUTE", `{"resourceUri": "/33000/0/2", "executeParams": null}`, 200, `{"request":"POST /33000/0/2"}`},
		{"execute", `{"path": "/33000/0/2", "arguments": "0='refuse'"}`, 405, `"error":"4.05: not now"}`},
		{"execute", `{"path": "/33000/0/2", "arguments": "x"}`, 400, `cannot read the arguments`},
		{"write-attributes", `{"path": "/33000/0/1", "attributes": {"pmin": 5, "gt": 7.5}}`, 200, ``},
		{"discover", `{"path": "/33000/0"}`, 200, `"/33000/0/1":{"gt":"7.5","pmin":"5"}`},
		{"write-attributes", `{"path": "/33000/0/1", "attributes": {"pmin": null, "gt": null}}`, 200, ``},
		{"discover", `{"path": "/33000/0"}`, 200, `"/33000/0/1":{}`},
		{"write-attributes", `{"path": "/33000/0/1", "attributes": {"pmin": -1}}`, 400, `cannot be meant`},
		{"write-attributes", `{"path": "/33000/0/1", "attributes": {"often": 1}}`, 400, `none of pmin`},
		{"write-attributes", `{"path": "/33000/0/1"}`, 400, `are missing`},
		{"create", `{"path": "/33001", "value": {"0": "bolt"}}`, 200, `{"request":"POST /33001","response":"/33001/0"}`},
		{"create", `{"path": "/33001/7"}`, 200, `"response":"/33001/7"}`},
		{"create", `{"path": "/33001/7"}`, 400, ``},
		{"delete", `{"path": "/33001/0"}`, 200, `{"request":"DELETE /33001/0"}`},
		{"read", `{"path": "/33001/0"}`, 404, ``},
		{"read", `{"path": "/26250/0/1"}`, 200, ``},
		{"write", `{"path": "/26250/0/1", "value": "x"}`, 403, `what is asked of components`},
		{"write-composite", `{"path": "/33000/0/0", "values": {"/26250/0/1": "x"}}`, 403, `what is asked of components`},
		{"read", `{"path": "/0/0/5"}`, 403, `it has keys`},
		{"read", `{"path": "/0/0/5", "paths": ["/3"]}`, 403, `it has keys`},
		{"read-composite", `{"paths": ["/3", "/0"]}`, 403, `it has keys`},
		{"read-composite", `{}`, 400, `are missing`},
		{"write-composite", `{}`, 400, `are missing`},
		{"read", `{}`, 400, `must name what is meant`},
		{"read", `null`, 400, `must name what is meant`},
		{"read", `{"path": "/a"}`, 400, `cannot parse path`},
		{"read", `{"path": "/3", "colour": 1}`, 400, `unknown field`},
		{"read", `[]`, 400, `must be an object`},
		{"read", `{"path": "/3", "deviceId": "device-2"}`, 400, `this device is device-1`},
		{"dance", `{}`, 501, `there are cancel-observe, create`},
	} {
		answer := s.call(t, test.name, test.payload)
		whole := strings.HasSuffix(test.answer, "}") && strings.HasPrefix(test.answer, "{")
		got := string(answer.Payload)
		if answer.Status != test.status || whole && got != test.answer || !strings.Contains(got, test.answer) {
			t.Errorf("%s %s: %d %s\nwant %d %s", test.name, test.payload, answer.Status, got, test.status, test.answer)
		}
	}
	if all := s.pulls(); !cmp.Equal(all, []string{"0='x'", "", refusal405}) {
		t.Errorf("executed: %q", all)
	}
	if got := s.thingAt(7)(); got != lwm2m.Time(time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)) {
		t.Errorf("the time is %v", got)
	}
}

// TestMethodsAndTheTwin: what a method observes the twin shows, as long as nobody
// cancels that, and what the twin shows otherwise cannot be cancelled.
func TestMethodsAndTheTwin(t *testing.T) {
	s, _, _, _, _ := start(t)
	shown := s.at(t, "lwm2m", "33000", "0", "0", "value")
	status := func(name, payload string, want int) {
		t.Helper()
		if answer := s.call(t, name, payload); answer.Status != want {
			t.Errorf("%s %s: %d %s", name, payload, answer.Status, answer.Payload)
		}
	}
	const text = `{"path": "/33000/0/0"}`
	status("cancel-observe", text, 404)
	status("LWM2M_OBSERVE", `{"resourceUri": "/33000/0/0"}`, 200)
	eventually(t, "the value", shown, is("attic"))
	s.thing.SetValue(0, 0, lwm2m.String("hall"))
	s.client.Changed(lwm2m.NewPath(thingID, 0, 0))
	eventually(t, "its change", shown, is("hall"))
	status("write", `{"path": "/33000/0/0", "value": "roof"}`, 200)
	eventually(t, "what a method has written", shown, is("roof"))
	status("cancel-observe", text, 200)
	eventually(t, "nothing", shown, is(nil))
	status("cancel-observe", text, 404)

	s.desire(t, tree(map[string]any{"0": map[string]any{"observed": true}}))
	eventually(t, "the value again", shown, is("roof"))
	status("observe", text, 200)
	status("cancel-observe", text, 409)
	status("cancel-observe", `{"path": "/3303/0"}`, 409)
	s.desire(t, tree(map[string]any{"0": nil}))
	eventually(t, "nothing again", shown, is(nil))
	status("observe", text, 200)
	eventually(t, "the value once more", shown, is("roof"))
}

// TestAnObservationOutlastsItsDevice: what a method has had observed is observed again
// when the device has restarted, until a method cancels it.
func TestAnObservationOutlastsItsDevice(t *testing.T) {
	t.Parallel()
	s, _, _, _, stopDevice := start(t)
	shown := s.at(t, "lwm2m", "33000", "0", "1", "value")
	eventually(t, "the device is online", s.at(t, "state"), is("online"))
	const path = `{"path": "/33000/0/1"}`
	if answer := s.call(t, "observe", path); answer.Status != 200 {
		t.Fatalf("%+v", answer)
	}
	eventually(t, "the value", shown, is(1.0))
	eventually(t, "the twin remembers", s.at(t, "observed", "/33000/0/1"), is(true))
	stopDevice()
	eventually(t, "it has gone", s.at(t, "state"), is("offline"))
	s.device, _ = startDevice(t, s.address)
	eventually(t, "the device is online", s.at(t, "state"), is("online"))
	for i := range 2 {
		s.thing.SetValue(0, 1, lwm2m.Int(int64(10+i)))
		s.client.Changed(lwm2m.NewPath(thingID, 0, 1))
		eventually(t, "its change", shown, is(float64(10+i)))
	}
	if answer := s.call(t, "cancel-observe", path); answer.Status != 200 {
		t.Fatalf("%+v", answer)
	}
	eventually(t, "nothing", shown, is(nil))
	eventually(t, "nor remembered", s.at(t, "observed"), is(nil))
}

// TestMethodOfWhoIsAway: of a device that is not registered the hub says that it is
// not online, and a method waits for one that is about to come.
func TestMethodOfWhoIsAway(t *testing.T) {
	s, _, _, _, stopDevice := start(t)
	eventually(t, "the device is online", s.at(t, "state"), is("online"))
	stopDevice()
	eventually(t, "it has gone", s.at(t, "state"), is("offline"))
	m := iothub.Method{Name: "read", Payload: map[string]any{"path": "/33000/0/0"}}
	if _, err := s.service.CallMethod(t.Context(), endpoint, m); !iothub.IsNotOnline(err) {
		t.Error(err)
	}
	m.ConnectTimeout = 300 * time.Second
	answered := make(chan error, 1)
	go func() {
		answer, err := s.service.CallMethod(t.Context(), endpoint, m)
		if err == nil && answer.Status != 200 {
			t.Errorf("%d %s", answer.Status, answer.Payload)
		}
		answered <- err
	}()
	s.device, _ = startDevice(t, s.address)
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

// TestUnansweredMethod: a device that does not answer may have done what it was
// asked for, and whoever has asked is told so.
func TestUnansweredMethod(t *testing.T) {
	s, _, _, _, stopDevice := start(t)
	eventually(t, "the device is online", s.at(t, "state"), is("online"))
	m := iothub.Method{Name: "execute", Payload: map[string]any{"path": "/33000/0/2", "arguments": never}, ConnectTimeout: 60 * time.Second, ResponseTimeout: 60 * time.Second}
	answered := make(chan *iothub.MethodAnswer, 1)
	go func() {
		answer, err := s.service.CallMethod(context.WithoutCancel(t.Context()), endpoint, m)
		if err != nil {
			t.Error(err)
		}
		answered <- answer
	}()
	eventually(t, "it is asked", s.pulls, last(never))
	stopDevice()
	if answer := <-answered; answer == nil || answer.Status != 404 && answer.Status != 504 || !strings.Contains(string(answer.Payload), "may have done it") {
		t.Errorf("%+v", answer)
	}
}

// TestMethodsDuringAnUpdate: what the bridge updates a device by cannot be altered
// meanwhile.
func TestMethodsDuringAnUpdate(t *testing.T) {
	y := newYard(t, quietly)
	y.publish(t, gadgetSoftware, "2.0.0", 0, "")
	g := newGadget(t, endpoint)
	y.admit(t, g)
	s := system{service: y.service}
	uri := `{"path": "/9/0/3", "value": "coap://192.0.2.1/x"}`
	eventually(t, "the gadget", func() any { return y.reported(endpoint, "components", gadgetSoftware, "version") }, is("1.0.0"))
	y.desire(t, endpoint, gadgetSoftware, map[string]any{"version": "2.0.0", "consent": "ask"})
	eventually(t, "it waits", func() any { return y.reported(endpoint, "components", gadgetSoftware, "update", "waitingFor") }, func(v any) bool { return v != nil })
	if answer := s.call(t, "write", uri); answer.Status != 409 {
		t.Errorf("%d %s", answer.Status, answer.Payload)
	}
	if answer := s.call(t, "read", `{"path": "/9/0/7"}`); answer.Status != 200 {
		t.Errorf("%d %s", answer.Status, answer.Payload)
	}
	y.desire(t, endpoint, gadgetSoftware, map[string]any{"version": nil})
	y.outcome(t, endpoint, gadgetSoftware, "")
	eventually(t, "it may be altered again", func() int { return s.call(t, "write", uri).Status }, func(status int) bool { return status == 400 }) // the gadget takes no such URI
}

func TestParseInvocation(t *testing.T) {
	for topic, want := range map[string]invocation{
		"$iothub/methods/POST/read/?$rid=1f": {name: "read", id: "1f"},
		"$iothub/methods/POST/a b/?$rid=x&y": {name: "a b", id: "x&y"},
		"$iothub/methods/POST//?$rid=1":      {},
		"$iothub/methods/POST/read/?$rid=":   {},
		"$iothub/methods/POST/read":          {},
		"$iothub/twin/res/200/?$rid=1":       {},
		"$iothub/methods/POST/a/b/?$rid=1":   {},
		"$iothub/methods/POST/read/?rid=1":   {},
	} {
		got, ok := parseInvocation(topic)
		if ok != (want.id != "") || ok && !cmp.Equal(got, want, cmp.AllowUnexported(invocation{})) {
			t.Errorf("%s: %+v %v", topic, got, ok)
		}
	}
}

func FuzzReadOperation(f *testing.F) {
	for _, seed := range []string{`{"path":"/3/0/9"}`, `{"values":{"/3/0/14":{"0":1}}}`, `{"attributes":{"pmin":null}}`, `null`, `{"paths":["3.0"]}`} {
		f.Add([]byte(seed))
	}
	s := &session{model: model(nil), values: values{}}
	f.Fuzz(func(t *testing.T, payload []byte) {
		o, err := readOperation(payload)
		if err != nil {
			return
		}
		for _, m := range methods {
			_ = s.permitted(m, o)
		}
		if o.Path.Depth() > 0 {
			if records, err := s.recordsOf(true, o.Path, o.Value, o.Type); err == nil {
				for _, r := range records {
					if !o.Path.Contains(r.Path) {
						t.Errorf("%s: %v is not under %v", payload, r.Path, o.Path)
					}
				}
			}
		}
	})
}

// TestSleepersMethods: a method waits for a device that sleeps as long as the
// caller says, and no longer.
func TestSleepersMethods(t *testing.T) {
	h, _ := startHub(t, t.TempDir(), "127.0.0.1:0", "127.0.0.1:0")
	s := system{service: iothub.NewClient(connection(t, h, hub.PolicyOwner))}
	create(t, s.service, endpoint)
	b, err := New(Config{Hub: connection(t, h, hub.PolicyDevice), Listen: "127.0.0.1:0", Log: quiet, AckTimeout: ackTimeout, AwakeTime: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	background(t, b.Serve)
	s.device, _ = startDeviceWith(t, "coap://"+b.Addr(), func(c *lwm2m.ClientConfig) { c.QueueMode = true })
	s.await(t)
	m := iothub.Method{Name: "read", Payload: map[string]any{"path": "/33000/0/0"}}
	eventually(t, "the hub keeps methods back", func() error { _, err := s.service.CallMethod(t.Context(), endpoint, m); return err }, iothub.IsNotOnline)
	m.ConnectTimeout = 300 * time.Second
	answered := make(chan error, 1)
	go func() {
		for { // the device may fall asleep before it is asked: this machine may be slow
			answer, err := s.service.CallMethod(t.Context(), endpoint, m)
			if err != nil || answer.Status != 503 {
				answered <- err
				return
			}
		}
	}()
	var ended bool
	eventually(t, "it wakes up and answers", func() error {
		s.client.ObjectsChanged()
		select {
		case err := <-answered:
			ended = true
			return err
		default:
			return nil
		}
	}, func(error) bool { return ended })
}
