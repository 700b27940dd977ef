package coap_test

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/store"
)

// keeping has a server keep its devices in a folder.
func keeping(t *testing.T, folder string) func(*lwm2m.ServerConfig) {
	t.Helper()
	files, err := store.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	return func(c *lwm2m.ServerConfig) { c.Store = files }
}

// TestAServerKeepsItsDevices: after a restart of the server its devices are registered
// and observed as before. Those with lifetimes of a day are not waited for, and what
// they notify meanwhile waits for whoever observes.
func TestAServerKeepsItsDevices(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := startServerAt(t, "127.0.0.1:0", keeping(t, folder))
	registered := make(chan bool, 9)
	d := startDevice(t, s.address, func(c *lwm2m.ClientConfig) {
		c.Lifetime, c.OnRegistered = 24*time.Hour, func(yes bool) { registered <- yes }
	}, coap.WithTransmission(coap.Transmission{AckTimeout: 100 * time.Millisecond, MaxRetransmit: 12}))
	before := s.event(t, lwm2m.Registered)
	var box, pair inbox
	together := []lwm2m.Path{version, reading}
	observe := func(d *lwm2m.Device) {
		t.Helper()
		if _, err := d.Observe(deadline(t), component, box.put); err != nil {
			t.Fatal(err)
		}
		if _, err := d.ObserveComposite(deadline(t), together, pair.put); err != nil {
			t.Fatal(err)
		}
	}
	observe(before.Device)
	if _, err := before.Device.Observe(deadline(t), reading, box.put); err != nil {
		t.Fatal(err)
	}
	for i, texts := range [][]string{{"1.0.1", "1.0.2"}, {"1.0.3", "1.0.4"}} {
		s.stop()
		d.component.SetValue(0, objects.ComponentVersion, lwm2m.String(texts[0]))
		delivered := make(chan error, 1)
		go func() { delivered <- d.Deliver(deadline(t), version) }()
		s = startServerAt(t, s.address, keeping(t, folder))
		e := s.event(t, lwm2m.Restored)
		if diff := cmp.Diff(before.Registration, e.Registration, cmp.AllowUnexported(lwm2m.Registration{}), cmp.Comparer(func(a, b time.Time) bool { return true }), cmp.AllowUnexported(lwm2m.Path{})); diff != "" {
			t.Errorf("another registration (-before +after):\n%s", diff)
		}
		if n := len(e.Device.Earlier()); n != 3-min(i, 1) {
			t.Errorf("%d observations were kept", n)
		}
		observe(e.Device)
		if err := <-delivered; err != nil {
			t.Fatal(err)
		}
		box.await(t, version, lwm2m.String(texts[0]))
		d.component.SetValue(0, objects.ComponentVersion, lwm2m.String(texts[1]))
		if err := d.Deliver(deadline(t), version); err != nil {
			t.Fatal(err)
		}
		box.await(t, version, lwm2m.String(texts[1]))
		pair.await(t, version, lwm2m.String(texts[1]))
		if i == 0 {
			if err := e.Device.CancelObserve(deadline(t), reading); err != nil { // of the earlier run
				t.Error(err)
			}
		}
		if left := e.Device.Earlier(); len(left) > 0 {
			t.Errorf("nobody has observed %v again", left)
		}
	}
	if len(registered) != 1 {
		t.Errorf("the device has registered %d times", len(registered))
	}
	d.stop()
	for e := range s.events {
		if e.Kind == lwm2m.Deregistered {
			break
		}
	}
	s.stop()
	if files, _ := os.ReadDir(folder); len(files) > 0 {
		t.Errorf("a device that said goodbye is kept: %v", files)
	}
}

// A teller answers observations, and notifies by itself.
type teller struct {
	mu    sync.Mutex
	token []byte
}

func (l *teller) ServeRequest(_ context.Context, _ string, m *lwm2m.Message) *lwm2m.Message {
	l.mu.Lock()
	l.token = m.Token
	l.mu.Unlock()
	return l.content(0, "first")
}

func (l *teller) content(sequence uint32, text string) *lwm2m.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &lwm2m.Message{Code: lwm2m.CodeContent, Format: new(lwm2m.FormatText), Observe: &sequence, Token: slices.Clone(l.token), Payload: []byte(text)}
}

func (l *teller) ServeNotification(_ string, _ *lwm2m.Message, done func(lwm2m.Reception)) {
	done(lwm2m.Refused)
}

