package rauc

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// RAUC's service on the system bus: "Using the D-Bus API" of its documentation.
const (
	busName = "de.pengutronix.rauc"
	api     = busName + ".Installer"

	properties   = "org.freedesktop.DBus.Properties"
	ownerChanged = "org.freedesktop.DBus.NameOwnerChanged"
)

// A bus is a connection with the system bus, and RAUC on it.
type bus struct {
	conn *dbus.Conn
	rauc dbus.BusObject
}

// connect connects with the bus at an address; "" is the system bus.
func connect(ctx context.Context, address string) (*bus, error) {
	dial := func(o ...dbus.ConnOption) (*dbus.Conn, error) { return dbus.Connect(address, o...) }
	if address == "" {
		dial = dbus.ConnectSystemBus
	}
	conn, err := dial(dbus.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("cannot reach the system bus: %w (%w)", err, updater.ErrRetry)
	}
	return &bus{conn, conn.Object(busName, "/")}, nil
}

func (b *bus) close() { b.conn.Close() }

func (b *bus) call(ctx context.Context, method string, args ...any) *dbus.Call {
	call := b.rauc.CallWithContext(ctx, api+"."+method, 0, args...)
	call.Err = explain(ctx, method, call.Err)
	return call
}

// explain says what to do about an answer of the bus.
func explain(ctx context.Context, method string, err error) error {
	var answer dbus.Error
	switch {
	case err == nil || ctx.Err() != nil:
		return ctx.Err()
	case !errors.As(err, &answer):
		return fmt.Errorf("RAUC does not answer to %s: %w (%w)", method, err, updater.ErrRetry)
	case answer.Name == "org.freedesktop.DBus.Error.ServiceUnknown", answer.Name == "org.freedesktop.DBus.Error.NameHasNoOwner":
		return fmt.Errorf("RAUC's service does not run on the system bus: %w (%w)", err, updater.ErrRetry)
	}
	return fmt.Errorf("RAUC refuses %s: %w", method, err)
}

// property reads one of RAUC's properties.
func (b *bus) property(ctx context.Context, name string, value any) error {
	var v dbus.Variant
	call := b.rauc.CallWithContext(ctx, properties+".Get", 0, api, name)
	if call.Err = explain(ctx, name, call.Err); call.Err != nil {
		return call.Err
	}
	if err := call.Store(&v); err != nil {
		return fmt.Errorf("cannot read RAUC's %s: %w", name, err)
	}
	return v.Store(value)
}

// A slot is one that a boot loader can boot.
type slot struct {
	Name   string // "rootfs.1"
	Booted bool
	Stamp  string // changes when something is written to it through RAUC
}

// slots lists them.
func (b *bus) slots(ctx context.Context) ([]slot, error) {
	var all []struct {
		Name   string
		Status map[string]dbus.Variant
	}
	if err := b.call(ctx, "GetSlotStatus").Store(&all); err != nil {
		return nil, err
	}
	var found []slot
	for _, s := range all {
		text := func(key string) string { t, _ := s.Status[key].Value().(string); return t }
		if text("bootname") == "" { // such as one that belongs to a bootable one
			continue
		}
		count, _ := s.Status["installed.count"].Value().(uint32)
		found = append(found, slot{s.Name, text("state") == "booted", stamp(count, text("installed.timestamp"))})
	}
	return found, nil
}

func stamp(count uint32, time string) string { return fmt.Sprint(count, " ", time) }

// unwritten is the stamp of a slot that RAUC has never written, as far as it knows.
var unwritten = stamp(0, "")

// prefer has the boot loader boot a slot.
func (b *bus) prefer(ctx context.Context, slot string) error {
	var first string
	if b.call(ctx, "GetPrimary").Store(&first) == nil && first == slot {
		return ctx.Err()
	}
	return b.mark(ctx, "active", slot)
}

// mark marks a slot as "active", "good" or "bad".
func (b *bus) mark(ctx context.Context, as, slot string) error {
	return b.call(ctx, "Mark", as, slot).Err
}

// idle waits until RAUC installs nothing: it does not stop when whoever asked for
// it has ended.
func (b *bus) idle(ctx context.Context) error {
	for {
		var operation string
		if err := b.property(ctx, "Operation", &operation); err != nil || operation == "idle" {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// install has RAUC write a bundle, and tells what it says meanwhile.
func (b *bus) install(ctx context.Context, bundle string, tell func(percent int32, what string)) error {
	signals := make(chan *dbus.Signal, 256)
	b.conn.Signal(signals)
	defer b.conn.RemoveSignal(signals)
	for _, match := range [][]dbus.MatchOption{
		{dbus.WithMatchSender(busName), dbus.WithMatchInterface(api)},
		{dbus.WithMatchSender(busName), dbus.WithMatchInterface(properties)},
		{dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, busName)},
	} {
		if err := b.conn.AddMatchSignalContext(ctx, match...); err != nil {
			return explain(ctx, "a subscription", err)
		}
	}
	if err := b.call(ctx, "InstallBundle", bundle, map[string]dbus.Variant{}).Err; err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case signal, open := <-signals:
			if !open || signal.Name == ownerChanged {
				return fmt.Errorf("RAUC ended while it wrote the slot: %w", updater.ErrRetry)
			}
			if signal.Name == api+".Completed" {
				return b.completed(ctx, signal)
			}
			if percent, what, is := progress(signal); is {
				tell(percent, what)
			}
		}
	}
}

// completed returns how an installation has ended.
func (b *bus) completed(ctx context.Context, signal *dbus.Signal) error {
	if len(signal.Body) == 1 && signal.Body[0] == int32(0) {
		return nil
	}
	var reason string
	if err := b.property(ctx, "LastError", &reason); err != nil {
		return err
	}
	return fmt.Errorf("RAUC does not install it: %s", reason)
}

// progress reads the property Progress out of a signal that it has changed.
func progress(signal *dbus.Signal) (percent int32, what string, is bool) {
	if signal.Name != properties+".PropertiesChanged" || len(signal.Body) != 3 {
		return 0, "", false
	}
	changed, _ := signal.Body[1].(map[string]dbus.Variant)
	values, _ := changed["Progress"].Value().([]any)
	if len(values) != 3 {
		return 0, "", false
	}
	percent, is = values[0].(int32)
	what, _ = values[1].(string)
	return percent, what, is
}
