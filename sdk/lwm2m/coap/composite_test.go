package coap_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

func words(records []lwm2m.Record) []string {
	var list []string
	for _, r := range records {
		list = append(list, r.Path.String()+"="+r.Value.String())
	}
	return list
}

func TestReadComposite(t *testing.T) {
	_, _, remote := connect(t, nil)
	got, err := remote.ReadComposite(deadline(t), reading, version, lwm2m.NewPath(4711), component.Child(objects.ComponentVersion))
	if diff := cmp.Diff([]string{"/3303/0/5700=21.5", "/26250/0/1=1.0.0"}, words(got)); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	_, err = remote.ReadComposite(deadline(t), lwm2m.NewPath(0, 0), lwm2m.NewPath(4711))
	wantCode(t, "nothing to read", err, lwm2m.CodeNotFound)
}

func TestWriteComposite(t *testing.T) {
	_, d, remote := connect(t, nil)
	ctx := deadline(t)
	application := lwm2m.NewPath(objects.TemperatureID, 0, objects.SensorApplication)
	write := func(values ...string) error {
		return remote.WriteComposite(ctx, []lwm2m.Record{
			{Path: wanted, Value: lwm2m.String(values[0])},
			{Path: application, Value: lwm2m.String(values[1])},
		})
	}
	if err := write("2.0.0", "garden"); err != nil {
		t.Fatal(err)
	}
	if d.component.Value(wanted).Text() != "2.0.0" || d.sensor.Value(application).Text() != "garden" {
		t.Error("not everything was written")
	}
	d.hook(func(context.Context, []lwm2m.Record) error { return lwm2m.Errorf(lwm2m.CodeForbidden, "no") }, nil)
	wantCode(t, "refused by the second object", write("3.0.0", "house"), lwm2m.CodeForbidden)
	if d.component.Value(wanted).Text() != "2.0.0" || d.sensor.Value(application).Text() != "garden" {
		t.Error("a part of what was refused was written")
	}
	err := remote.WriteComposite(ctx, []lwm2m.Record{{Path: application, Value: lwm2m.String("x")}, {Path: version, Value: lwm2m.String("x")}})
	wantCode(t, "one is read-only", err, lwm2m.CodeMethodNotAllowed)
	if d.sensor.Value(application).Text() != "garden" {
		t.Error("written although another part is read-only")
	}
}

func TestObserveComposite(t *testing.T) {
	_, d, remote := connect(t, nil)
	ctx := deadline(t)
	paths := []lwm2m.Path{reading, version}
	var box inbox
	first, err := remote.ObserveComposite(ctx, paths, box.put)
	if err != nil || len(first) != 2 {
		t.Fatal(first, err)
	}
	d.component.SetValue(0, objects.ComponentVersion, lwm2m.String("2.0.0"))
	d.Changed(version)
	box.await(t, version, lwm2m.String("2.0.0"))
	d.Changed(d.sensor.Reading(0, 22.5, "Cel", time.Now())...)
	box.await(t, reading, lwm2m.Float(22.5))
	if err := remote.CancelObserveComposite(ctx, paths); err != nil {
		t.Fatal(err)
	}
	before := box.count()
	d.Changed(version)
	if _, err := remote.Read(ctx, version); err != nil || box.count() != before {
		t.Errorf("notified after the cancellation, or %v", err)
	}
	wantCode(t, "cancel twice", remote.CancelObserveComposite(ctx, paths), lwm2m.CodeNotFound)
}

