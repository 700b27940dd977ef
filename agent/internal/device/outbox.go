package device

import (
	"cmp"
	"context"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// The outbox is read by the server one outcome at a time: the oldest is a
// resource, and leaves it when the server has written its update's id into
// another. A server that registers the device anew reads it anew; one that
// has missed a notification gets another after a while.

// oldest is what the server sees of the outbox.
func (d *Device) oldest(component string) string {
	o, found, err := d.Outbox.Oldest(component)
	if err != nil {
		d.Log.Error("cannot read the outbox", "component", component, "error", err)
	}
	if !found {
		return ""
	}
	return told(o).Encode()
}

func told(o engine.Outcome) objects.Outcome {
	return objects.Outcome{
		ID: o.Update, Kind: o.Kind, From: o.From, To: o.To, Result: o.Result, Cancelled: o.Cancelled, Cause: o.Cause, Step: o.Step,
		Downtime: seconds(o.Downtime), Predicted: seconds(o.Predicted), Rest: o.Rest, At: o.At, Stopped: o.Stopped, Warnings: o.Warnings, Missed: o.Missed,
	}
}

// seconds rounds to milliseconds: all else is noise.
func seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}

// acknowledge takes an outcome out of the outbox, and shows the next.
func (d *Device) acknowledge(component, update string) error {
	if err := d.Outbox.Acknowledge(component, update); err != nil {
		return err
	}
	d.Log.Debug("outcome acknowledged", "component", component, "update", update)
	d.Changed(component)
	return nil
}

// remind tells the server again of outcomes that it does not acknowledge.
func (d *Device) remind(ctx context.Context) {
	every := time.NewTicker(cmp.Or(d.Remind, 30*time.Second))
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-every.C:
			d.client.Changed(d.unacknowledged()...)
		}
	}
}

func (d *Device) unacknowledged() (paths []lwm2m.Path) {
	for i, c := range d.Components {
		if _, found, _ := d.Outbox.Oldest(c); found {
			paths = append(paths, lwm2m.NewPath(objects.ComponentUpdateID, uint16(i), objects.ComponentOutcome))
		}
	}
	return paths
}
