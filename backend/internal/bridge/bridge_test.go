package bridge

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"go.uber.org/goleak"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/backend/internal/localca"
	"github.com/tranquil-iot/tranquil/backend/internal/store"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// A client of paho's that is closed while it connects again sleeps out its
// pause first.
func TestMain(m *testing.M) {
	claimTime = 100 * time.Millisecond
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/eclipse/paho%2emqtt%2egolang.(*client).reconnect"),
		goleak.IgnoreAnyFunction("github.com/eclipse/paho%2emqtt%2egolang.(*connectionStatus).Disconnecting"))
}

const (
	endpoint = "device-1"
	name     = "application/a"

	// ackTimeout is long for one machine, and short for tests that lose messages.
	ackTimeout = 300 * time.Millisecond
)

var quiet = slog.New(slog.DiscardHandler)

// background runs serve until the test, or stop, ends it.
func background(t *testing.T, serve func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// startHub runs the real hub in a directory, on addresses that stay the same
// if it is started again.
func startHub(t *testing.T, dir, mqtt, http string) (*hub.Hub, func()) {
	t.Helper()
	return startHubWith(t, dir, hub.Config{MQTT: mqtt, HTTP: http, Log: quiet})
}

func startHubWith(t *testing.T, dir string, cfg hub.Config) (*hub.Hub, func()) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Dir: filepath.Join(dir, "store"), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	h, err := hub.New(cfg, s)
	if err != nil {
		t.Fatal(err)
	}
	return h, background(t, func(ctx context.Context) error {
		defer s.Close()
		return h.Serve(ctx)
	})
}

func connection(t *testing.T, h *hub.Hub, policy string) iothub.ConnectionString {
	t.Helper()
	cs, err := h.ConnectionString(policy)
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

// A device is a real LwM2M client with one component.
type device struct {
	updates *objects.Memory
	sensor  objects.Sensor
	thing   *objects.Memory
	parts   *objects.Instances
	client  *lwm2m.Client

	registered chan struct{} // closed when it is

	mu       sync.Mutex
	written  []string
	executed []lwm2m.Path
	repairs  []string
	pulled   []string // the arguments of what was executed of the thing
}

func (d *device) write(_ context.Context, records []lwm2m.Record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, r := range records {
		if r.Path.Resource() == objects.ComponentSchedule && r.Value.Text() == "never" {
			return lwm2m.Errorf(lwm2m.CodeBadRequest, "no such schedule")
		}
		if r.Path.Resource() == objects.ComponentWindow && r.Value.Text() == "Mon-Fry 01:00-02:00" {
			return lwm2m.Errorf(lwm2m.CodeBadRequest, "Fry is no day")
		}
		if r.Path.Resource() == objects.ComponentWanted {
			d.written = append(d.written, r.Value.Text())
		}
	}
	return nil
}

func (d *device) execute(_ context.Context, p lwm2m.Path, arguments string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.Resource() == objects.ComponentRepair {
		if strings.Contains(arguments, "13") {
			return lwm2m.Errorf(lwm2m.CodeBadRequest, "no such state")
		}
		d.repairs = append(d.repairs, arguments)
		return nil
	}
	d.executed = append(d.executed, p)
	return nil
}

func startDevice(t *testing.T, server string, options ...coap.Option) (*device, func()) {
	t.Helper()
	return startDeviceWith(t, server, func(*lwm2m.ClientConfig) {}, options...)
}

func startDeviceWith(t *testing.T, server string, change func(*lwm2m.ClientConfig), options ...coap.Option) (*device, func()) {
	t.Helper()
	d := &device{updates: objects.NewMemory(objects.ComponentUpdate), sensor: objects.NewSensor(objects.TemperatureID), thing: newThing(), parts: newParts(), registered: make(chan struct{})}
	registered := sync.OnceFunc(func() { close(d.registered) })
	d.updates.OnWrite, d.updates.OnExecute, d.thing.OnExecute = d.write, d.execute, d.pull
	d.updates.SetValue(0, objects.ComponentName, lwm2m.String(name))
	d.updates.SetValue(0, objects.ComponentVersion, lwm2m.String("1.0.0"))
	d.sensor.Reading(0, 21.5, "Cel", time.Now())
	config := lwm2m.ClientConfig{
		Endpoint: endpoint, Server: server, Lifetime: time.Minute, Objects: []lwm2m.Object{d.updates, d.sensor, d.thing, d.parts}, Logger: quiet,
		OnRegistered: func(yes bool) {
			if yes {
				registered()
			}
		},
	}
	change(&config)
	var err error
	d.client, err = lwm2m.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := coap.Dial(server, append(options, coap.WithTransmission(coap.Transmission{AckTimeout: ackTimeout}))...)
	if err != nil {
		t.Fatal(err)
	}
	return d, background(t, func(ctx context.Context) error {
		defer transport.Close()
		return d.client.Run(ctx, transport)
	})
}

// await waits until the device is registered. If it is stopped before, its
// registration may be on its way still, and replace that of the next one.
func (d *device) await(t *testing.T) {
	t.Helper()
	select {
	case <-d.registered:
	case <-time.After(30 * time.Second):
		t.Fatal("the device is not registered")
	}
}

// set changes a resource of the component, as its agent would.
func (d *device) set(resource uint16, v lwm2m.Value) {
	d.updates.SetValue(0, resource, v)
	d.client.Changed(lwm2m.NewPath(objects.ComponentUpdateID, 0))
}

// A system is hub, bridge and device, joined by real sockets.
type system struct {
	*device
	service *iothub.Client
	address string
}

// join creates a device in the registry of a hub, and starts a bridge to it.
func join(t *testing.T, h *hub.Hub, endpoint string) (s system) {
	t.Helper()
	return joinAs(t, h, endpoint, nil)
}

// joinAs is for a hub that speaks TLS.
func joinAs(t *testing.T, h *hub.Hub, endpoint string, security *tls.Config) (s system) {
	t.Helper()
	s.service = iothub.NewClient(connection(t, h, hub.PolicyOwner))
	if security != nil {
		s.service.HTTP = &http.Client{Transport: &http.Transport{TLSClientConfig: security}}
	}
	create(t, s.service, endpoint)
	b, err := New(Config{Hub: connection(t, h, hub.PolicyDevice), HubTLS: security, Listen: "127.0.0.1:0", Log: quiet, AckTimeout: ackTimeout})
	if err != nil {
		t.Fatal(err)
	}
	background(t, b.Serve)
	s.address = "coap://" + b.Addr()
	return s
}

func start(t *testing.T) (s system, h *hub.Hub, dir string, stopHub, stopDevice func()) {
	t.Helper()
	dir = t.TempDir()
	h, stopHub = startHub(t, dir, "127.0.0.1:0", "127.0.0.1:0")
	s = join(t, h, endpoint)
	s.device, stopDevice = startDevice(t, s.address)
	return s, h, dir, stopHub, stopDevice
}

// eventually waits until ok holds for what get says.
func eventually[T any](t *testing.T, what string, get func() T, ok func(T) bool) {
	t.Helper()
	var last T
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if last = get(); ok(last) {
			return
		}
	}
	t.Fatalf("%s: last seen %v", what, last)
}

