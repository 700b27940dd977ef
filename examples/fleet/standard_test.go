package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/coap"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// A standardServer knows the objects of the OMA only: no twin, no bridge.
type standardServer struct {
	address    string
	registered chan *lwm2m.Device
	device     *lwm2m.Device
	stop       func()
}

func startStandardServer(t *testing.T) *standardServer {
	t.Helper()
	conn, err := coap.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &standardServer{address: conn.LocalAddr().String(), registered: make(chan *lwm2m.Device, 100)}
	model := lwm2m.NewModel(objects.Server, objects.Device, objects.Connectivity, objects.Firmware, objects.SoftwareManagement)
	server := lwm2m.NewServer(lwm2m.ServerConfig{Model: model, Logger: slog.New(slog.DiscardHandler), OnEvent: func(e lwm2m.Event) {
		if e.Kind == lwm2m.Registered {
			s.registered <- e.Device
		}
	}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, conn) }()
	s.stop = func() {
		cancel()
		if err := errors.Join(<-ended, conn.Close()); err != nil {
			t.Error(err)
		}
	}
	return s
}

// await waits until the device registers.
func (s *standardServer) await(t *testing.T) {
	t.Helper()
	select {
	case s.device = <-s.registered:
	case <-time.After(rig.UpdateTime):
		t.Fatal("the device does not register")
	}
}

// operate does f until it succeeds: an agent that has just been started may be
// about to register anew.
func (s *standardServer) operate(t *testing.T, what string, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), rig.UpdateTime)
	defer cancel()
	if err := f(ctx); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func (s *standardServer) write(t *testing.T, p lwm2m.Path, v lwm2m.Value) {
	t.Helper()
	s.operate(t, "write "+p.String(), func(ctx context.Context) error {
		return s.device.Write(ctx, p, lwm2m.Replace, []lwm2m.Record{{Path: p, Value: v}})
	})
}

func (s *standardServer) execute(t *testing.T, p lwm2m.Path, arguments string) {
	t.Helper()
	s.operate(t, "execute "+p.String(), func(ctx context.Context) error { return s.device.Execute(ctx, p, arguments) })
}

// integer reads a state or a result.
func (s *standardServer) integer(t *testing.T, p lwm2m.Path) (v int64) {
	t.Helper()
	s.operate(t, "read "+p.String(), func(ctx context.Context) error {
		records, err := s.device.Read(ctx, p)
		if err == nil && len(records) == 1 {
			v = records[0].Value.Int()
		}
		return err
	})
	return v
}

// comes polls until a number is what it should become.
func comes(t *testing.T, what string, want int64, read func() int64) {
	t.Helper()
	var got int64
	for end := time.Now().Add(rig.UpdateTime); ; time.Sleep(20 * time.Millisecond) {
		if got = read(); got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s is %d, want %d", what, got, want)
		}
	}
}

var (
	nine = lwm2m.NewPath(objects.SoftwareManagementID, 0)
	five = lwm2m.NewPath(objects.FirmwareID, 0)
)

// TestUpdatedByAnyServer has a device updated by servers that know the standard
// objects only: Software Management by URI, with the agent killed in between; the
// same by libcoap's client, which pushes the package; and Firmware Update.
func TestUpdatedByAnyServer(t *testing.T) {
	t.Parallel()
	s := startWith(t, []rig.Edit{rig.Replace("[lwm2m]", "firmware = \""+rig.SensorAdapter+"\"\n[lwm2m]"), rig.OverHTTP}, "1.0.0", "2.0.0")
	server := startStandardServer(t)
	s.Agent.Stop()
	s.Via = server.address
	if err := s.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.await(t)
	byURI(t, s, server)
	byFirmwarePush(t, s, server)
	address := server.device.Registration().Address
	server.stop()
	byLibcoap(t, s, server.address, address)
}

// version waits until a version is installed and runs, with its state.
func version(t *testing.T, s *rig.System, want string) {
	t.Helper()
	out, err := s.AgentCLI(t.Context(), "components", rig.SensorAdapter, "--json")
	if err != nil || !strings.Contains(out, fmt.Sprintf(`"version": %q`, want)) {
		t.Errorf("version %s is not installed: %v: %s", want, err, out)
	}
	check(t, s)
}

