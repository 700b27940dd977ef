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
}

const filesToken = "publisher"

func newYard(t *testing.T, adapt func(*Config)) *yard {
	t.Helper()
	y := &yard{adapt: adapt}
	y.hub, _ = startHub(t, t.TempDir(), "127.0.0.1:0", "127.0.0.1:0")
	y.service = iothub.NewClient(connection(t, y.hub, hub.PolicyOwner))
	var err error
	y.files, err = files.New(files.Config{Dir: t.TempDir(), HTTP: "127.0.0.1:0", CoAP: "127.0.0.1:0", Token: filesToken, Log: quiet})
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
	b.pace = pace{poll: 20 * time.Millisecond, grace: 2 * time.Second, pause: time.Millisecond, limit: 20 * time.Second}
	y.bridge, y.stop = b, background(t, b.Serve)
}

// restart is a bridge that was killed and started anew: it remembers nothing.
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
		to := at + "/blobs/uploads/x?digest=" + d.Digest
		if d == l.Package.Descriptor() {
			to = at + "/manifests/" + version
		}
		put(t, to, b)
	}
}

func put(t *testing.T, to string, b []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, to, bytes.NewReader(b))
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
		{name: "firmware that is not heard of again", how: func(g *gadget) { g.dies = true }, wish: wish, result: "inconsistent", cause: "look at it", fetched: 1},
		{name: "firmware that says it is new, and is not", how: func(g *gadget) { g.sticks = true }, wish: wish, result: "turned back", cause: "still has version", fetched: 1},
		{name: "the third download is whole", how: func(g *gadget) { g.fetches = []int64{4, 5} }, wish: wish, result: "updated", version: "2.0.0", fetched: 3},
		{name: "a device that does not install when it is told", how: func(g *gadget) { g.refuses = true }, wish: wish, result: "turned back", cause: "refuses to install", fetched: 1},
		{name: "what is there already", wish: map[string]any{"version": "1.0.0"}, result: "unchanged"},
		{name: "state that must be transformed", wish: map[string]any{"version": "3.0.0"}, result: "refused", cause: "no agent that could transform it"},
		{name: "a package that is not there", wish: map[string]any{"version": "9.0.0"}, result: "refused", cause: "push it first"},
		{name: "a package that requires another", wish: map[string]any{"version": "4.0.0"}, result: "refused", cause: "update that first"},
		{name: "software", component: gadgetSoftware, wish: wish, result: "updated", version: "2.0.0", fetched: 1},
		{name: "software that must make way", component: gadgetSoftware, how: func(g *gadget) { g.oneByOne = true }, wish: wish, result: "updated", version: "2.0.0", fetched: 1},
		{name: "software by push", component: gadgetSoftware, wish: with("delivery", "push"), result: "updated", version: "2.0.0"},
		{name: "software that says it is new, and is not", component: gadgetSoftware, how: func(g *gadget) { g.sticks = true }, wish: wish, result: "turned back", cause: "still has version", fetched: 1},
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
			if !g.dies {
				eventually(t, "its version", func() any { return y.reported(g.endpoint, "components", component, "version") }, is(test.version))
			}
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
				component, want := gadgetFirmware, "refused"
				if o == software {
					component = gadgetSoftware
				}
				switch {
				case result == objects.FirmwareResultFailed, result == objects.SoftwareResultInstallFailed:
					g.installs, want = []int64{result}, "turned back"
				default:
					for range 20 {
						g.fetches = append(g.fetches, result)
					}
				}
				y.admit(t, g)
				y.desire(t, g.endpoint, component, map[string]any{"version": "2.0.0"})
				got := y.outcome(t, g.endpoint, component, "")
				if cause, _ := got["cause"].(string); got["result"] != want || f.blame != reroute && !strings.Contains(cause, f.words) {
					if f.blame != reroute || got["result"] != "updated" { // it is pushed then, and the gadget fails that too
						t.Errorf("ended with %v", got)
					}
				}
				n := g.at("fetch")
				if f.blame == hopeless && n != 1 || f.blame == retry && n < 3 {
					t.Errorf("%d downloads", n)
				}
			})
		}
	}
}
