package coap_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen at last.
const patience = 2 * time.Minute

// quick makes loss show soon, so that the tests do too.
func quick() coap.Option {
	return coap.WithTransmission(coap.Transmission{AckTimeout: 40 * time.Millisecond, MaxRetransmit: 5})
}

func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// server is a running management server; stop may be called early.
type server struct {
	*lwm2m.Server
	address string
	events  chan lwm2m.Event
	stop    func()
}

func startServer(t *testing.T, address string) *server {
	t.Helper()
	return startServerAt(t, address, func(*lwm2m.ServerConfig) {})
}

func startServerWith(t *testing.T, change func(*lwm2m.ServerConfig)) *server {
	t.Helper()
	return startServerAt(t, "127.0.0.1:0", change)
}

func startServerAt(t *testing.T, address string, change func(*lwm2m.ServerConfig), options ...coap.Option) *server {
	t.Helper()
	conn, err := coap.Listen(address, append([]coap.Option{quick(), coap.WithLogger(logger(t))}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{address: conn.LocalAddr().String(), events: make(chan lwm2m.Event, 100)}
	config := lwm2m.ServerConfig{
		Model:   objects.Model(),
		OnEvent: func(e lwm2m.Event) { s.events <- e },
		Logger:  logger(t),
	}
	change(&config)
	s.Server = lwm2m.NewServer(config)
	s.stop = run(t, conn, s.Run)
	return s
}

// run starts Run of a server or a client and gives the function that ends it.
func run(t *testing.T, conn *coap.Conn, f func(context.Context, lwm2m.Transport) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx, conn) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		if err := conn.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// event waits for the next event and checks its kind.
func (s *server) event(t *testing.T, want lwm2m.EventKind) lwm2m.Event {
	t.Helper()
	select {
	case e := <-s.events:
		if e.Kind != want {
			t.Fatalf("event %v, want %v", e.Kind, want)
		}
		return e
	case <-time.After(patience):
		t.Fatalf("no event, want %v", want)
	}
	panic("unreachable")
}

// device is a running client with a sensor and one component.
type device struct {
	*lwm2m.Client
	conn      *coap.Conn
	sensor    objects.Sensor
	component *objects.Memory
	stop      func()

	mu        sync.Mutex
	onWrite   func(context.Context, []lwm2m.Record) error
	onExecute func(context.Context, lwm2m.Path, string) error
}

// hook sets what the component does; it may be called while the device runs.
func (d *device) hook(onWrite func(context.Context, []lwm2m.Record) error, onExecute func(context.Context, lwm2m.Path, string) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onWrite, d.onExecute = onWrite, onExecute
}

func (d *device) write(ctx context.Context, records []lwm2m.Record) error {
	d.mu.Lock()
	f := d.onWrite
	d.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(ctx, records)
}

func (d *device) execute(ctx context.Context, p lwm2m.Path, arguments string) error {
	d.mu.Lock()
	f := d.onExecute
	d.mu.Unlock()
	if f == nil {
		return lwm2m.Errorf(lwm2m.CodeMethodNotAllowed, "nothing to execute")
	}
	return f(ctx, p, arguments)
}

func startDevice(t *testing.T, server string, change func(*lwm2m.ClientConfig), options ...coap.Option) *device {
	t.Helper()
	d := &device{sensor: objects.NewSensor(objects.TemperatureID), component: objects.NewMemory(objects.ComponentUpdate)}
	d.component.OnWrite, d.component.OnExecute = d.write, d.execute
	d.component.SetValue(0, objects.ComponentName, lwm2m.String("application/sensor-adapter"))
	d.component.SetValue(0, objects.ComponentVersion, lwm2m.String("1.0.0"))
	d.component.SetValue(0, objects.ComponentWanted, lwm2m.String(""))
	d.sensor.Reading(0, 21.5, "Cel", time.Now())
	if !strings.Contains(server, "://") {
		server = "coap://" + server
	}
	config := lwm2m.ClientConfig{
		Endpoint: "device-1", Server: server, Lifetime: time.Minute,
		Objects: []lwm2m.Object{d.sensor, d.component}, Logger: logger(t),
	}
	if change != nil {
		change(&config)
	}
	var err error
	if d.conn, err = coap.Dial(config.Server, append([]coap.Option{quick(), coap.WithLogger(logger(t))}, options...)...); err != nil {
		t.Fatal(err)
	}
	if d.Client, err = lwm2m.NewClient(config); err != nil {
		t.Fatal(err)
	}
	d.stop = run(t, d.conn, d.Run)
	return d
}

// logger writes to the test's log as long as the test runs.
func logger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// eventually polls until f holds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("timed out: %s", what)
		}
	}
}

func wantCode(t *testing.T, what string, err error, code lwm2m.Code) {
	t.Helper()
	if !errors.Is(err, &lwm2m.Error{Code: code}) {
		t.Errorf("%s: %v, want %v", what, err, code)
	}
}

// inbox collects notifications.
type inbox struct {
	mu   sync.Mutex
	all  [][]lwm2m.Record
	last map[lwm2m.Path]lwm2m.Value
}

func (i *inbox) put(records []lwm2m.Record) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.all = append(i.all, records)
	if i.last == nil {
		i.last = map[lwm2m.Path]lwm2m.Value{}
	}
	for _, r := range records {
		i.last[r.Path] = r.Value
	}
}

func (i *inbox) value(p lwm2m.Path) lwm2m.Value {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.last[p]
}

func (i *inbox) everything() [][]lwm2m.Record {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.all)
}

func (i *inbox) count() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.all)
}

// await polls until p has the value.
func (i *inbox) await(t *testing.T, p lwm2m.Path, want lwm2m.Value) {
	t.Helper()
	eventually(t, "notification of "+p.String()+" = "+want.String(), func() bool { return i.value(p) == want })
}

// list collects the texts of values, from writes or notifications.
type list struct {
	mu  sync.Mutex
	all []string
}

func (l *list) note(_ context.Context, records []lwm2m.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, records[0].Value.Text())
	return nil
}

func (l *list) get() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.all)
}
