package bridge

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// A gadget is a device that knows the OMA's objects only: firmware in object 5, one
// application in object 9. What it does comes later than its answer; its memory
// survives its restarts. A package is the text of its version.
type gadget struct {
	t        *testing.T
	endpoint string
	queue    bool

	// How it is.
	protocols []int64 // nil: it does not say
	delivery  int64
	oneByOne  bool // software makes way only when it is told
	restarts  bool // it starts anew to install firmware
	forgets   bool // and does not know how that went, or that it had a package
	dies      bool // it is not heard of again
	refuses   bool // to install, with 4.05
	clings    bool // to what runs: it has to be stopped before it is removed
	keeps     bool // what it was told to remove

	mu       sync.Mutex
	server   string
	five     *objects.Memory
	nine     *objects.Memory
	three    *objects.Memory
	fetches  []int64                  // results of the next downloads; the rest succeed
	installs []int64                  // and of installations
	sticks   bool                     // the version stays, whatever the results say
	gates    map[string]chan struct{} // what waits until it is let through
	passed   map[string]int           // how often
	images   map[uint16]string        // what has come, by object
	client   *lwm2m.Client
	stop     func()
	running  sync.WaitGroup
}

func newGadget(t *testing.T, endpoint string) *gadget {
	g := &gadget{
		t: t, endpoint: endpoint, delivery: objects.FirmwareDeliveryBoth,
		three: objects.NewMemory(objects.Device), gates: map[string]chan struct{}{}, passed: map[string]int{}, images: map[uint16]string{},
	}
	five := objects.Firmware
	five.Version = "1.0"
	g.five, g.nine = objects.NewMemory(five), objects.NewMemory(objects.SoftwareManagement)
	g.three.SetValue(0, objects.DeviceModelNumber, lwm2m.String("Gadget 3"))
	g.three.SetValue(0, objects.DeviceFirmwareVersion, lwm2m.String("1.0.0"))
	g.setFirmware(objects.FirmwareIdle, 0)
	g.nine.SetValue(0, objects.SoftwarePackageName, lwm2m.String("application/a"))
	g.nine.SetValue(0, objects.SoftwarePackageVersion, lwm2m.String("1.0.0"))
	g.nine.SetValue(0, objects.SoftwareActivationState, lwm2m.Bool(true))
	g.setSoftware(objects.SoftwareInstalled, objects.SoftwareResultInstalled)
	g.five.OnWrite, g.nine.OnWrite = g.write, g.write
	g.five.OnExecute, g.nine.OnExecute = g.executeFirmware, g.executeSoftware
	g.five.OnStream, g.nine.OnStream = g.stream, g.stream
	return g
}

func (g *gadget) setFirmware(state, result int64) {
	g.five.SetValue(0, objects.FirmwareState, lwm2m.Int(state))
	g.five.SetValue(0, objects.FirmwareUpdateResult, lwm2m.Int(result))
	g.changed(objects.FirmwareID)
}

func (g *gadget) setSoftware(state, result int64) {
	g.nine.SetValue(0, objects.SoftwareUpdateState, lwm2m.Int(state))
	g.nine.SetValue(0, objects.SoftwareUpdateResult, lwm2m.Int(result))
	g.changed(objects.SoftwareManagementID)
}

func (g *gadget) changed(object uint16) {
	g.mu.Lock()
	client := g.client
	g.mu.Unlock()
	if client != nil {
		client.Changed(lwm2m.NewPath(object, 0))
	}
}

func (g *gadget) state(object uint16) int64 {
	resource := uint16(objects.FirmwareState)
	m := g.five
	if object == objects.SoftwareManagementID {
		m, resource = g.nine, objects.SoftwareUpdateState
	}
	return m.Value(lwm2m.NewPath(object, 0, resource)).Int()
}

