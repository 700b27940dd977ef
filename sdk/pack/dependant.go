package pack

import (
	"errors"
	"fmt"

	"github.com/tranquil-iot/tranquil/sdk/settings"
)

// Policies of a dependant: what happens to it when the component that it
// depends on is updated.
const (
	PolicyTell  = "tell"  // it is told, before and after
	PolicyStop  = "stop"  // it is stopped before, and started after
	PolicyDefer = "defer" // it is told, and may ask for a delay
)

// A Dependant is a component that depends on another of the same device. In a
// manifest it is the package's own component; Component is empty then.
type Dependant struct {
	Component string   `json:"component,omitempty" toml:"component"` // "application/reader"
	Of        string   `json:"of" toml:"of"`                         // "application/sensor-adapter"
	Policy    string   `json:"policy" toml:"policy"`                 // "tell", "stop", "defer"
	MaxDelay  Duration `json:"maxDelay,omitempty" toml:"maxDelay"`   // of "defer"; 0: 1 h
}

// Check reports what is wrong with a dependant that has a name.
func (d Dependant) Check() error {
	errs := []error{settings.In("component", CheckComponent(d.Component)), settings.In("of", CheckComponent(d.Of)), settings.In("maxDelay", checkDuration(d.MaxDelay))}
	if d.Component == d.Of {
		errs = append(errs, fmt.Errorf("%s cannot depend on itself", d.Of))
	}
	switch d.Policy {
	case PolicyTell, PolicyStop, PolicyDefer:
	default:
		errs = append(errs, settings.In("policy", fmt.Errorf("%.80q is none of tell, stop and defer", d.Policy)))
	}
	if d.MaxDelay != 0 && d.Policy != PolicyDefer {
		errs = append(errs, settings.In("maxDelay", errors.New("only a dependant with the policy defer can delay")))
	}
	return errors.Join(errs...)
}

// checkDependants are what this package's component depends on.
func (m *Manifest) checkDependants() error {
	if len(m.Dependants) > maxEntries {
		return settings.In("dependant", fmt.Errorf("more than %d", maxEntries))
	}
	var errs []error
	for i, d := range m.Dependants {
		if d.Component != "" {
			errs = append(errs, settings.In(fmt.Sprintf("dependant %d", i+1), settings.In("component", errors.New("it is this package's own, leave it out"))))
		}
		d.Component = m.Component()
		errs = append(errs, settings.In(fmt.Sprintf("dependant %d", i+1), d.Check()))
	}
	return errors.Join(errs...)
}
