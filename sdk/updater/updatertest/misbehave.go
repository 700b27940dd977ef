package updatertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// Misbehave is the main of an updater that keeps no promise, for those who host
// updaters: whatever it does, they and the other components must not suffer.
// Stage does what the component is called, and so does Probe:
//
//	hangs    goes on for ever, whatever becomes of the call
//	freezes  the process is suspended, and answers nothing any more
//	dies     the process ends
//	panics
//	floods   logs 8 MiB
//	leaks    takes memory without end
//	opens    opens files without end
//	babbles  answers with 200 KiB of nothing
//
// "lies" is handled, but its status tells of another version. A component of any
// other name is handled well.
func Misbehave(componentType string) {
	updater.Main(componentType, func(env updater.Environment) (updater.Updater, error) { return misbehaving{env}, nil })
}

// misbehaving runs components by writing down that they do.
type misbehaving struct{ env updater.Environment }

var deeds = map[string]func(updater.Environment) error{
	"hangs":   func(updater.Environment) error { select {} },
	"freezes": func(updater.Environment) error { syscall.Kill(os.Getpid(), syscall.SIGSTOP); select {} },
	"dies":    func(updater.Environment) error { os.Exit(1); return nil },
	"panics":  func(updater.Environment) error { panic("out of itself") },
	"floods":  flood,
	"leaks":   leak,
	"opens":   open,
	"babbles": func(updater.Environment) error { return errors.New(strings.Repeat("bla ", 50<<10)) },
}

func flood(env updater.Environment) error {
	const line = 1 << 10
	for range 8 << 20 / line {
		env.Logger.Info(strings.Repeat("x", line))
	}
	return errors.New("it has flooded its log")
}

func leak(updater.Environment) error {
	for ; ; time.Sleep(10 * time.Millisecond) {
		leaked = append(leaked, bytes.Repeat([]byte{1}, 4<<20))
	}
}

var leaked [][]byte

func open(updater.Environment) error {
	for {
		if _, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0); err != nil {
			time.Sleep(time.Millisecond)
		}
	}
}

func (m misbehaving) do(component string) error {
	if deed := deeds[filepath.Base(component)]; deed != nil {
		return deed(m.env)
	}
	return nil
}

func (m misbehaving) note(component string) string {
	return filepath.Join(m.env.Data, filepath.Base(component))
}

func (m misbehaving) Stage(_ context.Context, r updater.StageRequest) (updater.StageResponse, error) {
	return updater.StageResponse{Handle: updater.Handle{Version: 1, Data: []byte(r.Version)}}, m.do(r.Component)
}

func (m misbehaving) Unstage(context.Context, updater.UnstageRequest) error { return nil }

func (m misbehaving) Switch(_ context.Context, r updater.SwitchRequest) error {
	return os.WriteFile(m.note(r.Component), r.Handle.Data, 0o600)
}

func (m misbehaving) Start(context.Context, updater.StartRequest) error { return nil }

func (m misbehaving) Stop(context.Context, updater.StopRequest) (updater.StopResponse, error) {
	return updater.StopResponse{}, nil
}

func (m misbehaving) Probe(_ context.Context, r updater.ProbeRequest) (updater.ProbeResponse, error) {
	return updater.ProbeResponse{Healthy: true}, m.do(r.Component)
}

func (m misbehaving) Status(_ context.Context, r updater.StatusRequest) (updater.StatusResponse, error) {
	version, err := os.ReadFile(m.note(r.Component))
	if len(version) == 0 || err != nil {
		return updater.StatusResponse{}, nil
	}
	if filepath.Base(r.Component) == "lies" {
		version = fmt.Append(nil, "9", string(version))
	}
	return updater.StatusResponse{Version: string(version), Running: true, Handle: updater.Handle{Version: 1, Data: version}}, nil
}