// start has the gadget register.
func (g *gadget) start(server string) {
	g.server = server
	g.five.SetValue(0, objects.FirmwareDelivery, lwm2m.Int(g.delivery))
	for i, p := range g.protocols {
		g.five.Set(lwm2m.Record{Path: lwm2m.NewPath(objects.FirmwareID, 0, objects.FirmwareProtocols, uint16(i)), Value: lwm2m.Int(p)})
	}
	client, err := lwm2m.NewClient(lwm2m.ClientConfig{
		Endpoint: g.endpoint, Server: server, Lifetime: time.Minute, QueueMode: g.queue,
		Objects: []lwm2m.Object{g.three, g.five, g.nine}, Logger: quiet,
	})
	if err != nil {
		g.t.Error(err)
		return
	}
	transport, err := coap.Dial(server, coap.WithTransmission(coap.Transmission{AckTimeout: ackTimeout}))
	if err != nil {
		g.t.Error(err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = client.Run(ctx, transport)
		transport.Close()
	}()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.client, g.stop = client, func() { cancel(); <-ended }
}

// end is for the end of the test.
func (g *gadget) end() {
	g.mu.Lock()
	for _, gate := range g.gates {
		close(gate)
	}
	clear(g.gates)
	g.mu.Unlock()
	g.running.Wait()
	g.stop()
}

// hold has the gadget wait at a gate until it is let through.
func (g *gadget) hold(gate string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.gates[gate] = make(chan struct{})
}

func (g *gadget) open(gate string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c := g.gates[gate]; c != nil {
		close(c)
		delete(g.gates, gate)
	}
}

// pass goes through a gate.
func (g *gadget) pass(gate string) {
	g.mu.Lock()
	g.passed[gate]++
	c := g.gates[gate]
	g.mu.Unlock()
	if c != nil {
		<-c
	}
}

// at counts who has come to a gate.
func (g *gadget) at(gate string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.passed[gate]
}

// next takes the next result of a list.
func (g *gadget) next(list *[]int64) (result int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(*list) > 0 {
		result, *list = (*list)[0], (*list)[1:]
	}
	return result
}

func (g *gadget) free(object uint16) bool {
	s := g.state(object)
	return object == objects.FirmwareID && s == objects.FirmwareIdle ||
		object == objects.SoftwareManagementID && (s == objects.SoftwareInitial || s == objects.SoftwareInstalled && !g.oneByOne)
}

// write takes a URI, or a package in one piece.
func (g *gadget) write(_ context.Context, records []lwm2m.Record) error {
	r := records[0]
	object := r.Path.Object()
	if r.Value.Kind() == lwm2m.KindOpaque {
		return g.take(object, r.Value.Opaque())
	}
	uri := r.Value.Text()
	if uri == "" && object == objects.FirmwareID && g.state(object) != objects.FirmwareUpdating {
		g.pass("give up")
		g.setFirmware(objects.FirmwareIdle, 0)
		return nil
	}
	switch {
	case !g.free(object):
		return lwm2m.Errorf(lwm2m.CodeBadRequest, "another package is there")
	case !strings.HasPrefix(uri, "http://"):
		g.fetched(object, map[uint16]int64{objects.FirmwareID: objects.FirmwareResultProtocol, objects.SoftwareManagementID: objects.SoftwareResultInvalidURI}[object])
		return lwm2m.Errorf(lwm2m.CodeBadRequest, "this protocol is not supported")
	}
	g.fetching(object)
	g.running.Go(func() {
		g.pass("fetch")
		image, err := get(uri)
		if err != nil {
			g.t.Error(err)
		}
		if result := g.next(&g.fetches); result != 0 {
			g.fetched(object, result)
			return
		}
		g.mu.Lock()
		g.images[object] = image
		g.mu.Unlock()
		g.fetched(object, 0)
	})
	return nil
}

func get(uri string) (string, error) {
	answer, err := http.Get(uri)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s", answer.Status)
	}
	return string(b), err
}

func (g *gadget) fetching(object uint16) {
	if object == objects.FirmwareID {
		g.setFirmware(objects.FirmwareDownloading, 0)
	} else {
		g.setSoftware(objects.SoftwareDownloadStarted, objects.SoftwareResultDownloading)
	}
}

// fetched ends a download; result 0 is a success.
func (g *gadget) fetched(object uint16, result int64) {
	switch {
	case object == objects.FirmwareID && result == 0:
		g.setFirmware(objects.FirmwareDownloaded, 0)
	case object == objects.FirmwareID:
		g.setFirmware(objects.FirmwareIdle, result)
	case result == 0:
		g.setSoftware(objects.SoftwareDownloaded, objects.SoftwareResultInitial)
		g.setSoftware(objects.SoftwareDelivered, objects.SoftwareResultVerified)
	default:
		g.setSoftware(objects.SoftwareInitial, result)
	}
}

// A flow is a package that is pushed.
type flow struct {
	g      *gadget
	object uint16
	got    []byte
}

func (g *gadget) stream(_ context.Context, p lwm2m.Path, _ int64) (lwm2m.Stream, error) {
	if !g.free(p.Object()) {
		return nil, lwm2m.Errorf(lwm2m.CodeMethodNotAllowed, "another package is there")
	}
	g.fetching(p.Object())
	return &flow{g: g, object: p.Object()}, nil
}

func (f *flow) Write(b []byte) (int, error) {
	f.g.pass("push")
	f.got = append(f.got, b...)
	return len(b), nil
}

func (f *flow) Close() error { return f.g.take(f.object, f.got) }
func (f *flow) Abort(error) {
	f.g.fetched(f.object, map[bool]int64{true: 4, false: 52}[f.object == objects.FirmwareID])
}

