package coap_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

var account = lwm2m.Account{
	URI: "coaps://192.0.2.1:5684", Mode: lwm2m.SecurityPSK, Identity: []byte("device-1"), SecretKey: []byte("secret"),
	ShortID: 7, Lifetime: 10 * time.Minute, MinPeriod: time.Second, Binding: "U", StoreNotifications: true, HoldOff: time.Second,
}

// startBootstrap runs a bootstrap server; the ends of its bootstraps go to done.
func startBootstrap(t *testing.T, provision func(context.Context, string) ([]lwm2m.Record, error)) (address string, done chan error) {
	t.Helper()
	conn, err := coap.Listen("127.0.0.1:0", quick())
	if err != nil {
		t.Fatal(err)
	}
	done = make(chan error, 10)
	s := lwm2m.NewBootstrapServer(lwm2m.BootstrapServerConfig{
		Provision: provision, OnDone: func(_ string, err error) { done <- err }, Logger: logger(t),
	})
	run(t, conn, s.Run)
	return conn.LocalAddr().String(), done
}

func bootstrap(t *testing.T, address string, change func(*lwm2m.BootstrapConfig)) ([]lwm2m.Record, error) {
	t.Helper()
	return bootstrapWithin(deadline(t), t, address, change)
}

func bootstrapWithin(ctx context.Context, t *testing.T, address string, change func(*lwm2m.BootstrapConfig)) ([]lwm2m.Record, error) {
	conn, err := coap.Dial("coap://"+address, quick())
	if err != nil {
		t.Error(err)
		return nil, err
	}
	defer conn.Close()
	config := lwm2m.BootstrapConfig{Endpoint: "device-1", Server: "coap://" + address}
	if change != nil {
		change(&config)
	}
	return lwm2m.Bootstrap(ctx, conn, config)
}

