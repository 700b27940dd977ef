package coap_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

var (
	component = lwm2m.NewPath(objects.ComponentUpdateID, 0)
	version   = component.Child(objects.ComponentVersion)
	wanted    = component.Child(objects.ComponentWanted)
	reading   = lwm2m.NewPath(objects.TemperatureID, 0, objects.SensorValue)
)

// connect starts a server and a device that has registered.
func connect(t *testing.T, change func(*lwm2m.ClientConfig)) (*server, *device, *lwm2m.Device) {
	t.Helper()
	s := startServer(t, "127.0.0.1:0")
	d := startDevice(t, s.address, change)
	return s, d, s.event(t, lwm2m.Registered).Device
}

func TestRegister(t *testing.T) {
	s, d, _ := connect(t, nil)
	eventually(t, "the device knows", d.Registered)
	remote, ok := s.Device("device-1")
	if !ok || len(s.Devices()) != 1 {
		t.Fatal("the device is not in the table")
	}
	r := remote.Registration()
	if r.Endpoint != "device-1" || r.Lifetime != time.Minute || r.Version != "1.1" || r.Binding != "U" || r.Address != d.conn.LocalAddr().String() {
		t.Errorf("registration %+v", r)
	}
	var got []string
	for _, p := range r.Objects {
		got = append(got, p.String())
	}
	if diff := cmp.Diff([]string{"/1", "/1/0", "/3303", "/3303/0", "/26250/0"}, got); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	d.stop()
	s.event(t, lwm2m.Deregistered)
	if _, ok := s.Device("device-1"); ok {
		t.Error("a device that said goodbye is still there")
	}
	if _, err := remote.Read(deadline(t), version); !errors.Is(err, lwm2m.ErrGone) {
		t.Errorf("Read of a device that is gone: %v", err)
	}
}