// at walks down the reported properties.
func (s system) at(t *testing.T, path ...string) func() any {
	return func() any {
		twin, err := s.service.Twin(t.Context(), endpoint)
		if err != nil {
			return err
		}
		var v any = map[string]any(twin.Properties.Reported)
		for _, key := range path {
			m, _ := v.(map[string]any)
			v = m[key]
		}
		return v
	}
}

func is(want any) func(any) bool { return func(got any) bool { return got == want } }

func (s system) desire(t *testing.T, patch map[string]any) {
	t.Helper()
	if _, err := s.service.PatchTwin(t.Context(), endpoint, iothub.TwinPatch{Desired: patch}, ""); err != nil {
		t.Fatal(err)
	}
}

func wish(fields map[string]any) map[string]any {
	return map[string]any{"components": map[string]any{name: fields}}
}

func (d *device) wishes() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.written)
}

func last(want string) func([]string) bool {
	return func(all []string) bool { return len(all) > 0 && all[len(all)-1] == want }
}

func TestTwinAndDeviceStayInStep(t *testing.T) {
	s, _, _, _, stopDevice := start(t)
	eventually(t, "the device is online", s.at(t, "state"), is("online"))
	eventually(t, "its version", s.at(t, "components", name, "version"), is("1.0.0"))
	eventually(t, "its reading", s.at(t, "lwm2m", "3303", "0", "5700", "value"), is(21.5))

	s.desire(t, wish(map[string]any{"version": "2.0.0"}))
	eventually(t, "the wish", s.wishes, last("2.0.0"))
	s.set(objects.ComponentStale, lwm2m.Bool(true))
	eventually(t, "the update shows", s.at(t, "state"), is("updating"))
	s.set(objects.ComponentStale, lwm2m.Bool(false))
	eventually(t, "and ends", s.at(t, "state"), is("online"))

	stopDevice()
	eventually(t, "a device that has gone", s.at(t, "state"), is("offline"))
	s.desire(t, wish(map[string]any{"version": "3.0.0"}))
	s.device, _ = startDevice(t, s.address)
	eventually(t, "the wish that waited", s.wishes, last("3.0.0"))
	eventually(t, "a device that is back", s.at(t, "state"), is("online"))
	if all := s.wishes(); len(all) != 1 {
		t.Errorf("a wish was written %d times: %v", len(all), all)
	}
}