// TestThresholds notifies what is worth it, and nothing else.
func TestThresholds(t *testing.T) {
	for name, tt := range map[string]struct {
		attributes []lwm2m.Attribute
		values     []float64
		want       []float64
	}{
		"gt":        {[]lwm2m.Attribute{lwm2m.GreaterThan(25)}, []float64{22, 26, 27, 25, 24, 30}, []float64{26, 25, 30}},
		"lt":        {[]lwm2m.Attribute{lwm2m.LessThan(10)}, []float64{11, 9, 5, 12}, []float64{9, 12}},
		"st":        {[]lwm2m.Attribute{lwm2m.Step(1)}, []float64{22, 22.25, 22.5, 22, 21.5, 20.5}, []float64{22.5, 21.5, 20.5}},
		"gt and st": {[]lwm2m.Attribute{lwm2m.GreaterThan(22), lwm2m.Step(5)}, []float64{22.5, 23, 27.5, 28}, []float64{22.5, 27.5}},
	} {
		t.Run(name, func(t *testing.T) {
			_, d, remote := connect(t, nil)
			ctx := deadline(t)
			if err := remote.WriteAttributes(ctx, reading, tt.attributes...); err != nil {
				t.Fatal(err)
			}
			var box inbox
			if _, err := remote.Observe(ctx, reading, box.put); err != nil {
				t.Fatal(err)
			}
			for _, v := range tt.values {
				d.Changed(d.sensor.Reading(0, v, "", time.Now())...)
				if slices.Contains(tt.want, v) {
					box.await(t, reading, lwm2m.Float(v))
				}
			}
			if err := d.Deliver(ctx, reading); err != nil { // comes after all others, worth it or not
				t.Fatal(err)
			}
			eventually(t, "the last notification", func() bool { return box.count() >= len(tt.want)+2 })
			var got []float64
			for _, records := range box.everything()[1:] {
				got = append(got, records[0].Value.Float())
			}
			got = got[:len(got)-1]
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("notified (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAttributesRefused(t *testing.T) {
	_, _, remote := connect(t, nil)
	for name, a := range map[string][]lwm2m.Attribute{
		"no number":      {lwm2m.Unset("gt=x")},
		"infinite":       {lwm2m.Unset("gt=inf")},
		"no step":        {lwm2m.Step(0)},
		"contradiction":  {lwm2m.GreaterThan(10), lwm2m.LessThan(9), lwm2m.Step(1)},
		"unknown":        {lwm2m.Unset("color")},
		"half a second":  {lwm2m.Unset("pmin=0.5")},
		"negative":       {lwm2m.Unset("pmax=-1")},
		"one of several": {lwm2m.MinPeriod(time.Second), lwm2m.Step(-1)},
	} {
		wantCode(t, name, remote.WriteAttributes(deadline(t), reading, a...), lwm2m.CodeBadRequest)
	}
	wantCode(t, "a text has no threshold", remote.WriteAttributes(deadline(t), version, lwm2m.Step(1)), lwm2m.CodeBadRequest)
	wantCode(t, "an instance has no threshold", remote.WriteAttributes(deadline(t), component, lwm2m.Step(1)), lwm2m.CodeBadRequest)
	set := []lwm2m.Attribute{lwm2m.GreaterThan(1e6), lwm2m.LessThan(-0.5), lwm2m.Step(2), lwm2m.MaxPeriod(time.Hour)}
	if err := remote.WriteAttributes(deadline(t), reading, set...); err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteAttributes(deadline(t), reading, lwm2m.Unset("st")); err != nil {
		t.Fatal(err)
	}
	links, err := remote.Discover(deadline(t), reading)
	if got, want := string(lwm2m.EncodeLinks(links)), `</3303/0/5700>;gt=1000000;lt=-0.5;pmax=3600`; got != want || err != nil {
		t.Errorf("discovered %s, want %s (%v)", got, want, err)
	}
}

func TestSend(t *testing.T) {
	got := make(chan string, 10)
	s := startServerWith(t, func(c *lwm2m.ServerConfig) {
		c.OnSend = func(_ context.Context, d *lwm2m.Device, records []lwm2m.Record) error {
			if records[0].Value.Float() < 0 {
				return lwm2m.Errorf(lwm2m.CodeForbidden, "no")
			}
			for _, r := range records {
				got <- fmt.Sprint(d.Registration().Endpoint, " ", r.Path, " ", r.Value, " ", r.Time.Unix())
			}
			return nil
		}
	})
	d := startDevice(t, s.address, nil)
	s.event(t, lwm2m.Registered)
	eventually(t, "the device knows", d.Registered)
	at := time.Unix(1_700_000_000, 0)
	err := d.Send(deadline(t),
		lwm2m.Record{Path: reading, Value: lwm2m.Float(20), Time: at},
		lwm2m.Record{Path: reading, Value: lwm2m.Float(21), Time: at.Add(time.Minute)})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"device-1 /3303/0/5700 20 1700000000", "device-1 /3303/0/5700 21 1700000060"} {
		if g := <-got; g != want {
			t.Errorf("got %q, want %q", g, want)
		}
	}
	wantCode(t, "refused", d.Send(deadline(t), lwm2m.Record{Path: reading, Value: lwm2m.Float(-1)}), lwm2m.CodeForbidden)
	d2 := startDevice(t, startServer(t, "127.0.0.1:0").address, nil)
	eventually(t, "the device knows", d2.Registered)
	wantCode(t, "a server that takes nothing", d2.Send(deadline(t), lwm2m.Record{Path: reading, Value: lwm2m.Float(1)}), lwm2m.CodeNotFound)
}

// TestSendToAForgetfulServer: one that does not know the device any more gets its
// registration, and then the values.
func TestSendToAForgetfulServer(t *testing.T) {
	got := make(chan string, 10)
	take := func(c *lwm2m.ServerConfig) {
		c.OnSend = func(_ context.Context, _ *lwm2m.Device, records []lwm2m.Record) error {
			got <- records[0].Value.String()
			return nil
		}
	}
	s := startServerWith(t, take)
	d := startDevice(t, s.address, nil)
	s.event(t, lwm2m.Registered)
	eventually(t, "the device knows", d.Registered)
	s.stop()
	startServerAt(t, s.address, take)
	if err := d.Send(deadline(t), lwm2m.Record{Path: reading, Value: lwm2m.Float(20)}); err != nil {
		t.Fatal(err)
	}
	if g := <-got; g != "20" || len(got) > 0 {
		t.Errorf("got %q, and %d more", g, len(got))
	}
}

func TestCreateAndDelete(t *testing.T) {
	for _, v := range []string{"1.0", "1.1"} {
		managed := objects.NewInstances(objects.SensorDefinition(3306))
		s, _, remote := connect(t, func(c *lwm2m.ClientConfig) {
			c.Version, c.Objects = v, append(c.Objects, managed)
		})
		ctx := deadline(t)
		object := lwm2m.NewPath(3306)
		application := func(p lwm2m.Path) lwm2m.Path { return p.Child(objects.SensorApplication) }
		values := func(p lwm2m.Path, text string) []lwm2m.Record {
			return []lwm2m.Record{{Path: application(p), Value: lwm2m.String(text)}}
		}
		five := object.Child(5)
		if p, err := remote.Create(ctx, five, values(five, "five")); p != five || err != nil {
			t.Fatal(p, err)
		}
		if p, err := remote.Create(ctx, object, values(five, "zero")); p != object.Child(0) || err != nil {
			t.Fatal(p, err)
		}
		if p, err := remote.Create(ctx, object, nil); p != object.Child(1) || err != nil {
			t.Fatal(p, err)
		}
		if got := fmt.Sprintf("%v %s %s", managed.Instances(), managed.Value(application(five)).Text(), managed.Value(application(object.Child(0))).Text()); got != "[0 1 5] five zero" {
			t.Error(got)
		}
		for len(listed(s.event(t, lwm2m.Updated), object)) != 3 {
			continue // the object list follows
		}
		_, err := remote.Create(ctx, five, values(five, "again"))
		wantCode(t, "create what is there", err, lwm2m.CodeBadRequest)
		_, err = remote.Create(ctx, object.Child(9), []lwm2m.Record{{Path: object.Child(9).Child(objects.SensorValue), Value: lwm2m.Float(1)}})
		wantCode(t, "create with a read-only value", err, lwm2m.CodeMethodNotAllowed)
		if err := remote.Delete(ctx, object.Child(1)); err != nil {
			t.Fatal(err)
		}
		wantCode(t, "delete twice", remote.Delete(ctx, object.Child(1)), lwm2m.CodeNotFound)
		wantCode(t, "delete the object", remote.Delete(ctx, object), lwm2m.CodeMethodNotAllowed)
		wantCode(t, "delete what the device keeps", remote.Delete(ctx, component), lwm2m.CodeMethodNotAllowed)
		_, err = remote.Create(ctx, lwm2m.NewPath(objects.TemperatureID), nil)
		wantCode(t, "create what the device keeps", err, lwm2m.CodeMethodNotAllowed)
		if p, err := remote.Create(ctx, object.Child(300), nil); p != object.Child(300) || err != nil {
			t.Errorf("without values: %v, %v", p, err)
		}
		if got := managed.Instances(); !slices.Equal(got, []uint16{0, 5, 300}) {
			t.Errorf("instances %v", got)
		}
	}
}

// listed are the paths under p in the registration.
func listed(e lwm2m.Event, p lwm2m.Path) []lwm2m.Path {
	return slices.DeleteFunc(e.Registration.Objects, func(q lwm2m.Path) bool { return !p.Contains(q) || q == p })
}

// TestDiscoverMultiple lists the instances of a resource.
func TestDiscoverMultiple(t *testing.T) {
	hardware := objects.NewMemory(objects.Device)
	errorCodes := lwm2m.NewPath(objects.DeviceID, 0, objects.DeviceErrorCode)
	hardware.Set(lwm2m.Record{Path: errorCodes.Child(0), Value: lwm2m.Int(0)}, lwm2m.Record{Path: errorCodes.Child(3), Value: lwm2m.Int(1)})
	_, _, remote := connect(t, func(c *lwm2m.ClientConfig) { c.Objects = append(c.Objects, hardware) })
	links, err := remote.Discover(deadline(t), errorCodes)
	if got, want := string(lwm2m.EncodeLinks(links)), "</3/0/11>;dim=2,</3/0/11/0>,</3/0/11/3>"; got != want || err != nil {
		t.Errorf("discovered %s, want %s (%v)", got, want, err)
	}
}

// TestTooManyObservations: a server that observes ever other things comes to an end, and
// keeps what it has.
func TestTooManyObservations(t *testing.T) {
	t.Parallel()
	_, _, remote := connect(t, nil)
	var box inbox
	if _, err := remote.Observe(deadline(t), version, box.put); err != nil {
		t.Fatal(err)
	}
	var refused error
	for i := 0; refused == nil && i < 1000; i++ {
		_, refused = remote.ObserveComposite(deadline(t), []lwm2m.Path{version, lwm2m.NewPath(objects.TemperatureID, 0), lwm2m.NewPath(5000, uint16(i))}, box.put)
	}
	wantCode(t, "one more", refused, lwm2m.CodeUnavailable)
	if _, err := remote.Observe(deadline(t), version, box.put); err != nil {
		t.Errorf("what it has already: %v", err)
	}
}
