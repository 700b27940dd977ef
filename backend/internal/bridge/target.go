package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// A target is a component of a device that has never heard of Tranquil: object 5,
// or an instance of object 9.
type target struct {
	object    *object
	view      view
	path      lwm2m.Path // of the instance
	component string
	model     string // of the device, for firmware that has no name
	firmware  string // its version, as object 3 has it
	known     bool   // the two have been read
}

// objectOf is how the object at a path is driven, nil if it is neither 5 nor 9.
func objectOf(p lwm2m.Path) *object {
	switch p.Object() {
	case objects.FirmwareID:
		return firmware
	case objects.SoftwareManagementID:
		return software
	}
	return nil
}

// standard lists the instances by which a device is updated that has no agent.
func standard(d *lwm2m.Device) (paths []lwm2m.Path) {
	for _, p := range d.Registration().Objects {
		switch {
		case p.Object() == objects.ComponentUpdateID:
			return nil // its agent knows better
		case objectOf(p) != nil && p.Depth() == lwm2m.DepthInstance:
			paths = append(paths, p)
		}
	}
	slices.SortFunc(paths, lwm2m.Path.Compare)
	return paths
}

// lookAt reads the targets of a registration, and again those that the device says
// have changed. Nothing is told of a device before that.
func (s *session) lookAt(ctx context.Context) error {
	s.mu.Lock()
	d := s.device
	s.mu.Unlock()
	if !listens(d) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, operationTimeout)
	defer cancel()
	paths := standard(d)
	var targets []*target
	for _, p := range paths {
		t, err := s.targetAt(ctx, d, p)
		if _, refused := errors.AsType[*lwm2m.Error](err); refused {
			s.log.Info("the device does not show an object by which it could be updated", "path", p.String(), "error", err)
			continue
		}
		if err != nil {
			return err
		}
		targets = append(targets, t)
	}
	s.looked, s.targets = d, targets
	s.nameTargets()
	return nil
}

// targetAt is what is known of a target, if that is up to date, or what is read.
func (s *session) targetAt(ctx context.Context, d *lwm2m.Device, p lwm2m.Path) (*target, error) {
	if t := s.at(p); t != nil && s.looked == d && !s.takeChange(p) {
		return t, nil
	}
	t := &target{object: objectOf(p), path: p}
	if old := s.at(p); old != nil && s.looked == d {
		t.model, t.firmware, t.known = old.model, old.firmware, old.known
	}
	if s.looked != d || s.at(p) == nil {
		s.follow(ctx, d, p)
	}
	return t, t.refresh(ctx, d)
}

// at is the target at a path, nil if there is none.
func (s *session) at(p lwm2m.Path) *target {
	i := slices.IndexFunc(s.targets, func(t *target) bool { return t.path == p })
	if i < 0 {
		return nil
	}
	return s.targets[i]
}

// follow has the device tell of changes. One that does not is asked while it is
// being updated.
func (s *session) follow(ctx context.Context, d *lwm2m.Device, p lwm2m.Path) {
	_, err := d.Observe(ctx, p, func([]lwm2m.Record) {
		s.mu.Lock()
		s.changed[p] = true
		s.mu.Unlock()
		s.poke()
	})
	if err != nil {
		s.log.Debug("an object is not observed", "path", p.String(), "error", err)
	}
}

// takeChange reports whether a target has changed since it was asked last.
func (s *session) takeChange(p lwm2m.Path) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := s.changed[p]
	delete(s.changed, p)
	return changed
}

// refresh reads the target.
func (t *target) refresh(ctx context.Context, d *lwm2m.Device) error {
	records, err := d.Read(ctx, t.path)
	if err != nil {
		return err
	}
	t.view = t.object.read(t.path, records)
	if t.object != firmware {
		return nil
	}
	if !t.known || t.view.stage == vacant { // it changes with nothing in hand
		err = t.identify(ctx, d)
	}
	t.view.version = cmp.Or(t.firmware, t.view.version)
	return err
}

// identify reads the version of firmware from object 3: that of object 5 is the one
// of the package that is there.
func (t *target) identify(ctx context.Context, d *lwm2m.Device) error {
	records, err := d.Read(ctx, lwm2m.NewPath(objects.DeviceID, 0))
	if _, refused := errors.AsType[*lwm2m.Error](err); err != nil && !refused {
		return err
	}
	device := values{}
	device.take(records)
	text := func(resource uint16) string {
		return device[lwm2m.NewPath(objects.DeviceID, 0, resource)].Value.Text()
	}
	t.firmware, t.model, t.known = text(objects.DeviceFirmwareVersion), text(objects.DeviceModelNumber), true
	return nil
}

// nameTargets gives each target the name of a component, no two the same: the one
// of an update in progress, the one that is desired, the one that the twin has, or
// what the device calls it.
func (s *session) nameTargets() {
	taken := map[string]bool{}
	for _, t := range s.targets {
		name := t.ownName()
		for _, known := range []string{s.inTwin(t.path), s.desired(t.path), s.underWay(t.path)} {
			name = cmp.Or(known, name)
		}
		if taken[name] {
			name = fmt.Sprintf("%s-%d", name, t.path.Instance())
		}
		taken[name], t.component = true, name
	}
}

func (s *session) underWay(p lwm2m.Path) string {
	if s.job != nil && s.job.Object == p {
		return s.job.Component
	}
	return ""
}

func (s *session) desired(p lwm2m.Path) string {
	for _, name := range slices.Sorted(maps.Keys(s.wants)) {
		if s.wants[name].means.object == p {
			return name
		}
	}
	return ""
}

func (s *session) inTwin(p lwm2m.Path) string {
	components, _ := s.base["components"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(components)) {
		component, _ := components[name].(map[string]any)
		if component["object"] == p.String() {
			return name
		}
	}
	return ""
}

// ownName makes a component's name of what the device says: "application/x" or a
// package's file name as they are, any other name as the name of firmware or
// software.
func (t *target) ownName() string {
	if file, err := pack.ParseFileName(t.view.name); err == nil {
		return file.Component()
	}
	if pack.CheckComponent(t.view.name) == nil {
		return t.view.name
	}
	if t.object == firmware {
		return "firmware/" + cmp.Or(slug(t.model), "device")
	}
	return "software/" + cmp.Or(slug(t.view.name), fmt.Sprintf("slot-%d", t.path.Instance()))
}

// slug keeps letters and digits of a name, in lower case, with hyphens for the
// rest.
func slug(name string) string {
	const most = 48 // a component has 63, and may get a number
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	s := strings.Join(words, "-")
	return strings.Trim(s[:min(len(s), most)], "-")
}

// named is the target that is a component, nil if there is none.
func (s *session) named(component string) *target {
	i := slices.IndexFunc(s.targets, func(t *target) bool { return t.component == component })
	if i < 0 {
		return nil
	}
	return s.targets[i]
}
