package coap_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
)

// TestAcknowledgedWhenTaken: a notification is acknowledged when notify has returned,
// over UDP, where it is repeated meanwhile, and over TCP, where a pong says so.
func TestAcknowledgedWhenTaken(t *testing.T) {
	for name, tr := range map[string]transport{
		"UDP": {scheme: "coap://", host: "127.0.0.1", client: []coap.Option{quick()}},
		"TCP": {scheme: "coap+tcp://", host: "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := tr.serve(t, "0")
			d := tr.dial(t, s)
			remote := s.event(t, lwm2m.Registered).Device
			ctx := deadline(t)
			given, take := make(chan float64, 100), make(chan struct{}, 1)
			take <- struct{}{} // the first value
			_, err := remote.Observe(ctx, reading, func(records []lwm2m.Record) {
				given <- records[0].Value.Float()
				<-take
			})
			if err != nil {
				t.Fatal(err)
			}
			<-given
			delivered := make(chan error, 1)
			d.Changed(d.sensor.Reading(0, 22, "Cel", time.Now())...)
			go func() { delivered <- d.Deliver(ctx, reading) }()
			if got := <-given; got != 22 {
				t.Errorf("given %v", got)
			}
			select {
			case err := <-delivered:
				t.Errorf("acknowledged before it was taken: %v", err)
			case <-time.After(150 * time.Millisecond): // two copies later, over UDP
			}
			take <- struct{}{}
			take <- struct{}{} // a notification that Deliver may have asked for once more
			if err := <-delivered; err != nil {
				t.Fatal(err)
			}
			if len(given) > 1 {
				t.Errorf("a notification was given %d times more", len(given))
			}
		})
	}
}

// TestWhoKeepsNoMore cancels the observation before notify returns: the device does
// not count the values as delivered, and hears that the observation has ended.
func TestWhoKeepsNoMore(t *testing.T) {
	_, d, remote := connect(t, nil)
	ctx := deadline(t)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	var full atomic.Bool
	ended := make(chan error, 1)
	notify := func([]lwm2m.Record) {
		if full.Load() {
			ended <- remote.CancelObserve(gone, reading) // says so on this side only
		}
	}
	if _, err := remote.Observe(ctx, reading, notify); err != nil {
		t.Fatal(err)
	}
	if err := d.Deliver(ctx, reading); err != nil {
		t.Fatal(err)
	}
	full.Store(true)
	delivered := make(chan error, 1)
	d.Changed(d.sensor.Reading(0, 22, "Cel", time.Now())...)
	go func() { delivered <- d.Deliver(ctx, reading) }()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled without a way to say so: %v", err)
	}
	select {
	case err := <-delivered:
		t.Errorf("refused, and delivered: %v", err)
	default:
	}
	var box inbox
	if _, err := remote.Observe(ctx, reading, box.put); err != nil {
		t.Fatal(err)
	}
	box.await(t, reading, lwm2m.Float(22))
	if err := <-delivered; err != nil {
		t.Error(err)
	}
}