// TestHubOverTLS: the bridge is let in as Azure wants it, over TLS with a token, by a hub whose certificate it trusts, and
// tells nothing to another one.
func TestHubOverTLS(t *testing.T) {
	ca, err := localca.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(ca.Path())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	h, _ := startHubWith(t, t.TempDir(), hub.Config{MQTT: "127.0.0.1:0", HTTP: "127.0.0.1:0", TLS: ca.Config(), Log: quiet})
	s := joinAs(t, h, endpoint, &tls.Config{RootCAs: roots})
	s.device, _ = startDevice(t, s.address)
	eventually(t, "the device is online", s.at(t, "state"), is("online"))
	s.desire(t, wish(map[string]any{"version": "2.0.0"}))
	eventually(t, "the wish", s.wishes, last("2.0.0"))
	link := dial(connection(t, h, hub.PolicyDevice), nil, endpoint, callbacks{up: func() { t.Error("a hub is trusted that nobody vouches for") }}, quiet)
	defer link.close()
	eventually(t, "another hub is refused", func() string {
		link.mu.Lock()
		defer link.mu.Unlock()
		return link.reason
	}, func(reason string) bool { return strings.Contains(reason, "certificate") })
}

func TestBadWishes(t *testing.T) {
	s, _, _, _, _ := start(t)
	for path, desired := range map[string]map[string]any{
		"components":                   {"components": "everything"},
		"components/application/other": {"components": map[string]any{"application/other": map[string]any{"version": "1.0.0"}}},
		"components/" + name:           wish(map[string]any{"version": "two"}),
		"update":                       {"update": map[string]any{"type": "Shove"}},
	} {
		s.desire(t, map[string]any{"components": nil, "update": nil})
		s.desire(t, desired)
		eventually(t, "refused "+path, s.at(t, "refused", path), func(v any) bool { text, ok := v.(string); return ok && text != "" })
	}
	s.desire(t, map[string]any{"components": nil, "update": nil})
	s.desire(t, wish(map[string]any{"check": "never"}))
	s.desire(t, map[string]any{"components": map[string]any{"application/greter": map[string]any{"version": "2.0.0"}}})
	eventually(t, "no such component", s.at(t, "refused", "components/application/greter"), func(v any) bool {
		text, _ := v.(string)
		return strings.Contains(text, "tranquil wish drop "+endpoint+" application/greter takes back")
	})
	s.desire(t, map[string]any{"components": map[string]any{"application/greter": nil}})
	eventually(t, "refused by the device", s.at(t, "refused", "components/"+name), func(v any) bool { return v != nil })
	s.desire(t, wish(map[string]any{"version": "2.0.0", "check": nil}))
	eventually(t, "the next good wish", s.wishes, last("2.0.0"))
	eventually(t, "nothing is refused", s.at(t, "refused"), is(nil))
}

