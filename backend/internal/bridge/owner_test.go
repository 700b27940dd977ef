package bridge

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// here counts the devices of a bridge.
func here(b *Bridge) func() int {
	return func() int {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.sessions)
	}
}

// moved waits until a device is at one bridge, and the other one has let go of it.
func moved(t *testing.T, owner func() any, from, to *Bridge) {
	t.Helper()
	eventually(t, "the twin names the bridge", owner, is(any(to.name)))
	eventually(t, "the other one lets go", here(from), is0)
}

func is0(n int) bool { return n == 0 }

// TestADeviceMovesBetweenBridges goes from one bridge to another one and back, without
// a goodbye: the one that it has registered with last acts for it, and the other
// one lets go. What was executed once is not executed again.
func TestADeviceMovesBetweenBridges(t *testing.T) {
	t.Parallel()
	h, _ := startHub(t, t.TempDir(), "127.0.0.1:0", "127.0.0.1:0")
	s := system{service: iothub.NewClient(connection(t, h, hub.PolicyOwner))}
	create(t, s.service, endpoint)
	var bridges [2]*Bridge
	for i := range bridges {
		b, err := New(Config{Hub: connection(t, h, hub.PolicyDevice), Listen: "127.0.0.1:0", Log: quiet, AckTimeout: ackTimeout})
		if err != nil {
			t.Fatal(err)
		}
		background(t, b.Serve)
		bridges[i] = b
	}
	first, _ := startDevice(t, "coap://"+bridges[0].Addr())
	s.device = first
	eventually(t, "the device is at the first", s.at(t, ownerKey), is(any(bridges[0].name)))
	s.desire(t, tree(map[string]any{"2": map[string]any{"execute": 1}}))
	eventually(t, "it is executed", s.pulls, func(all []string) bool { return len(all) == 1 })

	for i, version := range []string{"2.0.0", "3.0.0", "4.0.0"} {
		from, to := bridges[i%2], bridges[(i+1)%2]
		s.device, _ = startDeviceWith(t, "coap://"+to.Addr(), func(c *lwm2m.ClientConfig) {
			c.Objects = []lwm2m.Object{first.updates, first.sensor, first.thing, first.parts}
		})
		moved(t, s.at(t, ownerKey), from, to)
		s.desire(t, wish(map[string]any{"version": version}))
		eventually(t, "the wish", first.wishes, last(version))
		s.client.Changed(first.sensor.Reading(0, float64(i), "Cel", time.Now())...)
		eventually(t, "its reading", s.at(t, "lwm2m", "3303", "0", "5700", "value"), is(any(float64(i))))
		eventually(t, "it is online", s.at(t, "state"), is(any("online")))
	}
	if all := first.wishes(); len(all) != 3 {
		t.Errorf("wishes were written as %v", all)
	}
	if all := first.pulls(); len(all) != 1 {
		t.Errorf("executed %d times", len(all))
	}
}

// TestADeviceMovesDuringItsUpdate to another bridge and back, at the steps that must
// not be done twice.
func TestADeviceMovesDuringItsUpdate(t *testing.T) {
	for name, test := range map[string]struct {
		component, hold string
		wish            map[string]any
	}{
		"while it is pushed":     {gadgetFirmware, "push", map[string]any{"version": "2.0.0", "delivery": "push"}},
		"while it fetches":       {gadgetSoftware, "fetch", map[string]any{"version": "2.0.0"}},
		"while it makes way":     {gadgetSoftware, "uninstall", map[string]any{"version": "2.0.0"}},
		"while it installs":      {gadgetSoftware, "install", map[string]any{"version": "2.0.0"}},
		"before it is activated": {gadgetSoftware, "activate", map[string]any{"version": "2.0.0"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			y := newYard(t, func(c *Config) { c.Dir = t.TempDir() })
			y.grace = time.Minute // it takes time to move
			y.restart(t)
			a := y.bridge
			y.open(t, "127.0.0.1:0")
			b := y.bridge
			y.publish(t, test.component, "2.0.0", 20_000, "")
			g := newGadget(t, "gadget")
			g.oneByOne = true
			g.hold(test.hold)
			y.bridge = a
			y.admit(t, g)
			y.desire(t, g.endpoint, test.component, test.wish)
			eventually(t, "the gate", func() int { return g.at(test.hold) }, func(n int) bool { return n > 0 })
			id := y.reported(g.endpoint, "components", test.component, "update", "id")
			for _, to := range []*Bridge{b, a} {
				from := a
				if to == a {
					from = b
				}
				t.Cleanup(g.stop) // it does not say goodbye
				g.start("coap://" + to.Addr())
				moved(t, func() any { return y.reported(g.endpoint, ownerKey) }, from, to)
			}
			g.open(test.hold)
			o := y.outcome(t, g.endpoint, test.component, "")
			if o["result"] != "updated" || o["id"] != id {
				t.Errorf("update %v ended with %v", id, o)
			}
			if n := g.at("install"); test.component == gadgetSoftware && n != 1 {
				t.Errorf("installed %d times", n)
			}
			if files, err := os.ReadDir(filepath.Join(b.Dir, "updates")); err != nil || len(files) > 0 {
				t.Errorf("a bridge that has let go still wants to update: %v, %v", files, err)
			}
		})
	}
}

