package manager

import (
	"fmt"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// A Decision says what to do about one component.
type Decision int

// The decisions.
const (
	Nothing   Decision = iota // the wish is answered, or there is none
	Update                    // run the engine
	Refuse                    // the wish can never be fulfilled
	Unchanged                 // it is fulfilled already
)

// Next decides about one wish. It is a pure function: the same arguments give
// the same answer after any restart. Settled is the last wish that was
// answered; a wish that equals it is old news, however often it is delivered.
func Next(wish, settled engine.Wish, installed engine.Installed) (Decision, string) {
	switch {
	case wish == (engine.Wish{}) || wish == settled:
		return Nothing, ""
	case wish.Version != "" && pack.CheckVersion(wish.Version) != nil:
		return Refuse, fmt.Sprintf("%q is no semantic version such as 1.4.0", wish.Version)
	case wish.State != "" && wish.State != engine.StateTransform && wish.State != engine.StateSaved:
		return Refuse, fmt.Sprintf("state %q is neither %q nor %q", wish.State, engine.StateTransform, engine.StateSaved)
	case wish.Version != "" && wish.Version == installed.Version:
		return Unchanged, "version " + wish.Version + " is installed already"
	case wish.Package != "" && wish.Package == installed.Digest:
		return Unchanged, "package " + wish.Package + " is installed already"
	case wish.Version == "" && wish.Package == "":
		return Nothing, ""
	}
	return Update, ""
}
