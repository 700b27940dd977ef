package device

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/tranquil-iot/tranquil/agent/internal/content"
	"github.com/tranquil-iot/tranquil/agent/internal/delivery"
	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// never is a package that is always about to come.
type never struct{}

func (never) Single() bool                              { return false }
func (never) Blob(context.Context, string, int64) error { return nil }
func (never) File(context.Context) io.ReadSeekCloser    { return nil }
func (never) Close()                                    {}
func (never) Manifest(ctx context.Context) ([]byte, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

var errScheme = errors.New("no such protocol")

// withDeliveries gives a device a desk of its own.
func withDeliveries(t *testing.T, m *manager) func(*Config) {
	t.Helper()
	store, err := content.Open(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	desk := delivery.New(delivery.Config{
		Book: m, Content: store, Log: quiet,
		Collect: func(context.Context, string) error { return nil },
		Locate: func(uri, _, _ string) (delivery.Remote, error) {
			if !strings.HasPrefix(uri, "coap://") {
				return nil, errScheme
			}
			return never{}, nil
		},
		Judge: func(err error) string {
			if errors.Is(err, errScheme) {
				return engine.BadProtocol
			}
			return engine.BadIntegrity
		},
	})
	t.Cleanup(desk.Close)
	return func(c *Config) { c.Deliveries, c.Firmware = desk, name }
}

// An operation is what a server does, and what it looks for after that.
type operation struct {
	name string
	do   func(t *testing.T, remote *lwm2m.Device) error
}

func writes(p lwm2m.Path, v lwm2m.Value) operation {
	return operation{fmt.Sprintf("write %v %.10s", p, v), func(t *testing.T, remote *lwm2m.Device) error {
		return remote.Write(t.Context(), p, lwm2m.Replace, []lwm2m.Record{{Path: p, Value: v}})
	}}
}

func executes(p lwm2m.Path, arguments string) operation {
	return operation{fmt.Sprintf("execute %v %s", p, arguments), func(t *testing.T, remote *lwm2m.Device) error {
		return remote.Execute(t.Context(), p, arguments)
	}}
}

// An answer is the code of a refusal, or 2.04, and state and result after it.
type answer struct {
	code          lwm2m.Code
	state, result int64
}

// everyOperation does each in a device that is in that state.
func everyOperation(t *testing.T, view engine.View, d engine.Delivery, state, result lwm2m.Path, operations []operation, want map[string]answer) {
	t.Helper()
	for _, o := range operations {
		m := &manager{view: view, wishes: engine.Wishes{Delivery: d}}
		m.view.Component = name
		device, remote := startWith(t, m, withDeliveries(t, m))
		device.Changed(name)
		now := func() answer {
			device.Changed(name)
			return answer{state: integer(t, remote, state), result: integer(t, remote, result)}
		}
		before := now()
		err := o.do(t, remote)
		got := now()
		got.code = lwm2m.CodeChanged
		var refused *lwm2m.Error
		if errors.As(err, &refused) {
			got.code = refused.Code
		} else if err != nil {
			t.Fatal(err)
		}
		expected, listed := want[o.name]
		if !listed { // refused, and nothing has changed
			expected = answer{lwm2m.CodeMethodNotAllowed, before.state, before.result}
		}
		if got != expected {
			t.Errorf("in state %d with result %d: %s: %v, want %v: %v", before.state, before.result, o.name, got, expected, err)
		}
	}
}

func integer(t *testing.T, remote *lwm2m.Device, p lwm2m.Path) int64 {
	t.Helper()
	records, err := remote.Read(t.Context(), p)
	if err != nil || len(records) != 1 {
		t.Fatalf("%v: %v, %v", p, records, err)
	}
	return records[0].Value.Int()
}

const (
	goodURI = "coap://host/v2/application/a/manifests/2.0.0"
	badURI  = "gopher://host/a"
)

// TestObject9 does every operation of Software Management in every state.
func TestObject9(t *testing.T) {
	t.Parallel()
	nine := func(resource uint16) lwm2m.Path { return lwm2m.NewPath(objects.SoftwareManagementID, 0, resource) }
	uri, bad, empty := writes(nine(3), lwm2m.String(goodURI)), writes(nine(3), lwm2m.String(badURI)), writes(nine(3), lwm2m.String(""))
	pushed := writes(nine(2), lwm2m.Opaque([]byte("no package")))
	install, uninstall := executes(nine(4), ""), executes(nine(6), "")
	remove, upgrade, other := executes(nine(6), "0"), executes(nine(6), "1"), executes(nine(6), "2")
	activate, deactivate := executes(nine(10), ""), executes(nine(11), "")
	all := []operation{uri, bad, empty, pushed, install, uninstall, remove, upgrade, other, activate, deactivate}
	old := engine.Installed{Version: "1.0.0", Digest: "old"}
	const ok, badRequest = lwm2m.CodeChanged, lwm2m.CodeBadRequest

	initial := map[string]answer{
		uri.name: {ok, 1, 1}, bad.name: {badRequest, 0, 56}, empty.name: {badRequest, 0, 56}, pushed.name: {badRequest, 0, 53}, other.name: {badRequest, 0, 0},
	}
	for name, tt := range map[string]struct {
		installed engine.Installed
		delivery  engine.Delivery
		want      map[string]answer
	}{
		"INITIAL":                     {want: initial},
		"INITIAL, after Uninstall(1)": {installed: old, delivery: engine.Delivery{Upgrades: "old"}, want: initial},
		"DOWNLOAD STARTED":            {old, engine.Delivery{State: engine.Downloading}, map[string]answer{other.name: {badRequest, 1, 1}}},
		"DOWNLOADED":                  {old, engine.Delivery{State: engine.Downloaded}, map[string]answer{other.name: {badRequest, 2, 1}}},
		"DELIVERED": {engine.Installed{}, engine.Delivery{State: engine.Delivered}, map[string]answer{
			install.name: {ok, 3, 3}, uninstall.name: {ok, 0, 0}, remove.name: {ok, 0, 0}, upgrade.name: {ok, 0, 0}, other.name: {badRequest, 3, 3},
		}},
		"DELIVERED, after a failure": {old, engine.Delivery{State: engine.Delivered, Result: engine.InstallFailed, Upgrades: "old"}, map[string]answer{
			install.name: {ok, 3, 3}, uninstall.name: {ok, 0, 58}, remove.name: {ok, 0, 58}, upgrade.name: {ok, 0, 58}, other.name: {badRequest, 3, 58},
		}},
		"DELIVERED, being installed": {old, engine.Delivery{State: engine.Installing}, map[string]answer{other.name: {badRequest, 3, 3}}},
		"INSTALLED": {old, engine.Delivery{}, map[string]answer{
			uninstall.name: {ok, 4, 2}, remove.name: {ok, 4, 2}, upgrade.name: {ok, 0, 0}, activate.name: {ok, 4, 2}, deactivate.name: {ok, 4, 2}, other.name: {badRequest, 4, 2},
		}},
		"INSTALLED, was not removed": {old, engine.Delivery{Result: engine.UninstallFailed}, map[string]answer{
			uninstall.name: {ok, 4, 2}, remove.name: {ok, 4, 2}, upgrade.name: {ok, 0, 0}, activate.name: {ok, 4, 59}, deactivate.name: {ok, 4, 59}, other.name: {badRequest, 4, 59},
		}},
		"INSTALLED, being removed": {old, engine.Delivery{State: engine.Removing}, map[string]answer{
			activate.name: {ok, 4, 2}, deactivate.name: {ok, 4, 2}, other.name: {badRequest, 4, 2},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			everyOperation(t, engine.View{Installed: tt.installed}, tt.delivery, nine(7), nine(9), all, tt.want)
		})
	}
}

// TestObject5 does every operation of Firmware Update in every state.
func TestObject5(t *testing.T) {
	t.Parallel()
	five := func(resource uint16) lwm2m.Path { return lwm2m.NewPath(objects.FirmwareID, 0, resource) }
	uri, bad, empty := writes(five(1), lwm2m.String(goodURI)), writes(five(1), lwm2m.String(badURI)), writes(five(1), lwm2m.String(""))
	pushed, nothing, zero := writes(five(0), lwm2m.Opaque([]byte("no package"))), writes(five(0), lwm2m.Opaque(nil)), writes(five(0), lwm2m.Opaque([]byte{0}))
	nothing.name, zero.name = "write nothing", "write a zero byte"
	update, cancel := executes(five(2), ""), executes(five(10), "")
	all := []operation{uri, bad, empty, pushed, nothing, zero, update, cancel}
	const ok, badRequest = lwm2m.CodeChanged, lwm2m.CodeBadRequest

	dropped := func(state, result int64, more map[string]answer) map[string]answer {
		want := map[string]answer{
			uri.name: {badRequest, state, result}, bad.name: {badRequest, state, result},
			empty.name: {ok, 0, 0}, nothing.name: {ok, 0, 0}, zero.name: {ok, 0, 0}, cancel.name: {ok, 0, 10},
		}
		for name, a := range more {
			want[name] = a
		}
		return want
	}
	for name, tt := range map[string]struct {
		delivery engine.Delivery
		want     map[string]answer
	}{
		"Idle": {engine.Delivery{}, map[string]answer{
			uri.name: {ok, 1, 0}, bad.name: {badRequest, 0, 9}, pushed.name: {badRequest, 0, 5},
			empty.name: {ok, 0, 0}, nothing.name: {ok, 0, 0}, zero.name: {ok, 0, 0},
		}},
		"Idle, updated": {engine.Delivery{Result: engine.Succeeded}, map[string]answer{
			uri.name: {ok, 1, 0}, bad.name: {badRequest, 0, 9}, pushed.name: {badRequest, 0, 5},
			empty.name: {ok, 0, 0}, nothing.name: {ok, 0, 0}, zero.name: {ok, 0, 0},
		}},
		"Downloading":               {engine.Delivery{State: engine.Downloading}, dropped(1, 0, nil)},
		"Downloading, verifying":    {engine.Delivery{State: engine.Downloaded}, dropped(1, 0, nil)},
		"Downloaded":                {engine.Delivery{State: engine.Delivered}, dropped(2, 0, map[string]answer{update.name: {ok, 3, 0}})},
		"Downloaded, after failure": {engine.Delivery{State: engine.Delivered, Result: engine.InstallFailed}, dropped(2, 8, map[string]answer{update.name: {ok, 3, 0}})},
		"Updating":                  {engine.Delivery{State: engine.Installing}, map[string]answer{uri.name: {badRequest, 3, 0}, bad.name: {badRequest, 3, 0}}},
	} {
		t.Run(name, func(t *testing.T) {
			view := engine.View{Installed: engine.Installed{Version: "1.0.0", Digest: "old"}}
			everyOperation(t, view, tt.delivery, five(3), five(5), all, tt.want)
		})
	}
}

// TestLoginIsNotShown: who reads a URI back does not see the password in it.
func TestLoginIsNotShown(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]string{
		goodURI:                          goodURI,
		"https://me:secret@host/a%20b?v": "https://host/a%20b?v",
		"":                               "",
	} {
		m := &manager{wishes: engine.Wishes{Delivery: engine.Delivery{State: engine.Downloading, URI: uri}}}
		m.view.Component = name
		device, remote := startWith(t, m, withDeliveries(t, m))
		device.Changed(name)
		records, err := remote.Read(t.Context(), lwm2m.NewPath(objects.FirmwareID, 0, objects.FirmwarePackageURI))
		if err != nil || len(records) != 1 || records[0].Value.Text() != want {
			t.Errorf("%s shows as %v, %v", uri, records, err)
		}
	}
}

// TestResults: each failure has its value in either object.
func TestResults(t *testing.T) {
	for result, want := range map[string][2]int64{
		engine.NoStorage: {2, 50}, engine.NoMemory: {3, 51}, engine.ConnectionLost: {4, 52}, engine.BadIntegrity: {5, 53},
		engine.Unsupported: {6, 54}, engine.BadURI: {7, 56}, engine.NotFound: {7, 57}, engine.InstallFailed: {8, 58},
		engine.DeviceError: {8, 57}, engine.BadProtocol: {9, 56}, engine.CancelledByUser: {10, 0}, engine.Succeeded: {1, 0}, "": {0, 0},
	} {
		if got := [2]int64{firmwareResults[result], softwareResult(objects.SoftwareInitial, engine.Delivery{Result: result})}; got != want {
			t.Errorf("%q is %v, want %v", result, got, want)
		}
	}
}

func TestCodes(t *testing.T) {
	for code, err := range map[lwm2m.Code]error{
		lwm2m.CodeMethodNotAllowed: errors.Join(engine.ErrNotNow, io.ErrUnexpectedEOF), lwm2m.CodeTooLarge: engine.ErrNoRoom, lwm2m.CodeBadRequest: errScheme,
	} {
		if got := coded(err); !errors.Is(got, &lwm2m.Error{Code: code}) {
			t.Errorf("%v is %v, want %v", err, got, code)
		}
	}
	if coded(nil) != nil {
		t.Error("success has a code")
	}
}

// TestActivation: what shall not run is not activated, and a login goes with one
// URI only.
func TestActivation(t *testing.T) {
	m := &manager{view: engine.View{Component: name, Running: true, Installed: engine.Installed{Version: "1.0.0"}}}
	device, remote := startWith(t, m, withDeliveries(t, m))
	activation := lwm2m.NewPath(objects.SoftwareManagementID, 0, objects.SoftwareActivationState)
	for _, active := range []bool{true, false, false, true} {
		p := lwm2m.NewPath(objects.SoftwareManagementID, 0, objects.SoftwareDeactivate)
		if active {
			p = lwm2m.NewPath(objects.SoftwareManagementID, 0, objects.SoftwareActivate)
		}
		if err := remote.Execute(t.Context(), p, ""); err != nil {
			t.Fatal(err)
		}
		m.with(func() { m.view.Inactive = m.wishes.Inactive })
		device.Changed(name)
		if records, err := remote.Read(t.Context(), activation); err != nil || records[0].Value.Bool() != active {
			t.Errorf("%v, %v; want %v", records, err, active)
		}
	}
	m.with(func() { m.view.Installed = engine.Installed{} })
	for resource, v := range map[uint16]string{objects.SoftwareUserName: "me", objects.SoftwarePassword: "secret"} {
		p := lwm2m.NewPath(objects.SoftwareManagementID, 0, resource)
		if err := remote.Write(t.Context(), p, lwm2m.Replace, []lwm2m.Record{{Path: p, Value: lwm2m.String(v)}}); err != nil {
			t.Fatal(err)
		}
		if _, err := remote.Read(t.Context(), p); !errors.Is(err, &lwm2m.Error{Code: lwm2m.CodeMethodNotAllowed}) {
			t.Errorf("a login was read: %v", err)
		}
	}
	if err := writes(lwm2m.NewPath(objects.SoftwareManagementID, 0, objects.SoftwarePackageURI), lwm2m.String(goodURI)).do(t, remote); err != nil {
		t.Fatal(err)
	}
	m.with(func() {
		if d := m.wishes.Delivery; d.User != "me" || d.Password != "secret" {
			t.Errorf("%+v", d)
		}
	})
	device.mu.Lock()
	defer device.mu.Unlock()
	if len(device.logins) != 1 || device.logins[name] != (login{}) {
		t.Error("the login is kept")
	}
}

// TestHardware reads what changes by itself, reboots, and resets the error codes.
func TestHardware(t *testing.T) {
	m := &manager{view: engine.View{Component: name, Fault: "why", Outcome: &engine.Outcome{Update: "u", Result: engine.Inconsistent}}}
	rebooted := make(chan struct{}, 1)
	device, remote := startWith(t, m, func(c *Config) {
		c.Data = t.TempDir()
		c.Reboot = func() error { rebooted <- struct{}{}; return nil }
	})
	three := lwm2m.NewPath(objects.DeviceID, 0)
	got := read(t, remote, three)
	if free, total := got[objects.DeviceMemoryFree].Int(), got[objects.DeviceMemoryTotal].Int(); free <= 0 || total < free {
		t.Errorf("%d of %d KiB are free", free, total)
	}
	if at := got[objects.DeviceCurrentTime].Time(); at.Year() < 2026 || len(got[objects.DeviceUTCOffset].Text()) != len("+02:00") {
		t.Errorf("time %v, offset %v", at, got[objects.DeviceUTCOffset])
	}
	codes := func() (codes []int64) {
		t.Helper()
		records, err := remote.Read(t.Context(), three.Child(objects.DeviceErrorCode))
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			codes = append(codes, r.Value.Int())
		}
		return codes
	}
	device.Changed(name)
	if got := fmt.Sprint(codes()); got != "[16 17]" {
		t.Errorf("error codes %s", got)
	}
	if err := remote.Execute(t.Context(), three.Child(objects.DeviceResetErrorCode), ""); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(codes()); got != "[0]" {
		t.Errorf("error codes %s after a reset", got)
	}
	m.with(func() { m.view.Outcome = &engine.Outcome{Update: "another", Result: engine.Inconsistent} })
	device.Changed(name)
	if got := fmt.Sprint(codes()); got != "[16]" {
		t.Errorf("error codes %s after something new", got)
	}
	if err := remote.Execute(t.Context(), three.Child(objects.DeviceReboot), ""); err != nil {
		t.Fatal(err)
	}
	<-rebooted
	for _, o := range []operation{executes(three.Child(objects.DeviceFactoryReset), ""), writes(three.Child(objects.DeviceTimezone), lwm2m.String("Europe/Zurich"))} {
		if err := o.do(t, remote); !errors.Is(err, &lwm2m.Error{Code: lwm2m.CodeMethodNotAllowed}) {
			t.Errorf("%s: %v", o.name, err)
		}
	}
}

// TestNotOffered: no reboot and no object 5 where the configuration has none.
func TestNotOffered(t *testing.T) {
	_, remote := start(t, &manager{view: engine.View{Component: name}})
	if err := remote.Execute(t.Context(), lwm2m.NewPath(objects.DeviceID, 0, objects.DeviceReboot), ""); !errors.Is(err, &lwm2m.Error{Code: lwm2m.CodeMethodNotAllowed}) {
		t.Errorf("reboot: %v", err)
	}
	if _, err := remote.Read(t.Context(), lwm2m.NewPath(objects.FirmwareID, 0)); !errors.Is(err, &lwm2m.Error{Code: lwm2m.CodeNotFound}) {
		t.Errorf("object 5: %v", err)
	}
	records, err := remote.Read(t.Context(), lwm2m.NewPath(objects.ConnectivityID, 0, objects.ConnectivityAddresses))
	if err != nil || len(records) == 0 || records[0].Value.Text() == "" {
		t.Errorf("addresses %v, %v", records, err)
	}
}
