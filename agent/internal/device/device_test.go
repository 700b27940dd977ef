package device

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/component"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

const name = "application/a"

// manager is what the device manager sees of the manager and its store.
type manager struct {
	mu      sync.Mutex
	view    engine.View
	wishes  engine.Wishes
	checked int
	outbox  []engine.Outcome
	mends   []string
	repairs []int64
}

func (m *manager) with(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

func (m *manager) View(string) (v engine.View, err error) {
	m.with(func() {
		v = m.view
		v.Wish, v.Schedule, v.Terms, v.Delivery = m.wishes.Wish, m.wishes.Schedule, m.wishes.Terms, m.wishes.Delivery
	})
	return v, nil
}

func (m *manager) Want(_ string, change func(*engine.Wishes)) error {
	m.with(func() { change(&m.wishes) })
	return nil
}

func (m *manager) CheckNow(string) error {
	m.with(func() { m.checked++ })
	return nil
}

func (m *manager) Cancel(string) error { return engine.ErrTooLate }

func (m *manager) RepairOnce(number int64) error {
	m.with(func() { m.repairs = append(m.repairs, number) })
	return nil
}

func (m *manager) MendOnce(component string, number int64, c engine.Choice) error {
	m.with(func() { m.mends = append(m.mends, fmt.Sprint(component, " ", number, " ", c)) })
	return nil
}

func checkSchedule(expr string) error {
	if expr == "never" {
		return errors.New("no such schedule")
	}
	return nil
}

func (m *manager) Oldest(string) (o engine.Outcome, found bool, err error) {
	m.with(func() {
		if found = len(m.outbox) > 0; found {
			o = m.outbox[0]
		}
	})
	return o, found, nil
}

func (m *manager) Acknowledge(_, update string) error {
	m.with(func() {
		if len(m.outbox) > 0 && m.outbox[0].Update == update {
			m.outbox = m.outbox[1:]
		}
	})
	return nil
}

// start registers a device at a real server and returns both ends.
func start(t *testing.T, m *manager) (*Device, *lwm2m.Device) {
	t.Helper()
	return startWith(t, m, func(*Config) {})
}

// startWith is start with changes to the configuration.
func startWith(t *testing.T, m *manager, change func(*Config)) (*Device, *lwm2m.Device) {
	t.Helper()
	listener, err := coap.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	registered := make(chan *lwm2m.Device, 8)
	server := lwm2m.NewServer(lwm2m.ServerConfig{Model: objects.Model(), Logger: quiet, OnEvent: func(e lwm2m.Event) {
		if e.Kind == lwm2m.Registered {
			registered <- e.Device
		}
	}})
	background(t, func(ctx context.Context) error { return server.Run(ctx, listener) }, listener.Close)

	address := "coap://" + listener.LocalAddr().String()
	config := Config{
		Endpoint: "device-1", Server: address, Lifetime: time.Minute, Components: []string{name},
		Manager: m, Schedule: checkSchedule, Window: checkSchedule, Outbox: m, Remind: 50 * time.Millisecond, Log: quiet,
	}
	change(&config)
	d, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	transport, err := coap.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	background(t, func(ctx context.Context) error { return d.Run(ctx, transport) }, transport.Close)
	select {
	case remote := <-registered:
		return d, remote
	case <-time.After(30 * time.Second):
		t.Fatal("the device does not register")
		return nil, nil
	}
}

func background(t *testing.T, run func(context.Context) error, closeIt func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, closeIt()); err != nil {
			t.Error(err)
		}
	})
}

func instance() lwm2m.Path { return lwm2m.NewPath(objects.ComponentUpdateID, 0) }