func (g *gadget) take(object uint16, b []byte) error {
	if object == objects.FirmwareID && len(b) <= 1 {
		g.setFirmware(objects.FirmwareIdle, 0)
		return nil
	}
	g.mu.Lock()
	g.images[object] = string(b)
	g.mu.Unlock()
	g.fetched(object, g.next(&g.fetches))
	return nil
}

// image is the version that a package is; the rest of it is filling.
func (g *gadget) image(object uint16) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	version, _, _ := strings.Cut(g.images[object], " ")
	return version
}

func (g *gadget) executeFirmware(_ context.Context, p lwm2m.Path, _ string) error {
	if p.Resource() != objects.FirmwareUpdate || g.state(objects.FirmwareID) != objects.FirmwareDownloaded || g.refuses {
		return lwm2m.Errorf(lwm2m.CodeMethodNotAllowed, "not now")
	}
	g.running.Go(g.updateFirmware)
	return nil
}

func (g *gadget) updateFirmware() {
	g.setFirmware(objects.FirmwareUpdating, 0)
	if g.restarts || g.dies {
		g.mu.Lock()
		stop := g.stop
		g.stop, g.client = func() {}, nil
		g.mu.Unlock()
		stop()
	}
	g.pass("install")
	if g.dies {
		return
	}
	result := g.next(&g.installs)
	switch {
	case result == objects.FirmwareResultDeferred:
		g.setFirmware(objects.FirmwareDownloaded, result)
	case result != 0:
		g.setFirmware(map[bool]int64{true: objects.FirmwareDownloaded, false: objects.FirmwareIdle}[result == objects.FirmwareResultFailed], result)
	default:
		if !g.sticks {
			g.three.SetValue(0, objects.DeviceFirmwareVersion, lwm2m.String(g.image(objects.FirmwareID)))
		}
		g.setFirmware(objects.FirmwareIdle, objects.FirmwareResultUpdated)
		if g.forgets {
			g.setFirmware(objects.FirmwareIdle, objects.FirmwareResultInitial)
		}
	}
	if g.restarts {
		g.start(g.server)
	}
}

var nineActive = lwm2m.NewPath(objects.SoftwareManagementID, 0, objects.SoftwareActivationState)

func (g *gadget) executeSoftware(_ context.Context, p lwm2m.Path, arguments string) error {
	state := g.state(objects.SoftwareManagementID)
	active := func(yes bool) { g.nine.SetValue(0, objects.SoftwareActivationState, lwm2m.Bool(yes)) }
	switch {
	case p.Resource() == objects.SoftwareUninstall && state == objects.SoftwareInstalled && arguments == objects.SoftwareUninstallForUpdate && g.oneByOne:
		g.running.Go(func() {
			g.pass("uninstall")
			active(false)
			g.setSoftware(objects.SoftwareInitial, 0)
		})
	case p.Resource() == objects.SoftwareUninstall && state == objects.SoftwareInstalled && arguments == "" && !(g.clings && g.nine.Value(nineActive).Bool()):
		g.running.Go(func() {
			g.pass("remove")
			if g.keeps {
				g.setSoftware(objects.SoftwareInstalled, objects.SoftwareResultUninstallFailed)
				return
			}
			active(false)
			g.nine.SetValue(0, objects.SoftwarePackageName, lwm2m.String(""))
			g.nine.SetValue(0, objects.SoftwarePackageVersion, lwm2m.String(""))
			g.setSoftware(objects.SoftwareInitial, 0)
		})
	case p.Resource() == objects.SoftwareDeactivate && state == objects.SoftwareInstalled:
		active(false)
		g.changed(objects.SoftwareManagementID)
	case p.Resource() == objects.SoftwareUninstall && state == objects.SoftwareDelivered:
		g.running.Go(func() {
			g.pass("give up")
			g.setSoftware(objects.SoftwareInitial, 0)
		})
	case p.Resource() == objects.SoftwareInstall && state == objects.SoftwareDelivered && !g.refuses:
		g.running.Go(func() {
			g.pass("install")
			if result := g.next(&g.installs); result != 0 {
				g.setSoftware(objects.SoftwareDelivered, result)
				return
			}
			if !g.sticks {
				g.nine.SetValue(0, objects.SoftwarePackageVersion, lwm2m.String(g.image(objects.SoftwareManagementID)))
			}
			active(false)
			g.setSoftware(objects.SoftwareInstalled, objects.SoftwareResultInstalled)
		})
	case p.Resource() == objects.SoftwareActivate && state == objects.SoftwareInstalled:
		g.running.Go(func() {
			g.pass("activate")
			active(true)
			g.changed(objects.SoftwareManagementID)
		})
	default:
		return lwm2m.Errorf(lwm2m.CodeMethodNotAllowed, "not now")
	}
	return nil
}
