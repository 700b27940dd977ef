package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"text/tabwriter"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

type deviceCmd struct {
	Create createCmd     `cmd:"" help:"Register a device."`
	List   listCmd       `cmd:"" help:"List all devices."`
	Show   showDeviceCmd `cmd:"" help:"Show a device and its components."`
}

// hub connects to the twin hub.
func (s *session) hub() (*iothub.Client, error) {
	if s.Hub == "" {
		return nil, errors.New("no twin hub: give --hub or $TRANQUIL_HUB, a service connection string")
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
	ID   string `arg:"" help:"Device id: the endpoint name of its agent."`
	JSON bool   `help:"Print the identity with its keys."`
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
	if c.JSON {
		return s.printJSON(device)
	}
	fmt.Fprintf(s.out, "created %s\n", device.DeviceID)
	return nil
}

type listCmd struct {
	JSON bool `help:"Print JSON."`
}

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
	if c.JSON {
		return s.printJSON(devices)
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DEVICE\tSTATUS\tCONNECTION\tLAST ACTIVITY")
	for _, d := range devices {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", d.DeviceID, d.Status, d.ConnectionState, moment(d.LastActivityTime))
	}
	return w.Flush()
}

type showDeviceCmd struct {
	ID   string `arg:"" help:"Device id."`
	JSON bool   `help:"Print its reported properties as JSON."`
}

func (c *showDeviceCmd) Run(s *session) error {
	_, twin, err := s.twin(c.ID)
	if err != nil {
		return err
	}
	if c.JSON {
		return s.printJSON(twin.Properties.Reported)
	}
	report, err := decodeReport(twin.Properties.Reported)
	if err != nil {
		return fmt.Errorf("%w (try --json)", err)
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "device\t%s\nstate\t%s\nlast activity\t%s\n", twin.DeviceID, cmp.Or(report.State, "unknown"), moment(twin.LastActivityTime))
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