// TestNewSessionOfAnObservedDevice: over DTLS a restarted server has lost the sessions. A
// device that makes a new one goes on where it was, by a notification or an update;
// nobody else can by knowing its tokens.
func TestNewSessionOfAnObservedDevice(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := startServerAt(t, "coaps://127.0.0.1:0", keeping(t, folder), coap.PSKs(keys), patient())
	told := &teller{}
	session := func(identity string) (*coap.Conn, string) {
		t.Helper()
		conn, err := coap.Dial("coaps://"+s.address, coap.PSK(identity, secret), patient())
		if err != nil {
			t.Fatal(err)
		}
		run(t, conn, func(ctx context.Context, tr lwm2m.Transport) error { return tr.Serve(ctx, told) })
		peer, err := conn.Resolve(deadline(t), "coaps://"+s.address)
		if err != nil {
			t.Fatal(err)
		}
		return conn, peer
	}
	conn, peer := session("device-1")
	answer, err := conn.Exchange(deadline(t), peer, &lwm2m.Message{Code: lwm2m.Post, Path: []string{"rd"}, Query: []string{"ep=device-1", "lwm2m=1.0", "lt=86400"}})
	if err != nil || answer.Code != lwm2m.CodeCreated {
		t.Fatal(answer, err)
	}
	var box inbox
	if _, err := s.event(t, lwm2m.Registered).Device.Observe(deadline(t), version, box.put); err != nil {
		t.Fatal(err)
	}
	s.stop()
	s = startServerAt(t, "coaps://"+s.address, keeping(t, folder), coap.PSKs(keys), patient())
	remote := s.event(t, lwm2m.Restored).Device
	if remote.Awake() {
		t.Error("a device without a session is asked")
	}
	again := make(chan error, 1)
	go func() { _, err := remote.Observe(deadline(t), version, box.put); again <- err }()

	other, at := session("device-2")
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := other.Notify(short, at, told.content(1, "forged")); err == nil {
		t.Error("a stranger's notification is taken")
	}
	conn, peer = session("device-1")
	if err := conn.Notify(deadline(t), peer, told.content(2, "second")); err != nil {
		t.Error(err)
	}
	if err := <-again; err != nil {
		t.Error(err)
	}
	update, err := conn.Exchange(deadline(t), peer, &lwm2m.Message{Code: lwm2m.Post, Path: answer.Location})
	if err != nil || update.Code != lwm2m.CodeChanged {
		t.Error(update, err)
	}
	var got []string
	for _, records := range box.everything() {
		got = append(got, records[0].Value.Text())
	}
	if !slices.Contains(got, "second") || slices.Contains(got, "forged") {
		t.Errorf("told %v", got)
	}
}

// TestKeptDevicesExpire if they are not heard of, and what cannot be read is left out.
func TestKeptDevicesExpire(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	s := startServerAt(t, "127.0.0.1:0", keeping(t, folder))
	for _, endpoint := range []string{"one", "two/ä\x01" + string(make([]byte, 200)), "long"} {
		lifetime := "lt=2"
		if endpoint == "long" {
			lifetime = "lt=86400"
		}
		_, _, stop := register(t, s, "ep="+endpoint, "lwm2m=1.1", lifetime)
		stop()
		s.event(t, lwm2m.Registered)
	}
	s.stop()
	if err := os.WriteFile(filepath.Join(folder, "x"+url.PathEscape("y")+".device"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s = startServerAt(t, s.address, func(c *lwm2m.ServerConfig) {
		keeping(t, folder)(c)
		c.MaxLifetime = time.Hour // less than the last one has
	})
	for range 2 {
		s.event(t, lwm2m.Restored)
	}
	for range 2 {
		s.event(t, lwm2m.Expired)
	}
	s.stop()
	if files, _ := os.ReadDir(folder); len(files) > 0 {
		t.Errorf("kept: %v", files)
	}
}

// TestAnotherDeviceAtTheSameAddress: after a restart of the server a session from an
// address that a device had is whoever's it has proven to be, and nobody else's.
func TestAnotherDeviceAtTheSameAddress(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	sent := make(chan string, 9)
	change := func(c *lwm2m.ServerConfig) {
		keeping(t, folder)(c)
		c.OnSend = func(_ context.Context, d *lwm2m.Device, _ []lwm2m.Record) error {
			sent <- d.Registration().Endpoint
			return nil
		}
	}
	s := startServerAt(t, "coaps://127.0.0.1:0", change, coap.PSKs(keys), patient())
	n := startNAT(t, s.address, true) // as that of a gateway
	address := "coaps://" + n.front.LocalAddr().String()
	session := func(identity string) (conn *coap.Conn, peer string, end func()) {
		t.Helper()
		conn, err := coap.Dial(address, coap.PSK(identity, secret), patient())
		if err != nil {
			t.Fatal(err)
		}
		end = run(t, conn, func(ctx context.Context, tr lwm2m.Transport) error { return tr.Serve(ctx, deaf{}) })
		if peer, err = conn.Resolve(deadline(t), address); err != nil {
			t.Fatal(err)
		}
		return conn, peer, end
	}
	conn, peer, end := session("device-1")
	if _, err := conn.Exchange(deadline(t), peer, &lwm2m.Message{Code: lwm2m.Post, Path: []string{"rd"}, Query: []string{"ep=device-1", "lwm2m=1.1"}}); err != nil {
		t.Fatal(err)
	}
	s.event(t, lwm2m.Registered)
	n.silent.Store(true)
	end()
	s.stop()
	s = startServerAt(t, "coaps://"+s.address, change, coap.PSKs(keys), patient())
	first := s.event(t, lwm2m.Restored)
	n.silent.Store(false)
	conn, peer, _ = session("device-2")
	payload, _ := lwm2m.Encode(lwm2m.FormatSenMLJSON, lwm2m.Path{}, []lwm2m.Record{{Path: reading, Value: lwm2m.Float(666)}})
	answer, err := conn.Exchange(deadline(t), peer, &lwm2m.Message{Code: lwm2m.Post, Path: []string{"dp"}, Format: new(lwm2m.FormatSenMLJSON), Payload: payload})
	if err != nil || answer.Code != lwm2m.CodeNotFound || len(sent) > 0 {
		t.Errorf("another device sends: %v, %v, taken for %d", answer, err, len(sent))
	}
	if first.Device.Awake() {
		t.Error("the first device is taken for awake")
	}
}
