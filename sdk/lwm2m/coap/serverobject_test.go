package coap_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// TestServerObject: what a server may set of object 1 takes effect.
func TestServerObject(t *testing.T) {
	t.Parallel()
	sent := make(chan []lwm2m.Record, 9)
	s := startServerWith(t, func(c *lwm2m.ServerConfig) {
		c.OnSend = func(_ context.Context, _ *lwm2m.Device, records []lwm2m.Record) error {
			sent <- records
			return nil
		}
	})
	d := startDevice(t, s.address, nil)
	remote := s.event(t, lwm2m.Registered).Device
	eventually(t, "the device knows", d.Registered)
	object := lwm2m.NewPath(objects.ServerID, 0)
	set := func(resource uint16, v lwm2m.Value) {
		t.Helper()
		p := object.Child(resource)
		if err := remote.Write(deadline(t), p, lwm2m.Replace, []lwm2m.Record{{Path: p, Value: v}}); err != nil {
			t.Fatal(err)
		}
		if records, err := remote.Read(deadline(t), p); err != nil || len(records) != 1 || records[0].Value != v {
			t.Fatalf("%v was set to %v and is %v, %v", p, v, records, err)
		}
	}
	value := lwm2m.Record{Path: reading, Value: lwm2m.Float(1)}
	set(objects.ServerMuteSend, lwm2m.Bool(true))
	if err := d.Send(deadline(t), value); !errors.Is(err, lwm2m.ErrMuted) {
		t.Errorf("a muted device sends: %v", err)
	}
	set(objects.ServerMuteSend, lwm2m.Bool(false))
	if err := d.Send(deadline(t), value); err != nil {
		t.Error(err)
	}
	<-sent

	var box inbox
	set(objects.ServerDefaultMaxPeriod, lwm2m.Int(1))
	if _, err := remote.Observe(deadline(t), reading, box.put); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a second passes, and the value is told again", func() bool { return box.count() > 1 })

	bad := object.Child(objects.ServerDisableTimeout)
	wantCode(t, "a timeout below zero", remote.Write(deadline(t), bad, lwm2m.Replace, []lwm2m.Record{{Path: bad, Value: lwm2m.Int(-1)}}), lwm2m.CodeBadRequest)
	set(objects.ServerDisableTimeout, lwm2m.Int(1))
	begun := time.Now()
	if err := remote.Execute(deadline(t), object.Child(objects.ServerDisable), ""); err != nil {
		t.Fatal(err)
	}
	s.event(t, lwm2m.Deregistered)
	s.event(t, lwm2m.Registered)
	if passed := time.Since(begun); passed < time.Second {
		t.Errorf("it came back after %v", passed)
	}
}