// TestADeviceForgetsAPush: it starts anew in the middle of one, and comes to another bridge. That has no reason to
// wait for what nobody sends any more.
func TestADeviceForgetsAPush(t *testing.T) {
	t.Parallel()
	y := newYard(t, func(c *Config) { c.Dir = t.TempDir() })
	y.grace = time.Hour
	y.restart(t)
	y.publish(t, gadgetFirmware, "2.0.0", 20_000, "")
	g := newGadget(t, "gadget")
	g.hold("push")
	y.admit(t, g)
	y.desire(t, g.endpoint, gadgetFirmware, map[string]any{"version": "2.0.0", "delivery": "push"})
	eventually(t, "the gate", func() int { return g.at("push") }, func(n int) bool { return n > 0 })
	y.open(t, "127.0.0.1:0")
	t.Cleanup(g.stop) // it does not say goodbye
	t.Cleanup(func() { g.open("push") })
	again := newGadget(t, "gadget")
	again.start("coap://" + y.bridge.Addr())
	t.Cleanup(again.stop)
	if o := y.outcome(t, again.endpoint, gadgetFirmware, ""); o["result"] != "updated" {
		t.Error(o)
	}
}

// TestABridgeComesBackTooLate: its device has moved while it was down, in the middle
// of an update. It does nothing for it, and leaves it to the other one.
func TestABridgeComesBackTooLate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	y := newYard(t, func(c *Config) { c.Dir = dir })
	y.grace = time.Minute
	y.restart(t)
	a, stop := y.bridge, y.stop
	y.publish(t, gadgetSoftware, "2.0.0", 0, "")
	g := newGadget(t, "gadget")
	g.oneByOne = true
	g.hold("install")
	y.admit(t, g)
	y.desire(t, g.endpoint, gadgetSoftware, map[string]any{"version": "2.0.0"})
	eventually(t, "it installs", func() int { return g.at("install") }, func(n int) bool { return n == 1 })
	stop()
	y.adapt = func(c *Config) { c.Dir = t.TempDir() }
	y.open(t, "127.0.0.1:0")
	b := y.bridge
	t.Cleanup(g.stop)
	g.start("coap://" + b.Addr())
	eventually(t, "it is at the other one", func() any { return y.reported(g.endpoint, ownerKey) }, is(any(b.name)))
	y.adapt = func(c *Config) { c.Dir = dir }
	y.open(t, a.Addr())
	updates := ledger(filepath.Join(dir, "updates"))
	eventually(t, "the first lets go of its update", func() int { return len(updates.open()) }, is0)
	moved(t, func() any { return y.reported(g.endpoint, ownerKey) }, y.bridge, b)
	g.open("install")
	if o := y.outcome(t, g.endpoint, gadgetSoftware, ""); o["result"] != "updated" {
		t.Errorf("ended with %v", o)
	}
	if n := g.at("install"); n != 1 {
		t.Errorf("installed %d times", n)
	}
}

// TestAnExecuteIsToldFirst: a bridge that ends before it has told what came of an
// execute is not followed by one that executes again.
func TestAnExecuteIsToldFirst(t *testing.T) {
	t.Parallel()
	h, _ := startHub(t, t.TempDir(), "127.0.0.1:0", "127.0.0.1:0")
	s := system{service: iothub.NewClient(connection(t, h, hub.PolicyOwner))}
	create(t, s.service, endpoint)
	config := Config{Hub: connection(t, h, hub.PolicyDevice), Listen: "127.0.0.1:0", Log: quiet, AckTimeout: ackTimeout}
	b, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	stop := background(t, b.Serve)
	executed, hold := make(chan struct{}, 9), make(chan struct{})
	d, _ := startDeviceWith(t, "coap://"+b.Addr(), func(c *lwm2m.ClientConfig) {
		c.Objects[2].(*objects.Memory).OnExecute = func(context.Context, lwm2m.Path, string) error {
			executed <- struct{}{}
			<-hold
			return nil
		}
	})
	s.device = d
	eventually(t, "it is online", s.at(t, "state"), is(any("online")))
	s.desire(t, tree(map[string]any{"2": map[string]any{"execute": 1}}))
	<-executed
	stop()
	config.Listen = b.Addr()
	if b, err = New(config); err != nil {
		t.Fatal(err)
	}
	background(t, b.Serve)
	close(hold)
	d.client.ObjectsChanged() // it hears that its registration is gone
	eventually(t, "what is known of it", s.at(t, "lwm2m", "33000", "0", "2", "err"), is(any(errUnanswered.Error())))
	s.set(objects.ComponentVersion, lwm2m.String("1.1.0"))
	eventually(t, "all is in step", s.at(t, "components", name, "version"), is(any("1.1.0")))
	if len(executed) > 0 {
		t.Error("executed twice")
	}
}