// TestABadPropertyDoesNotOpenTheRest: what stands beside it takes effect, and
// a term that cannot be read is closed until it can.
func TestABadPropertyDoesNotOpenTheRest(t *testing.T) {
	s, _, _, _, _ := start(t)
	told := func(resource uint16) func() string {
		return func() string {
			return s.updates.Value(lwm2m.NewPath(objects.ComponentUpdateID, 0, resource)).Text()
		}
	}
	text := func(want string) func(string) bool { return func(got string) bool { return got == want } }
	s.desire(t, wish(map[string]any{"check": "*/15 * * * * *"}))
	eventually(t, "the schedule", told(objects.ComponentSchedule), text("*/15 * * * * *"))
	s.desire(t, wish(map[string]any{"consent": "ask", "window": "Mon-Fry 01:00-02:00", "refused": "u1", "check": "never", "version": 2, "now": "2.0.0"}))
	eventually(t, "the answer", told(objects.ComponentRefused), text("u1"))
	eventually(t, "the emergency", told(objects.ComponentNow), text("2.0.0"))
	eventually(t, "a closed window", told(objects.ComponentWindow), text("closed: window cannot be read: Fry is no day"))
	eventually(t, "consent", told(objects.ComponentConsent), text("ask"))
	eventually(t, "all that is refused", s.at(t, "refused", "components/"+name), is(
		"version has a value of the wrong type: 2; window: the device refused: 4.00: Fry is no day; check: the device refused: 4.00: no such schedule"))
	if schedule := told(objects.ComponentSchedule)(); schedule != "*/15 * * * * *" {
		t.Errorf("the schedule is %q", schedule)
	}
	s.desire(t, wish(map[string]any{"window": "Mon-Fri 01:00-02:00", "check": nil, "version": "2.0.0"}))
	eventually(t, "the wish", s.wishes, last("2.0.0"))
	eventually(t, "the window", told(objects.ComponentWindow), text("Mon-Fri 01:00-02:00"))
	eventually(t, "nothing is refused", s.at(t, "refused"), is(nil))
}

// A sensor appears with the first reading, after the registration; so it does
// again when the device comes back.
func TestReadingsGoOnAfterARestart(t *testing.T) {
	s, _, _, _, stopDevice := start(t)
	for i, want := range []float64{22.5, 23.5} {
		if i > 0 {
			stopDevice()
			s.device, stopDevice = startDevice(t, s.address)
		}
		eventually(t, "its version", s.at(t, "components", name, "version"), is("1.0.0"))
		s.sensor.Reading(1, want, "Cel", time.Now())
		s.client.ObjectsChanged()
		eventually(t, "the new sensor", s.at(t, "lwm2m", "3303", "1", "5700", "value"), is(want))
		s.client.Changed(s.sensor.Reading(1, want+1, "Cel", time.Now())...)
		eventually(t, "its next reading", s.at(t, "lwm2m", "3303", "1", "5700", "value"), is(want+1))
	}
}

func TestPushWithoutVersionChecksOnce(t *testing.T) {
	s, _, _, _, _ := start(t)
	s.desire(t, map[string]any{"update": map[string]any{"type": "Push", "component": "application", "componentName": "a"}})
	count := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.executed)
	}
	eventually(t, "a check", count, func(n int) bool { return n == 1 })
	s.desire(t, map[string]any{"unrelated": true})
	s.desire(t, wish(map[string]any{"version": "2.0.0"}))
	eventually(t, "the wish", s.wishes, last("2.0.0"))
	if n := count(); n != 1 {
		t.Errorf("%d checks for one push", n)
	}
}

func TestTheHubIsAwayForAWhile(t *testing.T) {
	s, h, dir, stopHub, _ := start(t)
	eventually(t, "the device is online", s.at(t, "state"), is("online"))
	mqtt, http := h.MQTTAddr(), h.HTTPAddr()
	stopHub()
	s.set(objects.ComponentVersion, lwm2m.String("1.1.0"))
	startHub(t, dir, mqtt, http)
	eventually(t, "what happened meanwhile", s.at(t, "components", name, "version"), is("1.1.0"))
	s.desire(t, wish(map[string]any{"version": "2.0.0"}))
	eventually(t, "a wish after that", s.wishes, last("2.0.0"))
}

// TestSafeMode: the twin says so, and a repair is asked for until it has
// ended; never again after that, though the device forgets it.
func TestSafeMode(t *testing.T) {
	s, _, _, _, stopDevice := start(t)
	s.set(objects.ComponentFault, lwm2m.String("cannot read the journal"))
	s.set(objects.ComponentMode, lwm2m.String("safe"))
	eventually(t, "the mode", s.at(t, "mode"), is("safe"))
	eventually(t, "the fault", s.at(t, "fault"), is("cannot read the journal"))
	eventually(t, "the state", s.at(t, "state"), is("malfunction"))
	s.desire(t, map[string]any{"repair": "now"})
	eventually(t, "a bad number", s.at(t, "refused", "repair"), func(v any) bool { return v != nil })
	s.desire(t, map[string]any{"repair": 3})
	repairs := func() []string {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.Clone(s.repairs)
	}
	eventually(t, "the repair", repairs, func(all []string) bool { return len(all) > 0 && all[0] == "0='3'" })
	s.set(objects.ComponentMode, lwm2m.String("normal"))
	s.set(objects.ComponentRepaired, lwm2m.Int(3))
	eventually(t, "it has ended", s.at(t, "repaired"), is(3.0))
	eventually(t, "the mode", s.at(t, "mode"), is(nil))
	stopDevice()
	eventually(t, "offline", s.at(t, "state"), is("offline"))
	s.device, _ = startDevice(t, s.address)
	s.set(objects.ComponentMode, lwm2m.String("safe"))
	eventually(t, "safe again", s.at(t, "mode"), is("safe"))
	s.desire(t, wish(map[string]any{"version": "2.0.0"}))
	eventually(t, "the wish", s.wishes, last("2.0.0"))
	if all := repairs(); len(all) > 0 {
		t.Errorf("repaired by itself: %v", all)
	}
}

