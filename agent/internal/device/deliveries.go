package device

import (
	"context"
	"errors"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// Deliveries take packages by the standard objects. In place means that no
// installed package has to make way before. [engine.ErrNotNow] says that the
// state does not allow what was asked, [engine.ErrNoRoom] that the disk does not.
type Deliveries interface {
	Pull(component, uri, user, password string, inPlace bool) error
	Push(component string, size int64, inPlace bool) (engine.Push, error)
	// Install asks for what was delivered; quietly: what is new here does not run
	// before it is activated.
	Install(component string, quietly bool) error
	Uninstall(component string, upgrade bool) error
	Drop(component, result string) error
}

// coded gives an error the code that a standard server expects.
func coded(err error) error {
	if err == nil {
		return nil
	}
	switch {
	case errors.Is(err, engine.ErrNotNow):
		return lwm2m.Errorf(lwm2m.CodeMethodNotAllowed, "%v", err)
	case errors.Is(err, engine.ErrNoRoom):
		return lwm2m.Errorf(lwm2m.CodeTooLarge, "%v", err)
	}
	return lwm2m.Errorf(lwm2m.CodeBadRequest, "%v", err)
}

// whole pushes a package that came in one piece.
func whole(s lwm2m.Stream, b []byte) error {
	_, err := s.Write(b)
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		s.Abort(err)
	}
	return err
}

// An upload passes on what a server writes.
type upload struct {
	begin  func() (engine.Push, error)
	cancel func() error // takes the place of all if no more than one zero byte comes; nil: there is no such sign
	held   []byte
	push   engine.Push
}

// Write implements [lwm2m.Stream].
func (u *upload) Write(b []byte) (int, error) {
	n := len(b)
	if u.push == nil {
		b = append(u.held, b...)
		if u.held = b; u.sign() {
			return n, nil
		}
		push, err := u.begin()
		if err != nil {
			return 0, coded(err)
		}
		u.push, u.held = push, nil
	}
	if _, err := u.push.Write(b); err != nil {
		return 0, coded(err)
	}
	return n, nil
}

// sign reports whether what has come may be all, and a sign.
func (u *upload) sign() bool {
	return u.cancel != nil && (len(u.held) == 0 || len(u.held) == 1 && u.held[0] == 0)
}

// Close implements [lwm2m.Stream].
func (u *upload) Close() error {
	if u.push == nil && u.sign() {
		return coded(u.cancel())
	}
	if u.push == nil { // nothing has come at all
		push, err := u.begin()
		if err != nil {
			return coded(err)
		}
		u.push = push
	}
	return coded(u.push.Close())
}

// Abort implements [lwm2m.Stream].
func (u *upload) Abort(cause error) {
	if u.push != nil {
		u.push.Abort(cause)
	}
}

// stream has a package pushed to a component. What does not fit the disk is
// refused with the first block, if the server says how long it is.
func (d *Device) stream(component string, size int64, inPlace bool, cancel func() error) lwm2m.Stream {
	return &upload{cancel: cancel, begin: func() (engine.Push, error) { return d.Deliveries.Push(component, size, inPlace) }}
}

// component is the one that an instance is about.
func (d *Device) component(p lwm2m.Path) (string, error) {
	if int(p.Instance()) >= len(d.Components) {
		return "", lwm2m.Errorf(lwm2m.CodeNotFound, "there is no component %v", p)
	}
	return d.Components[p.Instance()], nil
}

func (d *Device) softwareStream(_ context.Context, p lwm2m.Path, size int64) (lwm2m.Stream, error) {
	component, err := d.component(p)
	if err != nil {
		return nil, err
	}
	return d.stream(component, size, false, nil), nil
}

func (d *Device) firmwareStream(_ context.Context, _ lwm2m.Path, size int64) (lwm2m.Stream, error) {
	return d.stream(d.Firmware, size, true, d.reset), nil
}
