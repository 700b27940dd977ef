package bridge

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/files"
	"github.com/tranquil-iot/tranquil/backend/internal/hub"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// A yard is hub, file server and bridge, for devices without an agent.
type yard struct {
	hub     *hub.Hub
	service *iothub.Client
	files   *files.Server
	bridge  *Bridge
	stop    func()
	adapt   func(*Config)
	limit   time.Duration // of each try
	grace   time.Duration // that a device has to begin
}

const filesToken = "publisher"

func newYard(t *testing.T, adapt func(*Config)) *yard {
	t.Helper()
	y := &yard{adapt: adapt, limit: time.Minute, grace: 2 * time.Second}
	y.hub, _ = startHub(t, t.TempDir(), "127.0.0.1:0", "127.0.0.1:0")
	y.service = iothub.NewClient(connection(t, y.hub, hub.PolicyOwner))
	var err error
	y.files, err = files.New(files.Config{Dir: t.TempDir(), Trust: t.TempDir(), HTTP: "127.0.0.1:0", CoAP: "127.0.0.1:0", Token: filesToken, Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	background(t, y.files.Serve)
	y.open(t, "127.0.0.1:0")
	return y
}

// open starts the bridge, also again.
func (y *yard) open(t *testing.T, listen string) {
	t.Helper()
	c := Config{
		Hub: connection(t, y.hub, hub.PolicyDevice), Listen: listen, Log: quiet, AckTimeout: ackTimeout,
		Packages: y.files.Open, Files: []string{"coap://" + y.files.CoAPAddr(), "http://" + y.files.HTTPAddr()},
	}
	y.adapt(&c)
	b, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	b.pace = pace{poll: 20 * time.Millisecond, grace: y.grace, pause: time.Millisecond, limit: y.limit}
	y.bridge, y.stop = b, background(t, b.Serve)
}

// restart is a bridge that was stopped and started anew: it remembers what is in its
// directory, if it has one.
func (y *yard) restart(t *testing.T) {
	t.Helper()
	y.stop()
	y.open(t, y.bridge.Addr())
}

// publish pushes a package whose artifact is the text of its version, and so much
// filling.
func (y *yard) publish(t *testing.T, component, version string, filling int, more string) {
	t.Helper()
	dir := t.TempDir()
	kind, name, _ := strings.Cut(component, "/")
	recipe := fmt.Sprintf("type = %q\nname = %q\nversion = %q\n%s\n[[artifact]]\npath = \"image\"\nraw = true\n", kind, name, version, more)
	for file, text := range map[string]string{"tranquil.toml": recipe, "image": version + " " + strings.Repeat("x", filling)} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, err := pack.ReadRecipe(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, path, err := r.BuildFile(filepath.Join(dir, "package.tar"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := pack.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.Verify(); err != nil {
		t.Fatal(err)
	}
	at := "http://" + y.files.HTTPAddr() + "/v2/" + component
	for _, d := range append(l.Package.Blobs(), l.Package.Descriptor()) {
		blob, err := l.Blob(d)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(blob)
		if err != nil {
			t.Fatal(err)
		}
		if d == l.Package.Descriptor() {
			send(t, http.MethodPut, at+"/manifests/"+version, b)
		} else {
			send(t, http.MethodPost, at+"/blobs/uploads/?digest="+d.Digest, b)
		}
	}
}

func send(t *testing.T, method, to string, b []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, to, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+filesToken)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusCreated {
		text, _ := io.ReadAll(answer.Body)
		t.Fatalf("%s: %s %s", to, answer.Status, text)
	}
}

// admit has a gadget come to the yard.
func (y *yard) admit(t *testing.T, g *gadget) {
	t.Helper()
	create(t, y.service, g.endpoint)
	g.start("coap://" + y.bridge.Addr())
	t.Cleanup(g.end)
}

func (y *yard) desire(t *testing.T, endpoint, component string, fields map[string]any) {
	t.Helper()
	patch := iothub.TwinPatch{Desired: map[string]any{"components": map[string]any{component: fields}}}
	if _, err := y.service.PatchTwin(t.Context(), endpoint, patch, ""); err != nil {
		t.Fatal(err)
	}
}

// reported walks down the reported properties of a device.
func (y *yard) reported(endpoint string, path ...string) any {
	twin, err := y.service.Twin(context.Background(), endpoint)
	if err != nil {
		return err
	}
	var v any = map[string]any(twin.Properties.Reported)
	for _, key := range path {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	return v
}

// outcome waits for the end of an update, and returns it.
func (y *yard) outcome(t *testing.T, endpoint, component, not string) map[string]any {
	t.Helper()
	var last map[string]any
	eventually(t, endpoint+" ends its update", func() any { return y.reported(endpoint, "components", component) }, func(v any) bool {
		c, _ := v.(map[string]any)
		last, _ = c["outcome"].(map[string]any)
		return last != nil && last["id"] != not && c["job"] == nil
	})
	return last
}

const (
	gadgetFirmware = "firmware/gadget-3"
	gadgetSoftware = "application/a"
)

var quietly = func(*Config) {}

// TestUpdatesOfDevicesWithoutAgent updates gadgets of many habits by objects 5 and
// 9, each once.
func TestUpdatesOfDevicesWithoutAgent(t *testing.T) {
	y := newYard(t, quietly)
	for _, component := range []string{gadgetFirmware, gadgetSoftware} {
		y.publish(t, component, "2.0.0", 5000, "downtime = \"30s\"")
		y.publish(t, component, "1.0.0", 5000, "")
		y.publish(t, component, "3.0.0", 0, "[state]\nschema = 1")
		y.publish(t, component, "4.0.0", 0, "[requires]\n\"application/other\" = \">=1\"")
	}
	wish := map[string]any{"version": "2.0.0"}
	with := func(key string, v any) map[string]any { return map[string]any{"version": "2.0.0", key: v} }
	for _, test := range []struct {
		name      string
		component string // firmware if ""
		how       func(g *gadget)
		wish      map[string]any
		result    string
		cause     string // part of it
		version   string // afterwards; 1.0.0 if ""
		fetched   int    // downloads that began; -1 any
	}{
		{name: "firmware by URI", wish: wish, result: "updated", version: "2.0.0", fetched: 1},
		{name: "firmware by push, since the device cannot pull", how: func(g *gadget) { g.delivery = objects.FirmwareDeliveryPush }, wish: wish, result: "updated", version: "2.0.0"},
		{name: "firmware by push, since the operator wants it", wish: with("delivery", "push"), result: "updated", version: "2.0.0"},
		{name: "firmware by push, since the device has none of the protocols", how: func(g *gadget) { g.protocols = []int64{objects.FirmwareProtocolHTTPS} }, wish: wish, result: "updated", version: "2.0.0"},
		{name: "no way to pull", how: func(g *gadget) { g.protocols = []int64{objects.FirmwareProtocolHTTPS} }, wish: with("delivery", "pull"), result: "refused", cause: "configure bridge.files"},
		{name: "no way to push", how: func(g *gadget) { g.delivery = objects.FirmwareDeliveryPull }, wish: with("delivery", "push"), result: "refused", cause: "let it pull"},
		{name: "firmware that starts anew", how: func(g *gadget) { g.restarts = true }, wish: wish, result: "updated", version: "2.0.0", fetched: 1},
		{name: "firmware that forgets how it went", how: func(g *gadget) { g.restarts, g.forgets = true, true }, wish: wish, result: "updated", version: "2.0.0", fetched: 1},
		{name: "the third download is whole", how: func(g *gadget) { g.fetches = []int64{4, 5} }, wish: wish, result: "updated", version: "2.0.0", fetched: 3},
		{name: "a device that does not install when it is told", how: func(g *gadget) { g.refuses = true }, wish: wish, result: "turned back", cause: "refuses to install", fetched: 1},
		{name: "what is there already", wish: map[string]any{"version": "1.0.0"}, result: "unchanged"},
		{name: "state that must be transformed", wish: map[string]any{"version": "3.0.0"}, result: "refused", cause: "no agent that could transform it"},
		{name: "a package that is not there", wish: map[string]any{"version": "9.0.0"}, result: "refused", cause: "push it first"},
		{name: "a package that requires another", wish: map[string]any{"version": "4.0.0"}, result: "refused", cause: "update that first"},
		{name: "software", component: gadgetSoftware, wish: wish, result: "updated", version: "2.0.0", fetched: 1},
		{name: "software that must make way", component: gadgetSoftware, how: func(g *gadget) { g.oneByOne = true }, wish: wish, result: "updated", version: "2.0.0", fetched: 1},
		{name: "software by push", component: gadgetSoftware, wish: with("delivery", "push"), result: "updated", version: "2.0.0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newGadget(t, strings.NewReplacer(" ", "-", ",", "").Replace(test.name))
			if test.how != nil {
				test.how(g)
			}
			y.admit(t, g)
			component := test.component
			if component == "" {
				component = gadgetFirmware
			}
			eventually(t, "the gadget", func() any { return y.reported(g.endpoint, "components", component, "version") }, is("1.0.0"))
			y.desire(t, g.endpoint, component, test.wish)
			o := y.outcome(t, g.endpoint, component, "")
			if cause, _ := o["cause"].(string); o["result"] != test.result || !strings.Contains(cause, test.cause) {
				t.Errorf("ended with %v", o)
			}
			if test.version == "" {
				test.version = "1.0.0"
			}
			eventually(t, "its version", func() any { return y.reported(g.endpoint, "components", component, "version") }, is(test.version))
			if n := g.at("fetch"); n != test.fetched {
				t.Errorf("%d downloads, want %d", n, test.fetched)
			}
			if n := g.at("install"); n > 1 {
				t.Errorf("installed %d times", n)
			}
			if running := y.reported(g.endpoint, "components", component, "running"); running != true {
				t.Errorf("running: %v", running)
			}
		})
	}
}

// TestResultsInWords has a gadget fail with each Update Result there is.
func TestResultsInWords(t *testing.T) {
	y := newYard(t, quietly)
	for _, component := range []string{gadgetFirmware, gadgetSoftware} {
		y.publish(t, component, "2.0.0", 0, "")
	}
	for _, o := range []*object{firmware, software} {
		for result, f := range o.failings {
			t.Run(fmt.Sprintf("%s %d", o.kind, result), func(t *testing.T) {
				t.Parallel()
				g := newGadget(t, fmt.Sprintf("%s-%d", o.kind, result))
				component, want, downloads := gadgetFirmware, "refused", 1
				if o == software {
					component = gadgetSoftware
				}
				switch {
				case result == objects.FirmwareResultFailed, result == objects.SoftwareResultInstallFailed:
					g.installs, want = []int64{result}, "turned back"
				case f.blame == retry:
					g.fetches, want, downloads = []int64{result}, "updated", 2
				case f.blame == reroute: // to a push
					g.fetches, want = []int64{result}, "updated"
				default:
					g.fetches = []int64{result}
				}
				y.admit(t, g)
				y.desire(t, g.endpoint, component, map[string]any{"version": "2.0.0"})
				got := y.outcome(t, g.endpoint, component, "")
				if cause, _ := got["cause"].(string); got["result"] != want || want != "updated" && cause != f.words {
					t.Errorf("ended with %v", got)
				}
				if n := g.at("fetch"); n != downloads {
					t.Errorf("%d downloads, want %d", n, downloads)
				}
			})
		}
	}
}

// TestDeadlines: what a device never does is not waited for longer than the step
// may take, and the outcome says what has become of it as far as anybody knows.
func TestDeadlines(t *testing.T) {
	y := newYard(t, quietly)
	y.limit = 3 * time.Second // on a slow machine a step before that is tried again
	y.restart(t)
	for _, component := range []string{gadgetFirmware, gadgetSoftware} {
		y.publish(t, component, "2.0.0", 0, "")
	}
	for _, test := range []struct {
		name, component string
		how             func(g *gadget)
		result, cause   string
	}{
		{name: "not-heard-of-again", component: gadgetFirmware, how: func(g *gadget) { g.dies = true }, result: "inconsistent", cause: "not been heard of"},
		{name: "installs-for-ever", component: gadgetFirmware, how: func(g *gadget) { g.hold("install") }, result: "inconsistent", cause: "still says that it installs"},
		{name: "never-active", component: gadgetSoftware, how: func(g *gadget) { g.hold("activate") }, result: "inconsistent", cause: "not within"},
		{name: "firmware-stays", component: gadgetFirmware, how: func(g *gadget) { g.sticks = true }, result: "turned back", cause: "still has version"},
		{name: "software-stays", component: gadgetSoftware, how: func(g *gadget) { g.sticks = true }, result: "turned back", cause: "still has version"},
		{name: "never-whole", component: gadgetFirmware, how: func(g *gadget) { g.fetches = []int64{4, 4, 4, 4, 4, 4, 4, 4} }, result: "refused", cause: "lost its connection"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newGadget(t, test.name)
			test.how(g)
			y.admit(t, g)
			y.desire(t, g.endpoint, test.component, map[string]any{"version": "2.0.0"})
			o := y.outcome(t, g.endpoint, test.component, "")
			if cause, _ := o["cause"].(string); o["result"] != test.result || !strings.Contains(cause, test.cause) {
				t.Errorf("ended with %v", o)
			}
			if n := g.at("install"); n > 1 {
				t.Errorf("installed %d times", n)
			}
		})
	}
}

// gated are packages that nobody gets before the gate is open.
func gated(packages Packages, gate <-chan struct{}) Packages {
	return func(ctx context.Context, path string) (io.ReadCloser, error) {
		select {
		case <-gate:
			return packages(ctx, path)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// TestTheBridgeRestartsAtEachStep stops the bridge at each step of an update, and
// has the device go on meanwhile.
func TestTheBridgeRestartsAtEachStep(t *testing.T) {
	for _, step := range []struct {
		name      string
		hold      string // the gate of the gadget that the step waits at, if it does
		consent   bool   // or it waits for consent
		packages  bool   // or for the file server
		change    func(y *yard, g *gadget)
		meanwhile func(g *gadget)
	}{
		{name: "resolve", packages: true},
		{name: "clear", hold: "give up", change: func(_ *yard, g *gadget) { g.setSoftware(objects.SoftwareDelivered, objects.SoftwareResultVerified) }},
		{name: "permit", consent: true},
		{name: "vacate", hold: "uninstall"},
		{name: "deliver", hold: "fetch"},
		{name: "deliver pushed", hold: "push"},
		{name: "admit", consent: true, change: func(_ *yard, g *gadget) { g.setSoftware(objects.SoftwareInitial, 0) }},
		{name: "install", hold: "install"},
		{name: "activate", hold: "activate"},
		{
			name: "probe", change: func(_ *yard, g *gadget) { g.sticks = true },
			meanwhile: func(g *gadget) {
				g.nine.SetValue(0, objects.SoftwarePackageVersion, lwm2m.String("2.0.0"))
				g.changed(objects.SoftwareManagementID)
			},
		},
	} {
		t.Run(step.name, func(t *testing.T) {
			t.Parallel()
			gate := make(chan struct{})
			if !step.packages {
				close(gate)
			}
			dir := t.TempDir()
			y := newYard(t, func(c *Config) { c.Packages, c.Dir = gated(c.Packages, gate), dir })
			y.publish(t, gadgetSoftware, "2.0.0", 5000, "")
			g := newGadget(t, "gadget")
			g.oneByOne = true
			if step.change != nil {
				step.change(y, g)
			}
			if step.hold != "" {
				g.hold(step.hold)
			}
			y.admit(t, g)
			eventually(t, "the gadget", func() any { return y.reported(g.endpoint, "components", gadgetSoftware, "version") }, is("1.0.0"))
			wish := map[string]any{"version": "2.0.0"}
			if step.consent {
				wish["consent"] = "ask"
			}
			name, pushes := strings.CutSuffix(step.name, " pushed")
			if pushes {
				wish["delivery"] = "push"
			}
			y.desire(t, g.endpoint, gadgetSoftware, wish)
			eventually(t, "the step", func() any { return y.reported(g.endpoint, "components", gadgetSoftware, "update", "step") }, is(name))
			if step.hold != "" {
				eventually(t, "the gate", func() int { return g.at(step.hold) }, func(n int) bool { return n > 0 })
			}
			id := y.reported(g.endpoint, "components", gadgetSoftware, "update", "id")
			y.stop()
			g.open(step.hold)
			if step.meanwhile != nil {
				step.meanwhile(g)
			}
			if step.packages {
				close(gate)
			}
			y.open(t, y.bridge.Addr())
			if step.consent {
				y.desire(t, g.endpoint, gadgetSoftware, map[string]any{"consented": id})
			}
			o := map[string]any{}
			eventually(t, "the end", func() any {
				g.client.ObjectsChanged() // it hears that its registration is gone
				return y.reported(g.endpoint, "components", gadgetSoftware, "outcome")
			}, func(v any) bool { o, _ = v.(map[string]any); return o != nil })
			if o["result"] != "updated" || o["id"] != id {
				t.Errorf("update %v ended with %v", id, o)
			}
			eventually(t, "its version", func() any { return y.reported(g.endpoint, "components", gadgetSoftware, "version") }, is("2.0.0"))
			if n := g.at("install"); n != 1 {
				t.Errorf("installed %d times", n)
			}
		})
	}
}

// TestAWishIsTakenBack: before the device installs a package it gives it up, as far
// as its object can.
func TestAWishIsTakenBack(t *testing.T) {
	y := newYard(t, quietly)
	y.publish(t, gadgetFirmware, "2.0.0", 0, "")
	y.publish(t, gadgetFirmware, "3.0.0", 0, "")
	g := newGadget(t, "gadget")
	y.admit(t, g)
	twin := func(path ...string) func() any {
		return func() any { return y.reported(g.endpoint, append([]string{"components", gadgetFirmware}, path...)...) }
	}
	y.desire(t, g.endpoint, gadgetFirmware, map[string]any{"version": "2.0.0", "window": "closed"})
	eventually(t, "the window", twin("update", "waitingFor"), is("the maintenance window closed"))
	if state := g.state(objects.FirmwareID); state != objects.FirmwareDownloaded {
		t.Errorf("state %d while it waits", state)
	}
	y.desire(t, g.endpoint, gadgetFirmware, map[string]any{"version": nil})
	o := y.outcome(t, g.endpoint, gadgetFirmware, "")
	if o["result"] != "refused" || o["cancelled"] != true {
		t.Errorf("ended with %v", o)
	}
	eventually(t, "the gadget gives it up", func() int64 { return g.state(objects.FirmwareID) }, func(n int64) bool { return n == objects.FirmwareIdle })

	g.hold("fetch")
	y.desire(t, g.endpoint, gadgetFirmware, map[string]any{"version": "2.0.0"})
	eventually(t, "the download", func() int { return g.at("fetch") }, func(n int) bool { return n == 2 })
	y.desire(t, g.endpoint, gadgetFirmware, map[string]any{"refused": twin("update", "id")()})
	second := y.outcome(t, g.endpoint, gadgetFirmware, fmt.Sprint(o["id"]))
	if second["cancelled"] != true || second["cause"] != "cancelled as asked" {
		t.Errorf("ended with %v", second)
	}
	g.open("fetch")

	y.desire(t, g.endpoint, gadgetFirmware, map[string]any{"version": "3.0.0", "now": "3.0.0"})
	third := y.outcome(t, g.endpoint, gadgetFirmware, fmt.Sprint(second["id"]))
	if third["result"] != "updated" || third["to"] != "3.0.0" {
		t.Errorf("ended with %v", third)
	}
	y.desire(t, g.endpoint, gadgetFirmware, map[string]any{"check": "0 * * * *"})
	eventually(t, "what it cannot do", func() any { return y.reported(g.endpoint, "refused", "components/"+gadgetFirmware) }, func(v any) bool { return v != nil })
	if n := g.at("install"); n != 1 {
		t.Errorf("installed %d times", n)
	}
}

// TestASlotGetsAName: an instance that has no package yet becomes the component that
// the operator says, and keeps that name.
func TestASlotGetsAName(t *testing.T) {
	y := newYard(t, quietly)
	y.publish(t, "application/greeter", "2.0.0", 0, "")
	g := newGadget(t, "gadget")
	g.nine.SetValue(0, objects.SoftwarePackageName, lwm2m.String(""))
	g.nine.SetValue(0, objects.SoftwarePackageVersion, lwm2m.String(""))
	g.setSoftware(objects.SoftwareInitial, 0)
	y.admit(t, g)
	eventually(t, "the slot", func() any { return y.reported(g.endpoint, "components", "software/slot-0", "object") }, is("/9/0"))
	y.desire(t, g.endpoint, "application/greeter", map[string]any{"version": "2.0.0", "object": "/9/0"})
	if o := y.outcome(t, g.endpoint, "application/greeter", ""); o["result"] != "updated" {
		t.Errorf("ended with %v", o)
	}
	y.desire(t, g.endpoint, "application/greeter", map[string]any{"object": nil})
	y.restart(t)
	eventually(t, "its name", func() any {
		g.client.ObjectsChanged()
		return y.reported(g.endpoint, "components", "application/greeter", "version")
	}, is("2.0.0"))
	if v := y.reported(g.endpoint, "components", "software/slot-0"); v != nil {
		t.Errorf("the slot is still there: %v", v)
	}
}

// TestADeviceIsAwayDuringItsUpdate: it is restarted in the middle of a download,
// which it forgets, and is gone for as long as it likes.
func TestADeviceIsAwayDuringItsUpdate(t *testing.T) {
	y := newYard(t, quietly)
	y.publish(t, gadgetFirmware, "2.0.0", 0, "")
	g := newGadget(t, "gadget")
	y.admit(t, g)
	eventually(t, "the gadget", func() any { return y.reported(g.endpoint, "components", gadgetFirmware, "version") }, is("1.0.0"))
	g.hold("fetch")
	y.desire(t, g.endpoint, gadgetFirmware, map[string]any{"version": "2.0.0"})
	eventually(t, "the download", func() int { return g.at("fetch") }, func(n int) bool { return n == 1 })
	g.stop()
	eventually(t, "it is away", func() any { return y.reported(g.endpoint, "state") }, is("offline"))
	if step := y.reported(g.endpoint, "components", gadgetFirmware, "update", "step"); step != "deliver" {
		t.Errorf("step %v", step)
	}
	g.fetches = []int64{4} // of the first download: whatever comes of it is forgotten
	g.open("fetch")
	g.running.Wait()
	g.setFirmware(objects.FirmwareIdle, 0)
	g.start(g.server)
	if o := y.outcome(t, g.endpoint, gadgetFirmware, ""); o["result"] != "updated" {
		t.Errorf("ended with %v", o)
	}
}

// TestASleeperIsUpdated: each time that it wakes, its update goes on.
func TestASleeperIsUpdated(t *testing.T) {
	y := newYard(t, func(c *Config) { c.AwakeTime = time.Second })
	y.publish(t, gadgetFirmware, "2.0.0", 20_000, "")
	g := newGadget(t, "gadget")
	g.queue, g.restarts = true, true
	y.admit(t, g)
	eventually(t, "the gadget", func() any { return y.reported(g.endpoint, "components", gadgetFirmware, "version") }, is("1.0.0"))
	y.desire(t, g.endpoint, gadgetFirmware, map[string]any{"version": "2.0.0", "delivery": "push"})
	var o map[string]any
	eventually(t, "the end", func() any {
		g.mu.Lock()
		client := g.client
		g.mu.Unlock()
		if client != nil {
			client.ObjectsChanged()
		}
		return y.reported(g.endpoint, "components", gadgetFirmware, "outcome")
	}, func(v any) bool { o, _ = v.(map[string]any); return o != nil })
	if o["result"] != "updated" {
		t.Errorf("ended with %v", o)
	}
}

// TestADeviceNeverComesBack: a bridge that is started anew remembers that it was
// told to install something, and when that should be over.
func TestADeviceNeverComesBack(t *testing.T) {
	dir := t.TempDir()
	y := newYard(t, func(c *Config) { c.Dir = dir })
	y.limit = 5 * time.Second
	y.restart(t)
	y.publish(t, gadgetFirmware, "2.0.0", 0, "")
	g := newGadget(t, "gadget")
	g.dies = true
	y.admit(t, g)
	y.desire(t, g.endpoint, gadgetFirmware, map[string]any{"version": "2.0.0"})
	eventually(t, "it has gone", func() any { return y.reported(g.endpoint, "components", gadgetFirmware, "update", "step") }, is("install"))
	eventually(t, "it has gone", func() any { return y.reported(g.endpoint, "state") }, is("offline"))
	if stale := y.reported(g.endpoint, "components", gadgetFirmware, "stale"); stale != true {
		t.Errorf("stale: %v", stale)
	}
	y.stop()
	twin, err := y.service.Twin(t.Context(), g.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	j := recallJob(twin.Properties.Reported)
	if j == nil || time.Until(j.Deadline) < 0 {
		t.Fatalf("the twin has the job %+v", j)
	}
	time.Sleep(time.Until(j.Deadline))
	y.open(t, y.bridge.Addr())
	if o := y.outcome(t, g.endpoint, gadgetFirmware, ""); o["result"] != "inconsistent" {
		t.Errorf("ended with %v", o)
	}
	eventually(t, "nothing is under way", func() int { return len(ledger(filepath.Join(dir, "updates")).open()) }, func(n int) bool { return n == 0 })
}
