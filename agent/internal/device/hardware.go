package device

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// Object 3, Device. What changes by itself is looked at when it is read.
type hardware struct {
	*objects.Memory
	data string // directory on the disk that updates go to
}

func newHardware(c Config) *hardware {
	h := &hardware{objects.NewMemory(objects.Device), c.Data}
	h.SetValue(0, objects.DeviceManufacturer, lwm2m.String("Tranquil"))
	h.SetValue(0, objects.DeviceModelNumber, lwm2m.String(runtime.GOOS+"/"+runtime.GOARCH))
	h.SetValue(0, objects.DeviceSerialNumber, lwm2m.String(c.Endpoint))
	h.SetValue(0, objects.DeviceSoftwareVersion, lwm2m.String(c.Version))
	h.SetValue(0, objects.DeviceBindings, lwm2m.String("U"))
	h.setErrors(nil)
	h.OnWrite = func(context.Context, []lwm2m.Record) error {
		return lwm2m.Errorf(lwm2m.CodeMethodNotAllowed, "clock and zone of this device are set elsewhere")
	}
	return h
}

// Read implements [lwm2m.Object].
func (h *hardware) Read(ctx context.Context, p lwm2m.Path) ([]lwm2m.Record, error) {
	now := time.Now()
	h.SetValue(0, objects.DeviceCurrentTime, lwm2m.Time(now))
	h.SetValue(0, objects.DeviceUTCOffset, lwm2m.String(now.Format("-07:00")))
	if zone := zone(); zone != "" {
		h.SetValue(0, objects.DeviceTimezone, lwm2m.String(zone))
	}
	var st syscall.Statfs_t
	if h.data != "" && syscall.Statfs(h.data, &st) == nil {
		kib := func(blocks uint64) lwm2m.Value { return lwm2m.Int(int64(blocks) * int64(st.Bsize) >> 10) } //nolint:unconvert // narrower on 32 bits
		h.SetValue(0, objects.DeviceMemoryFree, kib(st.Bavail))
		h.SetValue(0, objects.DeviceMemoryTotal, kib(st.Blocks))
	}
	return h.Memory.Read(ctx, p)
}

// zone is the name of the time zone, as in Europe/Zurich; "" if that is not
// known.
func zone() string {
	if name := strings.TrimPrefix(os.Getenv("TZ"), ":"); name != "" {
		return name
	}
	target, err := filepath.EvalSymlinks("/etc/localtime")
	if _, name, found := strings.Cut(target, "/zoneinfo/"); err == nil && found {
		return name
	}
	return ""
}

// Error codes of object 3; from 16 on they are the device's own.
const (
	noError           = 0
	errorInconsistent = 16 // a component's update ended so: its cause tells more
	errorSafeMode     = 17 // no update starts: resource 29 of object 26250 tells why
)

// setErrors keeps the codes; none of them is code 0.
func (h *hardware) setErrors(codes []int64) {
	if len(codes) == 0 {
		codes = []int64{noError}
	}
	list := lwm2m.NewPath(objects.DeviceID, 0, objects.DeviceErrorCode)
	h.Remove(list)
	for i, code := range codes {
		h.Set(lwm2m.Record{Path: list.Child(uint16(i)), Value: lwm2m.Int(code)})
	}
}

// showFaults sets the error codes to what the components say, but for what a
// server has reset.
func (d *Device) showFaults() {
	var codes []int64
	seen := map[string]int64{}
	for _, c := range d.Components {
		v, err := d.Manager.View(c)
		if err != nil {
			continue
		}
		if o := v.Outcome; o != nil && o.Result == engine.Inconsistent {
			seen[c+" "+o.Update] = errorInconsistent
		}
		if v.Fault != "" {
			seen["safe mode: "+v.Fault] = errorSafeMode
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, code := range []int64{errorInconsistent, errorSafeMode} {
		for fault, has := range seen {
			if has == code && !d.known[fault] {
				codes = append(codes, code)
				break
			}
		}
	}
	d.faults = seen
	d.hardware.setErrors(codes)
	d.client.Changed(lwm2m.NewPath(objects.DeviceID, 0, objects.DeviceErrorCode))
}

// executeHardware reboots the device, where the configuration says how, or
// resets the error codes: what they stand for shows no more until it comes anew.
func (d *Device) executeHardware(_ context.Context, p lwm2m.Path, _ string) error {
	switch {
	case p.Resource() == objects.DeviceReboot && d.Reboot != nil:
		return d.Reboot()
	case p.Resource() == objects.DeviceResetErrorCode:
		d.mu.Lock()
		d.known = map[string]bool{}
		for fault := range d.faults {
			d.known[fault] = true
		}
		d.mu.Unlock()
		d.showFaults()
		return nil
	}
	return lwm2m.Errorf(lwm2m.CodeMethodNotAllowed, "%v cannot be executed on this device", p)
}
