package bridge

import (
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// TestRemoval takes software off gadgets of many habits, and puts it back.
func TestRemoval(t *testing.T) {
	y := newYard(t, quietly)
	y.publish(t, gadgetSoftware, "1.0.0", 0, "")
	for _, test := range []struct {
		name      string
		component string // software if ""
		how       func(g *gadget)
		wish      map[string]any
		result    string
		cause     string
	}{
		{name: "software", wish: map[string]any{"remove": true}, result: "removed"},
		{name: "software-that-must-be-stopped", how: func(g *gadget) { g.clings = true }, wish: map[string]any{"remove": "purge"}, result: "removed"},
		{name: "software-that-stays", how: func(g *gadget) { g.keeps = true }, wish: map[string]any{"remove": true}, result: "turned back", cause: "could not"},
		{name: "nothing", how: func(g *gadget) { g.setSoftware(objects.SoftwareInitial, 0) }, wish: map[string]any{"remove": true}, result: "refused", cause: "nothing is installed"},
		{name: "a-contradiction", wish: map[string]any{"remove": true, "version": "1.0.0"}, result: "refused", cause: "contradicts"},
		{name: "firmware", component: gadgetFirmware, wish: map[string]any{"remove": true}, result: "refused", cause: "firmware cannot"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newGadget(t, test.name)
			if test.how != nil {
				test.how(g)
			}
			y.admit(t, g)
			component := test.component
			if component == "" {
				component = gadgetSoftware
			}
			eventually(t, "the gadget", func() any { return y.reported(g.endpoint, "components", component, "version") }, is("1.0.0"))
			y.desire(t, g.endpoint, component, test.wish)
			o := y.outcome(t, g.endpoint, component, "")
			if cause, _ := o["cause"].(string); o["result"] != test.result || !strings.Contains(cause, test.cause) || o["kind"] != "remove" {
				t.Errorf("ended with %v", o)
			}
			if test.result != "removed" {
				eventually(t, "it is there", func() any { return y.reported(g.endpoint, "components", component, "version") }, is("1.0.0"))
				return
			}
			eventually(t, "it is gone", func() any { return y.reported(g.endpoint, "components", component, "version") }, is(nil))
			y.desire(t, g.endpoint, component, map[string]any{"remove": nil, "version": "1.0.0"})
			id, _ := o["id"].(string)
			if o = y.outcome(t, g.endpoint, component, id); o["result"] != "updated" {
				t.Errorf("ended with %v", o)
			}
			eventually(t, "it is back", func() any { return y.reported(g.endpoint, "components", component, "version") }, is("1.0.0"))
			if n := g.at("remove"); n != 1 {
				t.Errorf("removed %d times", n)
			}
		})
	}
}

// TestTheBridgeRestartsDuringARemoval, at each of its steps.
func TestTheBridgeRestartsDuringARemoval(t *testing.T) {
	for _, step := range []string{"admit", "uninstall"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			y := newYard(t, quietly)
			g := newGadget(t, "gadget")
			g.hold("remove")
			y.admit(t, g)
			eventually(t, "the gadget", func() any { return y.reported(g.endpoint, "components", gadgetSoftware, "version") }, is("1.0.0"))
			wish := map[string]any{"remove": true}
			if step == "admit" {
				wish["consent"] = "ask"
			}
			y.desire(t, g.endpoint, gadgetSoftware, wish)
			eventually(t, "the step", func() any { return y.reported(g.endpoint, "components", gadgetSoftware, "update", "step") }, is(step))
			if step == "uninstall" {
				eventually(t, "the gate", func() int { return g.at("remove") }, func(n int) bool { return n > 0 })
			}
			id := y.reported(g.endpoint, "components", gadgetSoftware, "update", "id")
			y.stop()
			g.open("remove")
			y.open(t, y.bridge.Addr())
			if step == "admit" {
				y.desire(t, g.endpoint, gadgetSoftware, map[string]any{"consented": id})
			}
			var o map[string]any
			eventually(t, "the end", func() any {
				g.client.ObjectsChanged() // it hears that its registration is gone
				return y.reported(g.endpoint, "components", gadgetSoftware, "outcome")
			}, func(v any) bool { o, _ = v.(map[string]any); return o != nil })
			if o["result"] != "removed" || o["id"] != id || g.at("remove") != 1 {
				t.Errorf("update %v ended with %v, removed %d times", id, o, g.at("remove"))
			}
		})
	}
}