func byURI(t *testing.T, s *rig.System, server *standardServer) {
	t.Helper()
	state := func() int64 { return server.integer(t, nine.Child(objects.SoftwareUpdateState)) }
	result := func() int64 { return server.integer(t, nine.Child(objects.SoftwareUpdateResult)) }
	comes(t, "Update State", objects.SoftwareInstalled, state)
	server.execute(t, nine.Child(objects.SoftwareUninstall), objects.SoftwareUninstallForUpdate)
	comes(t, "Update State", objects.SoftwareInitial, state)
	check(t, s) // it still runs
	server.write(t, nine.Child(objects.SoftwarePackageURI), lwm2m.String(s.Files()+"/v2/"+rig.SensorAdapter+"/manifests/2.0.0"))
	s.Agent.Kill()
	if err := s.StartAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	server.await(t)
	comes(t, "Update State", objects.SoftwareDelivered, state)
	server.execute(t, nine.Child(objects.SoftwareInstall), "")
	comes(t, "Update State", objects.SoftwareInstalled, state)
	comes(t, "Update Result", objects.SoftwareResultInstalled, result)
	version(t, s, "2.0.0")

	server.execute(t, nine.Child(objects.SoftwareDeactivate), "")
	comes(t, "the number of processes", 0, func() int64 { return int64(len(s.Components(rig.SensorAdapter))) })
	server.execute(t, nine.Child(objects.SoftwareActivate), "")
	comes(t, "the number of processes", 1, func() int64 { return int64(len(s.Components(rig.SensorAdapter))) })
}

// byFirmwarePush pushes a version that is never healthy, and gives it up; then
// one that is.
func byFirmwarePush(t *testing.T, s *rig.System, server *standardServer) {
	t.Helper()
	state := func() int64 { return server.integer(t, five.Child(objects.FirmwareState)) }
	result := func() int64 { return server.integer(t, five.Child(objects.FirmwareUpdateResult)) }
	push := func(version string, edits ...rig.Edit) {
		t.Helper()
		server.write(t, five.Child(objects.FirmwarePackage), lwm2m.Opaque(file(t, s, version, edits...)))
		comes(t, "State", objects.FirmwareDownloaded, state)
		server.execute(t, five.Child(objects.FirmwareUpdate), "")
	}
	push("3.0.0")
	comes(t, "Update Result", objects.FirmwareResultFailed, result)
	comes(t, "State", objects.FirmwareDownloaded, state)
	version(t, s, "2.0.0")
	server.write(t, five.Child(objects.FirmwarePackageURI), lwm2m.String(""))
	comes(t, "State", objects.FirmwareIdle, state)
	push("2.0.0", rig.Replace("2.0.0", "2.1.0"))
	comes(t, "Update Result", objects.FirmwareResultUpdated, result)
	comes(t, "State", objects.FirmwareIdle, state)
	version(t, s, "2.1.0")
}

// file is a package in its single-file form.
func file(t *testing.T, s *rig.System, version string, edits ...rig.Edit) []byte {
	t.Helper()
	path, err := s.Package(t.Context(), version, append(quick, edits...)...)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// byLibcoap is libcoap's client as the hand of a management server: from the
// server's port it does what a person at a console would do.
func byLibcoap(t *testing.T, s *rig.System, server, device string) {
	t.Helper()
	program, err := exec.LookPath("coap-client-notls")
	if err != nil {
		t.Log("######## coap-client-notls is missing: NOT TESTED against libcoap. Run make deps. ########")
		return
	}
	_, port, _ := net.SplitHostPort(server)
	coapClient := func(p lwm2m.Path, arguments ...string) string {
		t.Helper()
		arguments = append(append([]string{"-B", "120", "-p", port}, arguments...), "coap://"+device+p.String())
		out, err := exec.CommandContext(t.Context(), program, arguments...).CombinedOutput()
		if err != nil {
			t.Fatalf("coap-client %q: %v: %s", arguments, err, out)
		}
		return strings.TrimSpace(string(out))
	}
	quietly := func(p lwm2m.Path, arguments ...string) {
		t.Helper()
		if out := coapClient(p, arguments...); out != "" {
			t.Fatalf("coap-client %q: %s", arguments, out)
		}
	}
	state := func() int64 {
		t.Helper()
		v, err := strconv.ParseInt(coapClient(nine.Child(objects.SoftwareUpdateState), "-A", "0"), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	path, err := s.Package(t.Context(), "2.0.0", append(quick, rig.Replace("2.0.0", "2.2.0"))...)
	if err != nil {
		t.Fatal(err)
	}
	quietly(nine.Child(objects.SoftwareUninstall), "-m", "post", "-t", "0", "-e", "1")
	quietly(nine.Child(objects.SoftwarePackage), "-m", "put", "-t", "42", "-b", "1024", "-f", path)
	comes(t, "Update State", objects.SoftwareDelivered, state)
	quietly(nine.Child(objects.SoftwareInstall), "-m", "post")
	comes(t, "Update State", objects.SoftwareInstalled, state)
	if got := coapClient(nine.Child(objects.SoftwarePackageVersion), "-A", "0"); got != "2.2.0" {
		t.Errorf("version %q", got)
	}
	if got := coapClient(nine.Child(objects.SoftwareActivationState), "-A", "0"); got != "1" {
		t.Errorf("active: %q", got)
	}
	version(t, s, "2.2.0")
}
