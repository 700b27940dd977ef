// Package fleet is what an operator does, whichever way it is asked for: to find devices and see what they do, to have
// them updated, and to look after packages. It reads from the store what devices have told, and changes devices by the
// same contract as everybody else, IoT Hub's. Each change is in the audit log before it is made.
package fleet

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// Hub is where devices are changed; *iothub.Client is one.
type Hub interface {
	CreateDevice(ctx context.Context, id string) (*iothub.Device, error)
	UpdateDevice(ctx context.Context, d iothub.Device, etag string) (*iothub.Device, error)
	DeleteDevice(ctx context.Context, id string) error
	PatchTwin(ctx context.Context, id string, patch iothub.TwinPatch, etag string) (*iothub.Twin, error)
	CallMethod(ctx context.Context, id string, m iothub.Method) (*iothub.MethodAnswer, error)
}

// Devices are where they are read; *store.Store is one.
type Devices interface {
	Device(ctx context.Context, id string) (twin.Device, error)       // twin.DeviceNotFound
	Devices(ctx context.Context) iter.Seq2[twin.Device, error]        // by id
	History(ctx context.Context, device string) (twin.History, error) // the newest first; twin.DeviceNotFound
}

// Shop is where packages are; *files.Server is one.
type Shop interface {
	Packages() []*pack.Package                                     // of each component the newest first
	Publish(ctx context.Context, l *pack.Layout) error             // fs.ErrExist: that version has other content
	Withdraw(ctx context.Context, component, version string) error // fs.ErrNotExist
	Open(ctx context.Context, path string) (io.ReadCloser, error)  // fs.ErrNotExist
	Alarms() []string                                              // what somebody has to see to
}

// Ledger writes down who changes what before it is done; *audit.Log is one.
type Ledger interface {
	Change(ctx context.Context, action, object string, detail any, do func() error) error
}

// Fleet is safe for concurrent use.
type Fleet struct {
	Hub     Hub
	Devices Devices
	Shop    Shop   // nil: packages are elsewhere
	Spool   string // directory for packages that arrive
	Ledger  Ledger
	Log     *slog.Logger
	// Connect is how a device reaches the hub: all but its name and key.
	Connect iothub.ConnectionString

	memory memory
}

// Create registers a device with keys of its own and tags; twin.DeviceExists.
func (f *Fleet) Create(ctx context.Context, id string, tags map[string]any) (Device, error) {
	if err := twin.CheckID(id); err != nil {
		return Device{}, err
	}
	var detail any
	if len(tags) > 0 {
		detail = Patch{Tags: tags}
	}
	err := f.Ledger.Change(ctx, "device.create", id, detail, func() error {
		if _, err := f.Hub.CreateDevice(ctx, id); err != nil {
			return err
		}
		if len(tags) == 0 {
			return nil
		}
		_, err := f.Hub.PatchTwin(ctx, id, iothub.TwinPatch{Tags: tags}, "")
		return err
	})
	if err != nil {
		return Device{}, err
	}
	return f.Device(ctx, id)
}

// Delete removes a device and its twin.
func (f *Fleet) Delete(ctx context.Context, id string) error {
	return f.Ledger.Change(ctx, "device.delete", id, nil, func() error { return f.Hub.DeleteDevice(ctx, id) })
}

// Enable lets a device connect, or keeps it out.
func (f *Fleet) Enable(ctx context.Context, id string, enabled bool) error {
	status := map[bool]string{true: "enabled", false: "disabled"}[enabled]
	return f.Ledger.Change(ctx, "device."+status, id, nil, func() error {
		_, err := f.Hub.UpdateDevice(ctx, iothub.Device{DeviceID: id, Status: status}, "*")
		return err
	})
}

// Keys are what a device proves itself with.
type Keys struct {
	Primary          string `json:"primary"`          // base64; also the key over DTLS
	Secondary        string `json:"secondary"`        // base64
	ConnectionString string `json:"connectionString"` // for an Azure IoT SDK
}

// Keys answers the keys of a device. That somebody has looked at them is in the audit log.
func (f *Fleet) Keys(ctx context.Context, id string) (Keys, error) {
	var keys Keys
	err := f.Ledger.Change(ctx, "device.keys.read", id, nil, func() error {
		d, err := f.Devices.Device(ctx, id)
		keys = f.keysOf(id, d.Keys.Primary, d.Keys.Secondary)
		return err
	})
	return keys, err
}

// NewKeys gives a device other keys: it is shut out until it has one of them.
func (f *Fleet) NewKeys(ctx context.Context, id string) (Keys, error) {
	primary, secondary := newKey(), newKey()
	err := f.Ledger.Change(ctx, "device.keys.new", id, nil, func() error {
		d := iothub.Device{DeviceID: id}
		d.Authentication.SymmetricKey = iothub.SymmetricKey{PrimaryKey: primary, SecondaryKey: secondary}
		_, err := f.Hub.UpdateDevice(ctx, d, "*")
		return err
	})
	return f.keysOf(id, primary, secondary), err
}

func newKey() string {
	var secret [32]byte
	rand.Read(secret[:])
	return base64.StdEncoding.EncodeToString(secret[:])
}

func (f *Fleet) keysOf(id, primary, secondary string) Keys {
	cs := f.Connect
	cs.DeviceID, cs.PolicyName, cs.Key = id, "", primary
	return Keys{primary, secondary, cs.String()}
}

// A Patch changes what is asked of a device, and what is noted of it: objects merge, null deletes.
type Patch struct {
	Tags    map[string]any `json:"tags,omitempty"`
	Desired map[string]any `json:"desired,omitempty"`
}

// Patch changes a twin; twin.PreconditionFailed if etag, unless "", is no longer its etag.
func (f *Fleet) Patch(ctx context.Context, id string, p Patch, etag string) error {
	return f.Ledger.Change(ctx, "twin.patch", id, p, func() error {
		_, err := f.Hub.PatchTwin(ctx, id, iothub.TwinPatch{Tags: p.Tags, Desired: p.Desired}, etag)
		return err
	})
}

// Call has a device do something now.
func (f *Fleet) Call(ctx context.Context, id string, m iothub.Method) (answer *iothub.MethodAnswer, err error) {
	err = f.Ledger.Change(ctx, "device.call", id, map[string]any{"method": m.Name, "payload": m.Payload}, func() error {
		answer, err = f.Hub.CallMethod(ctx, id, m)
		return err
	})
	return answer, err
}

// noShop says that packages are elsewhere.
func (f *Fleet) noShop() error {
	if f.Shop == nil {
		return fmt.Errorf("the file server is another process: packages are there: %w", fs.ErrNotExist)
	}
	return nil
}
