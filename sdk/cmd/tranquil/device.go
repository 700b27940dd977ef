package main

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"text/tabwriter"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

type deviceCmd struct {
	Create createCmd     `cmd:"" help:"Register a device."`
	List   listCmd       `cmd:"" help:"List all devices."`
	Show   showDeviceCmd `cmd:"" help:"Show a device and its components."`
	Delete deleteCmd     `cmd:"" help:"Remove a device from the registry, with its twin."`
	Invite inviteCmd     `cmd:"" help:"Say by which command a device becomes this one."`
	Call   callCmd       `cmd:"" help:"Have a device do something now, such as read a resource."`
}

// hub connects to the twin hub.
func (s *session) hub() (*iothub.Client, error) {
	if s.Hub == "" {
		l, err := readLogin()
		if errors.Is(err, fs.ErrNotExist) {
			return nil, errors.New("no twin hub: tranquil login, or give --hub or $TRANQUIL_HUB, a service connection string")
		}
		if err != nil {
			return nil, err
		}
		return l.hub()
	}
	cs, err := iothub.ParseConnectionString(s.Hub)
	if err != nil {
		return nil, err
	}
	return iothub.NewClient(cs), nil
}

// twin connects to the twin hub and reads the twin of a device.
func (s *session) twin(id string) (*iothub.Client, *iothub.Twin, error) {
	hub, err := s.hub()
	if err != nil {
		return nil, nil, err
	}
	twin, err := hub.Twin(s.ctx, id)
	return hub, twin, err
}

// explainRefusal tells what to do when a policy may not see the registry.
func explainRefusal(err error) error {
	if refused, ok := errors.AsType[*iothub.Error](err); ok && refused.Status == http.StatusUnauthorized {
		return fmt.Errorf("%w: the registry of devices is open to the policies iothubowner and registryReadWrite, give the connection string of one", err)
	}
	return err
}

type createCmd struct {
	ID  string `arg:"" help:"Device id: the endpoint name of its agent."`
	PSK string `name:"psk" placeholder:"FILE" help:"Write the key that its agent proves itself with over DTLS (lwm2m.psk) to a new file."`
}

func (c *createCmd) Run(s *session) error {
	hub, err := s.hub()
	if err != nil {
		return err
	}
	device, err := hub.CreateDevice(s.ctx, c.ID)
	if err != nil {
		return explainRefusal(err)
	}
	if err := s.writePSK(c.PSK, device); err != nil {
		return fmt.Errorf("%w (the device is created: tranquil device show %s --psk FILE writes its key)", err, c.ID)
	}
	if s.JSON {
		return s.printJSON(device)
	}
	fmt.Fprintf(s.out, "created %s\n", device.DeviceID)
	return nil
}

// writePSK writes the primary key of a device, if a file is named: one that is
// new, since it may be the key of another device that would be lost.
func (s *session) writePSK(path string, device *iothub.Device) error {
	if path == "" {
		return nil
	}
	key, err := primaryKey(device)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write the key: %w", err)
	}
	_, err = fmt.Fprintln(f, key)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot write the key: %w", err)
	}
	fmt.Fprintf(s.err, "%s has the key of %s: move it to the device, where lwm2m.psk of its agent names it, and keep no copy\n", path, device.DeviceID)
	return nil
}

func primaryKey(device *iothub.Device) (string, error) {
	key := device.Authentication.SymmetricKey.PrimaryKey
	if key == "" {
		return "", fmt.Errorf("the hub shows no key of %s: the policies iothubowner and registryReadWrite may see keys, give the connection string of one", device.DeviceID)
	}
	return key, nil
}

type listCmd struct{}

func (c *listCmd) Run(s *session) error {
	hub, err := s.hub()
	if err != nil {
		return err
	}
	devices, err := hub.Devices(s.ctx)
	if err != nil {
		return explainRefusal(err)
	}
	for i := range devices {
		devices[i].Authentication.SymmetricKey = iothub.SymmetricKey{}
	}
	if s.JSON {
		return s.printJSON(devices)
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DEVICE\tSTATUS\tCONNECTION\tLAST ACTIVITY")
	for _, d := range devices {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", d.DeviceID, d.Status, d.ConnectionState, moment(d.LastActivityTime))
	}
	return w.Flush()
}

type deleteCmd struct {
	ID  string `arg:"" help:"Device id."`
	Yes bool   `help:"Do not ask."`
}

// Run asks: the twin has what the device was asked for, and its agent is let in no more.
func (c *deleteCmd) Run(s *session) error {
	hub, err := s.hub()
	if err != nil {
		return err
	}
	if _, err := hub.Device(s.ctx, c.ID); err != nil {
		return explainRefusal(err)
	}
	fmt.Fprintf(s.out, "%s is removed, with its twin and its keys\n", c.ID)
	if !c.Yes && !confirmed(s) {
		return errors.New("not confirmed, nothing was removed")
	}
	if err := hub.DeleteDevice(s.ctx, c.ID); err != nil {
		return explainRefusal(err)
	}
	if s.JSON {
		return s.printJSON(map[string]string{"deleted": c.ID})
	}
	return nil
}

type showDeviceCmd struct {
	ID   string `arg:"" help:"Device id."`
	Keys bool   `xor:"what" help:"Print its keys instead, base64 and for other LwM2M clients hexadecimal."`
	PSK  string `name:"psk" xor:"what" placeholder:"FILE" help:"Write the key that its agent proves itself with over DTLS (lwm2m.psk) to a new file instead."`
}

// identity prints or writes the keys of the device.
func (c *showDeviceCmd) identity(s *session) error {
	hub, err := s.hub()
	if err != nil {
		return err
	}
	device, err := hub.Device(s.ctx, c.ID)
	if err != nil {
		return explainRefusal(err)
	}
	if c.PSK != "" {
		return s.writePSK(c.PSK, device)
	}
	key, err := primaryKey(device)
	if err != nil {
		return err
	}
	raw, err := base64.StdEncoding.DecodeString(key)
	if err != nil {
		return fmt.Errorf("the key of %s is not base64: %w", c.ID, err)
	}
	if s.JSON {
		return s.printJSON(map[string]string{"device": device.DeviceID, "primary": key, "secondary": device.Authentication.SymmetricKey.SecondaryKey})
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "identity\t%s\nprimary key\t%s\n\t%x\nsecondary key\t%s\n", device.DeviceID, key, raw, device.Authentication.SymmetricKey.SecondaryKey)
	return w.Flush()
}

func (c *showDeviceCmd) Run(s *session) error {
	if c.Keys || c.PSK != "" {
		return c.identity(s)
	}
	_, twin, err := s.twin(c.ID)
	if err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(twin.Properties.Reported)
	}
	report, err := decodeReport(twin.Properties.Reported)
	if err != nil {
		return fmt.Errorf("%w (try --json)", err)
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "device\t%s\nstate\t%s\nlast activity\t%s\n", twin.DeviceID, cmp.Or(oneLine(report.State), "unknown"), moment(twin.LastActivityTime))
	report.show(w)
	return w.Flush()
}

// moment writes a time for people, who may have got it from elsewhere: by RFC
// 3339, in the zone of this machine. Azure's zero time means never.
func moment(t time.Time) string {
	if t.Year() <= 1 {
		return "never"
	}
	return t.Local().Format(time.RFC3339)
}