func read(t *testing.T, remote *lwm2m.Device, p lwm2m.Path) map[uint16]lwm2m.Value {
	t.Helper()
	records, err := remote.Read(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	values := map[uint16]lwm2m.Value{}
	for _, r := range records {
		values[r.Path.Resource()] = r.Value
	}
	return values
}

func TestAComponentAsResources(t *testing.T) {
	m := &manager{view: engine.View{
		Component: name, Installed: engine.Installed{Version: "1.0.0", Schema: 1}, Running: true,
		Progress: &engine.Progress{Update: "u1", To: "2.0.0", Phase: engine.Execution, Step: "save", Fraction: 0.5, Stale: true, Until: time.Unix(1800000000, 1)},
	}}
	_, remote := start(t, m)
	got := read(t, remote, instance())
	for resource, want := range map[uint16]string{
		objects.ComponentName: name, objects.ComponentVersion: "1.0.0", objects.ComponentTo: "2.0.0",
		objects.ComponentPhase: "execution", objects.ComponentStep: "save", objects.ComponentResult: "",
	} {
		if got[resource].Text() != want {
			t.Errorf("resource %d is %v, want %s", resource, got[resource], want)
		}
	}
	if !got[objects.ComponentStale].Bool() || got[objects.ComponentUnavailableUntil].Time().Unix() != 1800000001 {
		t.Errorf("stale %v until %v: rounded down, it would be late before it is", got[objects.ComponentStale], got[objects.ComponentUnavailableUntil])
	}
	software := read(t, remote, lwm2m.NewPath(objects.SoftwareManagementID, 0))
	if software[objects.SoftwareUpdateState].Int() != objects.SoftwareInstalled || software[objects.SoftwarePackageVersion].Text() != "1.0.0" || software[objects.SoftwareStatusReason].Text() != "update to 2.0.0: save" {
		t.Errorf("object 9: %v", software)
	}
	for _, p := range remote.Registration().Objects {
		if p.Object() == objects.SecurityID {
			t.Error("object 0 is shown to the server")
		}
	}
}

// What an update waits for, and the terms of updates.
func TestTerms(t *testing.T) {
	m := &manager{view: engine.View{Component: name, Progress: &engine.Progress{
		Update: "u1", Phase: engine.Preparation, Step: "admit", Waiting: &engine.Wait{For: "consent", Until: time.Unix(1800000000, 1)},
	}}}
	_, remote := start(t, m)
	if got := read(t, remote, instance()); got[objects.ComponentWaitingFor].Text() != "consent" || got[objects.ComponentWaitingUntil].Time().Unix() != 1800000001 {
		t.Errorf("waits for %v until %v", got[objects.ComponentWaitingFor], got[objects.ComponentWaitingUntil])
	}
	for resource, text := range map[uint16]string{
		objects.ComponentWindow: "01:00-02:00", objects.ComponentNow: "2.0.0", objects.ComponentConsent: "ask",
		objects.ComponentConsented: "u1", objects.ComponentRefused: "u0",
	} {
		record := []lwm2m.Record{{Path: instance().Child(resource), Value: lwm2m.String(text)}}
		if err := remote.Write(t.Context(), instance(), lwm2m.Update, record); err != nil {
			t.Errorf("resource %d: %v", resource, err)
		}
	}
	m.with(func() {
		if want := (engine.Terms{Window: "01:00-02:00", Now: "2.0.0", Consent: "ask", Consented: "u1", Refused: "u0"}); m.wishes.Terms != want {
			t.Errorf("terms %+v", m.wishes.Terms)
		}
	})
	for resource, text := range map[uint16]string{objects.ComponentWindow: "never", objects.ComponentConsent: "perhaps"} {
		record := []lwm2m.Record{{Path: instance().Child(resource), Value: lwm2m.String(text)}}
		var refused *lwm2m.Error
		if err := remote.Write(t.Context(), instance(), lwm2m.Update, record); !errors.As(err, &refused) || refused.Code != lwm2m.CodeBadRequest {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestWishes(t *testing.T) {
	m := &manager{view: engine.View{Component: name}}
	_, remote := start(t, m)
	write := func(resource uint16, v lwm2m.Value) error {
		return remote.Write(t.Context(), instance(), lwm2m.Update, []lwm2m.Record{{Path: instance().Child(resource), Value: v}})
	}
	if err := write(objects.ComponentWanted, lwm2m.String("2.0.0")); err != nil {
		t.Fatal(err)
	}
	if err := write(objects.ComponentAttempt, lwm2m.Int(3)); err != nil {
		t.Fatal(err)
	}
	var refused *lwm2m.Error
	if err := write(objects.ComponentSchedule, lwm2m.String("never")); !errors.As(err, &refused) || refused.Code != lwm2m.CodeBadRequest {
		t.Errorf("a bad schedule: %v", err)
	}
	if err := write(objects.ComponentVersion, lwm2m.String("9.9.9")); !errors.As(err, &refused) {
		t.Errorf("a write to what is read only: %v", err)
	}
	if err := remote.Execute(t.Context(), instance().Child(objects.ComponentCheckNow), ""); err != nil {
		t.Fatal(err)
	}
	err := remote.Execute(t.Context(), instance().Child(objects.ComponentCancel), "")
	if !errors.As(err, &refused) || refused.Code != lwm2m.CodeMethodNotAllowed || !strings.Contains(refused.Reason, "too late") {
		t.Errorf("a cancel that comes too late: %v", err)
	}
	m.with(func() {
		if want := (engine.Wishes{Wish: engine.Wish{Version: "2.0.0", Attempt: 3}}); m.wishes != want || m.checked != 1 {
			t.Errorf("wishes %+v, checked %d", m.wishes, m.checked)
		}
	})
}

func TestReadings(t *testing.T) {
	d, remote := start(t, &manager{view: engine.View{Component: name}})
	at := time.Unix(1800000000, 0)
	if err := d.Publish(component.Reading{Component: name, Object: 3303, Instance: 1, Value: 21.5, Unit: "Cel", Time: at}); err != nil {
		t.Fatal(err)
	}
	got := read(t, remote, lwm2m.NewPath(3303, 1))
	if got[objects.SensorValue].Float() != 21.5 || got[objects.SensorUnits].Text() != "Cel" || got[objects.SensorApplication].Text() != name || !got[objects.SensorTimestamp].Time().Equal(at) {
		t.Errorf("%v", got)
	}
	for _, bad := range []component.Reading{
		{Component: name, Object: 3},
		{Component: name, Object: 3303, Instance: -1},
		{Component: name, Object: 3303, Instance: 1000},
		{Component: name, Object: 3349},
		{Component: "application/other", Object: 3303, Instance: 1},
		{Object: 3303},
	} {
		if err := d.Publish(bad); err == nil {
			t.Errorf("%+v was published", bad)
		}
	}
}

// TestOutbox: the oldest outcome shows until it is acknowledged, and the
// server is told of it again and again.
func TestOutbox(t *testing.T) {
	m := &manager{view: engine.View{Component: name}, outbox: []engine.Outcome{
		{Update: "u1", Component: name, Result: engine.TurnedBack, Cause: "why", Downtime: 1500 * time.Millisecond},
		{Update: "u2", Component: name, Result: engine.Updated, Missed: 3},
	}}
	_, remote := start(t, m)
	heard := make(chan objects.Outcome, 1000)
	take := func(records []lwm2m.Record) {
		for _, r := range records {
			if r.Path.Resource() == objects.ComponentOutcome && r.Value.Text() != "" {
				o, err := objects.DecodeOutcome(r.Value.Text())
				if err != nil {
					t.Error(err)
				}
				heard <- o
			}
		}
	}
	first, err := remote.Observe(t.Context(), instance(), take)
	if err != nil {
		t.Fatal(err)
	}
	take(first)
	acknowledge := func(id string) {
		records := []lwm2m.Record{{Path: instance().Child(objects.ComponentAcknowledge), Value: lwm2m.String(id)}}
		if err := remote.Write(t.Context(), instance(), lwm2m.Update, records); err != nil {
			t.Fatal(err)
		}
	}
	acknowledge("u2") // not its turn
	for range 3 {
		if o := <-heard; o.ID != "u1" || o.Result != engine.TurnedBack || o.Cause != "why" || o.Downtime != 1.5 {
			t.Fatalf("heard %+v", o)
		}
	}
	for range 2 {
		acknowledge("u1")
	}
	o := <-heard
	for o.ID == "u1" {
		o = <-heard
	}
	if o.ID != "u2" || o.Missed != 3 {
		t.Fatalf("heard %+v", o)
	}
	acknowledge("u2")
	if got := read(t, remote, instance())[objects.ComponentOutcome].Text(); got != "" {
		t.Errorf("left in the outbox: %s", got)
	}
}

// TestFault: the error code of object 3 is 16 while a component's last update
// has ended inconsistent.
func TestFault(t *testing.T) {
	m := &manager{}
	m.view.Component = name
	d, remote := start(t, m)
	for _, c := range []struct {
		result string
		code   int64
	}{{engine.Inconsistent, errorInconsistent}, {engine.Updated, noError}} {
		m.with(func() { m.view.Outcome = &engine.Outcome{Update: "u", Component: name, Result: c.result} })
		d.Changed(name)
		records, err := remote.Read(t.Context(), lwm2m.NewPath(objects.DeviceID, 0, objects.DeviceErrorCode))
		if err != nil || len(records) != 1 || records[0].Value.Int() != c.code {
			t.Errorf("%s: %+v, %v", c.result, records, err)
		}
	}
}

// TestSafeMode: it shows, and a repair is asked for by number.
func TestSafeMode(t *testing.T) {
	m := &manager{view: engine.View{Component: name, Fault: "cannot read the journal", Repaired: 2}}
	_, remote := start(t, m)
	got := read(t, remote, instance())
	if got[objects.ComponentMode].Text() != "safe" || got[objects.ComponentFault].Text() != "cannot read the journal" || got[objects.ComponentRepaired].Int() != 2 {
		t.Errorf("%v", got)
	}
	repair := instance().Child(objects.ComponentRepair)
	for _, bad := range []string{"", "3", "0='", "0='x'", "0='-1'", "0='3", "0='3',", "0='3',1='x'", "0='3',1='0'", "0='3',2='7'"} {
		var refused *lwm2m.Error
		if err := remote.Execute(t.Context(), repair, bad); !errors.As(err, &refused) || refused.Code != lwm2m.CodeBadRequest {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := remote.Execute(t.Context(), repair, "0='3'"); err != nil {
		t.Fatal(err)
	}
	for _, choice := range []string{"keep", "7"} {
		if err := remote.Execute(t.Context(), repair, "0='4',1='"+choice+"'"); err != nil {
			t.Fatal(err)
		}
	}
	m.with(func() {
		if len(m.repairs) != 1 || m.repairs[0] != 3 || !slices.Equal(m.mends, []string{name + " 4 keep", name + " 4 7"}) {
			t.Errorf("repairs %v, %q", m.repairs, m.mends)
		}
	})
}

// FuzzReadRepair: what is accepted is a positive number, and a choice or none.
func FuzzReadRepair(f *testing.F) {
	for _, s := range []string{"0='3'", "", "0=''", "0='-3'", "0='99999999999999999999'", "0='3',1='keep'", "0='3',1='7'", "0='3',1='-7'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, c, err := readRepair(s)
		if err != nil {
			return
		}
		if again, err := engine.ParseChoice(fmt.Sprint(cmp.Or(c, &engine.Choice{}))); n <= 0 || err != nil || c != nil && again != *c {
			t.Errorf("%q is %d, %v", s, n, c)
		}
	})
}
