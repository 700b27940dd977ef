package bridge

import (
	"encoding/json"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// A job is an update of a component that the bridge itself carries out, by object 5
// or 9. What it has to remember stands in the twin, as `job` of the component,
// before the device is told anything: so a bridge that is started anew goes on.
type job struct {
	ID        string     `json:"id"`
	Component string     `json:"-"` // where it stands
	Object    lwm2m.Path `json:"object"`
	Goal      goal       `json:"goal"`
	From      string     `json:"from,omitempty"`
	To        string     `json:"to,omitempty"`
	Schema    int        `json:"schema,omitempty"` // of the new version's state
	Blob      string     `json:"blob,omitempty"`   // the artifact
	Size      int64      `json:"size,omitempty"`   // of it, bytes
	Away      int64      `json:"away,omitempty"`   // seconds that the author expects it to be away; 0 nobody knows
	Active    bool       `json:"active,omitempty"` // it ran before

	Step     string    `json:"step"`
	Tries    int       `json:"tries,omitempty"`   // of the step, that have failed
	Deadline time.Time `json:"deadline,omitzero"` // of the present try; zero if it has not begun
	Way      string    `json:"way,omitempty"`     // by which the package comes: a URI, or "push"
	Offered  bool      `json:"offered,omitempty"` // the device has been told of the package
	Pushed   bool      `json:"pushed,omitempty"`  // and has got all of it
	Told     bool      `json:"told,omitempty"`    // to install it
	Since    time.Time `json:"since,omitzero"`    // when it was offered, or told
	Before   int64     `json:"before,omitempty"`  // Update Result before that
	Vacated  bool      `json:"vacated,omitempty"` // what was installed has made way
	Began    time.Time `json:"began,omitzero"`    // when it was told that first
	Until    time.Time `json:"until,omitzero"`    // when it should be back
	Warning  string    `json:"warning,omitempty"` // what is odd, though it has worked
	Ending   *ending   `json:"ending,omitempty"`  // how it ends; until then nothing may be left behind on the device
	waits    waiting   // for what, at present
	sent     int64     // bytes, of a push
	looks    int       // at the device, in this step
	seen     bool      // that the device has begun what it was offered
	pause    time.Time // until then the next try does not begin
}

// An ending is what becomes of a job that does not go on.
type ending struct {
	Result    string `json:"result"`
	Cause     string `json:"cause,omitempty"`
	Step      string `json:"step,omitempty"` // that failed
	Cancelled bool   `json:"cancelled,omitempty"`
}

// touched reports whether the component may be other than before.
func (j *job) touched() bool { return !j.Began.IsZero() || j.Vacated }

// record is the job as the twin has it.
func (j *job) record() (m map[string]any) {
	b, _ := json.Marshal(j)   // made of plain values only
	_ = json.Unmarshal(b, &m) // the same
	return m
}

// recallJob finds the job that a twin has, nil if there is none. One that cannot
// be read is dropped: the wish is still there.
func recallJob(reported map[string]any) *job {
	components, _ := reported["components"].(map[string]any)
	for name, v := range components {
		component, _ := v.(map[string]any)
		if component["job"] == nil {
			continue
		}
		j := &job{Component: name}
		b, err := json.Marshal(component["job"])
		if err == nil && json.Unmarshal(b, j) == nil && objectOf(j.Object) != nil && j.position(j.Step) >= 0 {
			return j
		}
	}
	return nil
}

// answered is the wish that was answered last, as a twin has it.
func answered(reported map[string]any, component string) (g goal, ok bool) {
	components, _ := reported["components"].(map[string]any)
	c, _ := components[component].(map[string]any)
	if c["answered"] == nil {
		return g, false
	}
	b, err := json.Marshal(c["answered"])
	return g, err == nil && json.Unmarshal(b, &g) == nil
}
