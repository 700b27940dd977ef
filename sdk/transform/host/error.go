package host

import (
	"fmt"
	"strings"
)

// A Class says in which way a module failed.
type Class string

// Classes of failure, in the words people read.
const (
	BadModule     Class = "module refused"  // by the static check or the compiler
	Refused       Class = "state refused"   // by the module: exit code 2; or by [Step.CheckJournal]
	Exit          Class = "failed"          // another exit code than 0
	Trap          Class = "trap"            // unreachable, out of bounds, division by zero …
	StackOverflow Class = "stack overflow"  //
	Deadline      Class = "deadline"        // of CPU or wall time
	OutputLimit   Class = "output limit"    //
	ResourceLimit Class = "resource limit"  // memory, mostly
	Invalid       Class = "invalid output"  // exit code 0, but not a result
	Crash         Class = "sandbox crashed" // for a reason none of the others name
)

// classes are all of them.
var classes = []Class{BadModule, Refused, Exit, Trap, StackOverflow, Deadline, OutputLimit, ResourceLimit, Invalid, Crash}

// An Error is the failure of a module, as against a failure of the host such
// as a full disk.
type Error struct {
	Class  Class
	Edge   string // "1→2"; "" if no edge was asked for
	File   string // slash path in the state; "" if it is not about one file
	Code   int    // exit code, if Class is Exit or Refused
	Reason string // one line
	Log    string // head and tail of stderr, printable
}

// Error returns one line, as in "transform 1→2 of history.json: trap: unreachable".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("transform")
	if e.Edge != "" {
		b.WriteString(" " + e.Edge)
	}
	if e.File != "" {
		b.WriteString(" of " + e.File)
	}
	fmt.Fprintf(&b, ": %s", e.Class)
	if e.Class == Exit {
		fmt.Fprintf(&b, " with exit code %d", e.Code)
	}
	if e.Reason != "" {
		b.WriteString(": " + e.Reason)
	}
	return strings.ReplaceAll(printable(b.String()), "\n", " ") // names are the module's
}

// MoreLog returns the log, or "" if the reason is all that it says.
func (e *Error) MoreLog() string {
	if strings.TrimPrefix(e.Log, string(Refused)+": ") == e.Reason {
		return ""
	}
	return e.Log
}

func badModule(format string, args ...any) *Error {
	return &Error{Class: BadModule, Reason: fmt.Sprintf(format, args...)}
}