func TestBootstrap(t *testing.T) {
	own := lwm2m.Account{URI: "coap://bootstrap", Bootstrap: true, Mode: lwm2m.SecurityNoSec, Identity: []byte{}, ServerKey: []byte{}, SecretKey: []byte{}}
	old := account
	old.ShortID, old.URI = 3, "coaps://old"
	for name, pack := range map[string]bool{"written": false, "pack": true} {
		t.Run(name, func(t *testing.T) {
			application := lwm2m.NewPath(3306, 2, objects.SensorApplication)
			address, done := startBootstrap(t, func(_ context.Context, endpoint string) ([]lwm2m.Record, error) {
				if endpoint != "device-1" {
					return nil, errors.New("unknown")
				}
				return append(account.Records(1), lwm2m.Record{Path: application, Value: lwm2m.String("garden")}), nil
			})
			actuators := objects.NewInstances(objects.SensorDefinition(3306))
			known := own.Records(0)
			if !pack { // which deletes nothing
				known = append(known, old.Records(5)...)
			}
			records, err := bootstrap(t, address, func(c *lwm2m.BootstrapConfig) {
				c.Known, c.Objects, c.Pack = known, []lwm2m.Object{actuators}, pack
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			accounts, err := lwm2m.ParseAccounts(records)
			want := account
			want.ServerKey = []byte{}
			if diff := cmp.Diff([]lwm2m.Account{own, want}, accounts); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if got := actuators.Value(application).Text(); got != "garden" {
				t.Errorf("another object got %q", got)
			}
		})
	}
}

func TestBootstrapRefusals(t *testing.T) {
	address, done := startBootstrap(t, func(_ context.Context, endpoint string) ([]lwm2m.Record, error) {
		switch endpoint {
		case "no server":
			return account.Records(0)[:7], nil
		case "forbidden":
			return nil, lwm2m.Errorf(lwm2m.CodeForbidden, "no")
		case "no object":
			return []lwm2m.Record{{Path: lwm2m.NewPath(4711, 0, 0), Value: lwm2m.Int(1)}}, nil
		}
		return nil, errors.New("internal secret")
	})
	try := func(endpoint string) error {
		_, err := bootstrap(t, address, func(c *lwm2m.BootstrapConfig) {
			c.Endpoint = endpoint
		})
		return err
	}
	wantCode(t, "an unknown device", try("stranger"), lwm2m.CodeBadRequest)
	wantCode(t, "a refused device", try("forbidden"), lwm2m.CodeForbidden)
	wantCode(t, "no endpoint name", try(""), lwm2m.CodeBadRequest)
	for endpoint, code := range map[string]lwm2m.Code{"no server": lwm2m.CodeNotAcceptable, "no object": lwm2m.CodeNotFound} {
		ended := make(chan error, 1)
		ctx, cancel := context.WithCancel(deadline(t))
		go func() {
			_, err := bootstrapWithin(ctx, t, address, func(c *lwm2m.BootstrapConfig) { c.Endpoint = endpoint })
			ended <- err
		}()
		wantCode(t, endpoint, <-done, code)
		cancel() // the device would wait for what comes next
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
}

// TestBootstrapTimeout has a bootstrap server that promises and does nothing.
func TestBootstrapTimeout(t *testing.T) {
	conn, err := coap.Listen("127.0.0.1:0", quick())
	if err != nil {
		t.Fatal(err)
	}
	d := driver{make(chan string, 1)}
	run(t, conn, func(ctx context.Context, tr lwm2m.Transport) error { return tr.Serve(ctx, d) })
	_, err = bootstrap(t, conn.LocalAddr().String(), func(c *lwm2m.BootstrapConfig) { c.Timeout = 50 * time.Millisecond })
	if !errors.Is(err, lwm2m.ErrTimeout) {
		t.Errorf("%v, want a timeout", err)
	}
}

// driver is a bootstrap server whose requests the test makes.
type driver struct{ asked chan string }

func (d driver) ServeRequest(_ context.Context, peer string, _ *lwm2m.Message) *lwm2m.Message {
	d.asked <- peer
	return &lwm2m.Message{Code: lwm2m.CodeChanged}
}

func (driver) ServeNotification(_ string, _ *lwm2m.Message, done func(lwm2m.Reception)) {
	done(lwm2m.Refused)
}

// TestBootstrapOperations reads and discovers what the device has.
func TestBootstrapOperations(t *testing.T) {
	conn, err := coap.Listen("127.0.0.1:0", quick())
	if err != nil {
		t.Fatal(err)
	}
	d := driver{make(chan string, 1)}
	run(t, conn, func(ctx context.Context, tr lwm2m.Transport) error { return tr.Serve(ctx, d) })
	type result struct {
		records []lwm2m.Record
		err     error
	}
	ended := make(chan result, 1)
	go func() {
		records, err := bootstrap(t, conn.LocalAddr().String(), func(c *lwm2m.BootstrapConfig) { c.Known = account.Records(1) })
		ended <- result{records, err}
	}()
	peer := <-d.asked
	exchange := func(m *lwm2m.Message) *lwm2m.Message {
		answer, err := conn.Exchange(deadline(t), peer, m)
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	answer := exchange(&lwm2m.Message{Code: lwm2m.Get, Accept: new(lwm2m.FormatLink)})
	if got, want := string(answer.Payload), `</>;lwm2m=1.1,</0/1>;ssid=7;uri="coaps://192.0.2.1:5684",</1/1>;ssid=7,</2>`; got != want {
		t.Errorf("discovered %s", got)
	}
	answer = exchange(&lwm2m.Message{Code: lwm2m.Get, Path: []string{"1", "1"}, Accept: new(lwm2m.FormatSenMLJSON)})
	if got, want := string(answer.Payload), `[{"bn":"/1/1/","n":"0","v":7},{"n":"1","v":600},{"n":"2","v":1},{"n":"6","vb":true},{"n":"7","vs":"U"}]`; got != want {
		t.Errorf("read %s", got)
	}
	for _, tt := range []struct {
		m    *lwm2m.Message
		want lwm2m.Code
	}{
		{&lwm2m.Message{Code: lwm2m.Get, Path: []string{"0", "1"}}, lwm2m.CodeMethodNotAllowed},
		{&lwm2m.Message{Code: lwm2m.Get, Path: []string{"3", "0"}}, lwm2m.CodeMethodNotAllowed},
		{&lwm2m.Message{Code: lwm2m.Post, Path: []string{"1", "1", "8"}}, lwm2m.CodeMethodNotAllowed},
		{&lwm2m.Message{Code: lwm2m.Delete, Path: []string{"1", "1", "0"}}, lwm2m.CodeMethodNotAllowed},
		{&lwm2m.Message{Code: lwm2m.Put, Path: []string{"1", "1"}, Payload: []byte("\xc8")}, lwm2m.CodeBadRequest},
		{&lwm2m.Message{Code: lwm2m.Delete}, lwm2m.CodeDeleted},
		{&lwm2m.Message{Code: lwm2m.Post, Path: []string{"bs"}}, lwm2m.CodeNotAcceptable}, // nothing is left
	} {
		if got := exchange(tt.m).Code; got != tt.want {
			t.Errorf("%v %v: %v, want %v", tt.m.Code, tt.m.Path, got, tt.want)
		}
	}
	for _, p := range []lwm2m.Path{lwm2m.NewPath(0), lwm2m.NewPath(1)} { // as a whole
		var records []lwm2m.Record
		for _, r := range account.Records(4) {
			if p.Contains(r.Path) {
				records = append(records, r)
			}
		}
		payload, err := lwm2m.Encode(lwm2m.FormatTLV, p, records)
		if err != nil {
			t.Fatal(err)
		}
		if got := exchange(&lwm2m.Message{Code: lwm2m.Put, Path: []string{p.String()[1:]}, Format: new(lwm2m.FormatTLV), Payload: payload}).Code; got != lwm2m.CodeChanged {
			t.Errorf("write %v: %v", p, got)
		}
	}
	if got := exchange(&lwm2m.Message{Code: lwm2m.Post, Path: []string{"bs"}}).Code; got != lwm2m.CodeChanged {
		t.Errorf("finish: %v", got)
	}
	r := <-ended
	if accounts, err := lwm2m.ParseAccounts(r.records); r.err != nil || err != nil || len(accounts) != 1 || accounts[0].URI != account.URI {
		t.Errorf("%v, %v, %v", accounts, r.err, err)
	}
}
