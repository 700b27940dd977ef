package bridge

import (
	"fmt"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// Means are how a device that knows only objects 5 and 9 gets a package.
type means struct {
	delivery string        // "push" or "pull", "" as the device can
	platform pack.Platform // which artifact of the package
	object   lwm2m.Path    // the instance that the component is; the root leaves it to the device's names
}

const (
	deliverPush = "push"
	deliverPull = "pull"
)

// set takes one of them from the twin.
func (m *means) set(name string, v any) (ok bool) {
	text, ok := v.(string)
	var err error
	switch name {
	case "delivery":
		m.delivery = text
		ok = ok && (text == deliverPush || text == deliverPull)
	case "platform":
		m.platform, err = pack.ParsePlatform(text)
	default:
		m.object, err = parseObject(text)
	}
	return ok && err == nil
}

// parseObject reads "/5/0" or "/9/x".
func parseObject(text string) (lwm2m.Path, error) {
	p, err := lwm2m.ParsePath(text)
	if err == nil && (p.Depth() != lwm2m.DepthInstance || objectOf(p) == nil) {
		err = fmt.Errorf("%s is no instance of object 5 or 9", text)
	}
	return p, err
}

// A goal is a wish that is answered once.
type goal struct {
	Version string `json:"version,omitempty"`
	Package string `json:"package,omitempty"`
	Attempt int64  `json:"attempt,omitempty"`
	Remove  string `json:"remove,omitempty"` // "keep" or "purge" of its states, which such a device does not tell apart
}

func (w want) goal() goal { return goal{w.version, w.file, w.attempt, w.remove} }

// wished tells whether there is one at all.
func (g goal) wished() bool { return g.Version != "" || g.Package != "" || g.Remove != "" }