func TestRead(t *testing.T) {
	for _, v := range []string{"1.0", "1.1"} { // TLV and SenML CBOR
		_, _, remote := connect(t, func(c *lwm2m.ClientConfig) { c.Version = v })
		for _, tt := range []struct {
			path string
			want []string
		}{
			{"/3303/0/5700", []string{"/3303/0/5700=21.5"}},
			{"/26250/0", []string{"/26250/0/0=application/sensor-adapter", "/26250/0/1=1.0.0", "/26250/0/5="}},
			{"/26250", []string{"/26250/0/0=application/sensor-adapter", "/26250/0/1=1.0.0", "/26250/0/5="}},
			{"/1/0/1", []string{"/1/0/1=60"}},
		} {
			p, _ := lwm2m.ParsePath(tt.path)
			records, err := remote.Read(deadline(t), p)
			if err != nil {
				t.Error(v, tt.path, err)
			}
			var got []string
			for _, r := range records {
				got = append(got, r.Path.String()+"="+r.Value.String())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s %s (-want +got):\n%s", v, tt.path, diff)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	_, d, remote := connect(t, nil)
	d.hook(func(_ context.Context, records []lwm2m.Record) error {
		if records[0].Value.Text() == "bad" {
			return lwm2m.Errorf(lwm2m.CodeForbidden, "no")
		}
		return errors.New("internal secret")
	}, nil)
	ctx := deadline(t)
	read := func(ids ...uint16) error { _, err := remote.Read(ctx, lwm2m.NewPath(ids...)); return err }
	write := func(p lwm2m.Path, v lwm2m.Value) error {
		return remote.Write(ctx, p, lwm2m.Replace, []lwm2m.Record{{Path: p, Value: v}})
	}
	wantCode(t, "security object", read(0), lwm2m.CodeUnauthorized)
	wantCode(t, "security resource", read(0, 0, 5), lwm2m.CodeUnauthorized)
	wantCode(t, "unknown object", read(4711), lwm2m.CodeNotFound)
	wantCode(t, "unknown instance", read(3303, 7), lwm2m.CodeNotFound)
	wantCode(t, "unknown resource", read(3303, 0, 1), lwm2m.CodeNotFound)
	wantCode(t, "no value", read(3303, 0, objects.SensorMaxRange), lwm2m.CodeNotFound)
	wantCode(t, "not readable", read(objects.ComponentUpdateID, 0, objects.ComponentCheckNow), lwm2m.CodeMethodNotAllowed)
	wantCode(t, "not writable", write(version, lwm2m.String("x")), lwm2m.CodeMethodNotAllowed)
	wantCode(t, "refused by the object", write(wanted, lwm2m.String("bad")), lwm2m.CodeForbidden)
	err := write(wanted, lwm2m.String("good"))
	wantCode(t, "failed in the object", err, lwm2m.CodeInternal)
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the text of an internal error left the device: %v", err)
	}
	wantCode(t, "not executable", remote.Execute(ctx, version, ""), lwm2m.CodeMethodNotAllowed)
	wantCode(t, "not executable, a number", remote.Execute(ctx, lwm2m.NewPath(1, 0, 1), ""), lwm2m.CodeMethodNotAllowed)
	wantCode(t, "no hook", remote.Execute(ctx, component.Child(objects.ComponentCancel), ""), lwm2m.CodeMethodNotAllowed)
	if err := write(wanted, lwm2m.Int(1)); err == nil {
		t.Error("a number was sent for a text")
	}
}

func TestWriteAndExecute(t *testing.T) {
	for _, v := range []string{"1.0", "1.1"} {
		_, d, remote := connect(t, func(c *lwm2m.ClientConfig) { c.Version = v })
		executed := make(chan string, 1)
		d.hook(nil, func(_ context.Context, p lwm2m.Path, arguments string) error {
			executed <- p.String() + " " + arguments
			return nil
		})
		ctx := deadline(t)
		attempt := component.Child(objects.ComponentAttempt)
		records := []lwm2m.Record{{Path: wanted, Value: lwm2m.String("2.0.0")}, {Path: attempt, Value: lwm2m.Int(1 << 40)}}
		if err := remote.Write(ctx, component, lwm2m.Update, records); err != nil {
			t.Fatal(err)
		}
		if d.component.Value(wanted) != lwm2m.String("2.0.0") || d.component.Value(attempt) != lwm2m.Int(1<<40) {
			t.Error("Update did not write")
		}
		if err := remote.Write(ctx, component, lwm2m.Replace, records[:1]); err != nil {
			t.Fatal(err)
		}
		if d.component.Value(attempt).Kind() != lwm2m.KindNone || d.component.Value(version) != lwm2m.String("1.0.0") {
			t.Error("Replace must drop what it does not name, and keep what is read-only")
		}
		if err := remote.Execute(ctx, component.Child(objects.ComponentCheckNow), "0='x'"); err != nil {
			t.Fatal(err)
		}
		if got := <-executed; got != "/26250/0/9 0='x'" {
			t.Errorf("executed %q", got)
		}
	}
}

func TestDiscover(t *testing.T) {
	_, _, remote := connect(t, nil)
	ctx := deadline(t)
	if err := remote.WriteAttributes(ctx, reading.Prefix(lwm2m.DepthInstance), lwm2m.MinPeriod(5*time.Second)); err != nil {
		t.Fatal(err)
	}
	links, err := remote.Discover(ctx, lwm2m.NewPath(objects.TemperatureID))
	if err != nil {
		t.Fatal(err)
	}
	want := "</3303>;ver=1.1,</3303/0>;pmin=5,</3303/0/5518>,</3303/0/5605>,</3303/0/5700>,</3303/0/5701>"
	if got := string(lwm2m.EncodeLinks(links)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestObserve(t *testing.T) {
	_, d, remote := connect(t, nil)
	ctx := deadline(t)
	for _, p := range []lwm2m.Path{component.Prefix(lwm2m.DepthObject), component, version} {
		var box inbox
		d.component.SetValue(0, objects.ComponentVersion, lwm2m.String("1.0.0"))
		first, err := remote.Observe(ctx, p, box.put)
		if err != nil {
			t.Fatal(err)
		}
		box.await(t, version, lwm2m.String("1.0.0"))
		if !slices.ContainsFunc(first, func(r lwm2m.Record) bool { return r.Path == version && r.Value == lwm2m.String("1.0.0") }) {
			t.Errorf("%v: first values %v", p, first)
		}
		d.component.SetValue(0, objects.ComponentVersion, lwm2m.String("2.0.0"))
		d.Changed(version)
		box.await(t, version, lwm2m.String("2.0.0"))
		if err := remote.CancelObserve(ctx, p); err != nil {
			t.Fatal(err)
		}
		before := box.count()
		d.Changed(version)
		if _, err := remote.Read(ctx, p); err != nil {
			t.Fatal(err)
		}
		if box.count() != before {
			t.Errorf("%v: notified after the cancellation", p)
		}
		wantCode(t, "cancel twice", remote.CancelObserve(ctx, p), lwm2m.CodeNotFound)
	}
}

func TestObserveCoalesces(t *testing.T) {
	_, d, remote := connect(t, nil)
	ctx := deadline(t)
	if err := remote.WriteAttributes(ctx, reading, lwm2m.MinPeriod(time.Second)); err != nil {
		t.Fatal(err)
	}
	var box inbox
	if _, err := remote.Observe(ctx, reading, box.put); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for i := range 1000 {
		d.Changed(d.sensor.Reading(0, float64(i), "", time.Now())...)
	}
	box.await(t, reading, lwm2m.Float(999))
	if most := 2 + int(time.Since(start)/time.Second); box.count() > most {
		t.Errorf("%d notifications, at most %d fit pmin", box.count(), most)
	}
}

func TestObservePeriodically(t *testing.T) {
	_, _, remote := connect(t, nil)
	ctx := deadline(t)
	var box inbox
	if _, err := remote.Observe(ctx, reading, box.put); err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteAttributes(ctx, reading, lwm2m.MaxPeriod(time.Second)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "two notifications without a change", func() bool { return box.count() >= 3 })
}

func TestObservationEndsWithItsInstance(t *testing.T) {
	_, d, remote := connect(t, nil)
	ctx := deadline(t)
	var box inbox
	if _, err := remote.Observe(ctx, reading, box.put); err != nil {
		t.Fatal(err)
	}
	d.sensor.Remove(reading.Prefix(lwm2m.DepthInstance))
	d.Changed(reading)
	d.ObjectsChanged()
	_, err := remote.Read(ctx, reading)
	wantCode(t, "read what is gone", err, lwm2m.CodeNotFound)
}

func TestDeliver(t *testing.T) {
	_, d, remote := connect(t, nil)
	ctx := deadline(t)
	delivered := make(chan error, 1)
	d.component.SetValue(0, objects.ComponentVersion, lwm2m.String("2.0.0"))
	go func() { delivered <- d.Deliver(ctx, version, component.Child(objects.ComponentName)) }()
	var box inbox
	if _, err := remote.Observe(ctx, component, box.put); err != nil { // late
		t.Fatal(err)
	}
	if err := <-delivered; err != nil {
		t.Fatal(err)
	}
	box.await(t, version, lwm2m.String("2.0.0"))
	if err := d.Deliver(ctx, version); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithCancel(ctx)
	cancel()
	if err := d.Deliver(short, reading); !errors.Is(err, context.Canceled) {
		t.Errorf("Deliver of what nobody observes: %v", err)
	}
}

// TestLongPayloads goes block-wise both ways.
func TestLongPayloads(t *testing.T) {
	_, d, remote := connect(t, nil)
	ctx := deadline(t)
	long := strings.Repeat("0123456789", 1000)
	if err := remote.Write(ctx, wanted, lwm2m.Replace, []lwm2m.Record{{Path: wanted, Value: lwm2m.String(long)}}); err != nil {
		t.Fatal(err)
	}
	if d.component.Value(wanted) != lwm2m.String(long) {
		t.Error("the long value did not arrive")
	}
	var box inbox
	records, err := remote.Observe(ctx, wanted, box.put)
	if err != nil || records[0].Value != lwm2m.String(long) {
		t.Errorf("long answer: %.60v, %v", records, err)
	}
	d.component.SetValue(0, objects.ComponentWanted, lwm2m.String(long+"!"))
	d.Changed(wanted)
	box.await(t, wanted, lwm2m.String(long+"!"))
}

// TestLongNotificationsInOrder: a notification that is too long for a datagram
// makes the server read, and what it reads may be newer than notifications that
// wait.
func TestLongNotificationsInOrder(t *testing.T) {
	_, d, remote := connect(t, nil)
	ctx := deadline(t)
	var seen list
	begun, goOn := make(chan struct{}, 1), make(chan struct{})
	_, err := remote.Observe(ctx, wanted, func(r []lwm2m.Record) {
		if len(seen.get()) == 0 {
			begun <- struct{}{}
			<-goOn
		}
		_ = seen.note(ctx, r)
	})
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	delivered := make(chan error, 5)
	var last string
	for _, v := range []string{"1" + strings.Repeat("x", 2000), "2", "3" + strings.Repeat("x", 2000), "4", "5"} {
		last = v
		d.component.SetValue(0, objects.ComponentWanted, lwm2m.String(v))
		go func() { delivered <- d.Deliver(ctx, wanted) }()
	}
	close(goOn)
	for range cap(delivered) {
		if err := <-delivered; err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the last value is notified", func() bool { return slices.Contains(seen.get(), last) })
	if all := seen.get(); !slices.IsSorted(all) {
		t.Errorf("notified out of order: %.3q", all)
	}
}

// TestLibrary has devices with two versions of an object: each is read by its own.
func TestLibrary(t *testing.T) {
	definition := func(version string, k lwm2m.Kind) lwm2m.Definition {
		return lwm2m.Definition{ID: 32000, Name: "Level", Version: version, Resources: []lwm2m.Resource{{ID: 0, Name: "Level", Operations: lwm2m.R, Kind: k, Mandatory: true}}}
	}
	library := new(lwm2m.Library)
	library.Add(definition("1.0", lwm2m.KindInteger), definition("2.1", lwm2m.KindFloat))
	s := startServerWith(t, func(c *lwm2m.ServerConfig) { c.Library = library })
	for version, level := range map[string]lwm2m.Value{"1.0": lwm2m.Int(7), "2.1": lwm2m.Float(7.5)} {
		object := objects.NewMemory(definition(version, level.Kind()))
		object.SetValue(0, 0, level)
		startDevice(t, s.address, func(c *lwm2m.ClientConfig) {
			c.Endpoint, c.Version, c.Objects = version, "1.0", []lwm2m.Object{object} // in TLV, which does not tell kinds
		})
		e := s.event(t, lwm2m.Registered)
		if got := readOne(t, e.Device, lwm2m.NewPath(32000, 0, 0)); got != level {
			t.Errorf("version %s: read %v, want %v", version, got, level)
		}
	}
}

// TestSlowExecute gets its answer separately, after the acknowledgement, and is
// done once although the server may have asked again.
func TestSlowExecute(t *testing.T) {
	_, d, remote := connect(t, nil)
	started, finish := make(chan struct{}, 10), make(chan struct{})
	d.hook(nil, func(context.Context, lwm2m.Path, string) error {
		started <- struct{}{}
		<-finish
		return lwm2m.Errorf(lwm2m.CodeForbidden, "late refusal")
	})
	done := make(chan error, 1)
	go func() { done <- remote.Execute(deadline(t), component.Child(objects.ComponentCancel), "") }()
	<-started
	time.AfterFunc(500*time.Millisecond, func() { close(finish) }) // longer than all retransmissions of the ACK timeout
	wantCode(t, "slow execute", <-done, lwm2m.CodeForbidden)
	if len(started) != 0 {
		t.Error("executed more than once")
	}
}