// TestMend: what was decided of a component is asked for until it has ended,
// and what the device refuses is told.
func TestMend(t *testing.T) {
	s, _, _, _, _ := start(t)
	eventually(t, "the device is online", s.at(t, "state"), is("online"))
	s.set(objects.ComponentStates, lwm2m.String(objects.EncodeStates([]objects.SavedState{{Generation: 7, Version: "0.9.0", Schema: 1, Size: 5}})))
	eventually(t, "the saved states", s.at(t, "components", name, "states", "7", "version"), is("0.9.0"))
	repairs := func() []string {
		s.mu.Lock()
		defer s.mu.Unlock()
		return slices.Clone(s.repairs)
	}
	s.desire(t, wish(map[string]any{"repair": map[string]any{"number": 1, "state": 13}}))
	eventually(t, "a refusal", s.at(t, "refused", "components/"+name), func(v any) bool { return v != nil })
	s.desire(t, wish(map[string]any{"repair": map[string]any{"number": 2, "state": 7}}))
	eventually(t, "the repair", repairs, func(all []string) bool { return slices.Contains(all, "0='2',1='7'") })
	s.set(objects.ComponentMended, lwm2m.Int(2))
	eventually(t, "it has ended", s.at(t, "components", name, "repaired"), is(2.0))
	n := len(repairs())
	s.set(objects.ComponentMended, lwm2m.Int(0)) // it has forgotten
	s.desire(t, wish(map[string]any{"version": "2.0.0"}))
	eventually(t, "the wish", s.wishes, last("2.0.0"))
	if all := repairs(); len(all) != n {
		t.Errorf("repaired again: %v", all)
	}
}

// TestOverTCP: devices come over UDP and TCP, and one changes over.
func TestOverTCP(t *testing.T) {
	h, _ := startHub(t, t.TempDir(), "127.0.0.1:0", "127.0.0.1:0")
	s := system{service: iothub.NewClient(connection(t, h, hub.PolicyOwner))}
	create(t, s.service, endpoint)
	b, err := New(Config{Hub: connection(t, h, hub.PolicyDevice), Listen: "127.0.0.1:0", TCP: "coap+tcp://127.0.0.1:0", Log: quiet, AckTimeout: ackTimeout})
	if err != nil {
		t.Fatal(err)
	}
	background(t, b.Serve)
	for version, address := range map[string]string{"1.1.0": b.TCPAddr(), "1.2.0": "coap://" + b.Addr(), "1.3.0": b.TCPAddr()} {
		d, stop := startDevice(t, address)
		s.device = d
		d.await(t)
		d.set(objects.ComponentVersion, lwm2m.String(version))
		eventually(t, "its version", s.at(t, "components", name, "version"), is(version))
		s.desire(t, wish(map[string]any{"version": version}))
		eventually(t, "the wish", s.wishes, last(version))
		stop()
	}
}

// TestNotRegistered: whoever starts an agent before its device exists reads in
// the log what to do, once.
func TestNotRegistered(t *testing.T) {
	var log bytes.Buffer
	l := &twinLink{device: "mica-1", log: slog.New(slog.NewTextHandler(&log, nil))}
	for range 3 {
		l.failed(fmt.Errorf("connect: %w", packets.ErrorRefusedNotAuthorised))
	}
	if n := strings.Count(log.String(), "tranquil device create mica-1"); n != 1 {
		t.Errorf("told %d times: %s", n, log.String())
	}
	l.failed(errors.New("connection refused"))
	if !strings.Contains(log.String(), "is the hub there?") {
		t.Error(log.String())
	}
}
