package engine

import (
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/state"
	"github.com/tranquil-iot/tranquil/sdk/updater"
)

// A Wish is what somebody wants of one component.
type Wish struct {
	Version string `json:"version,omitempty"` // semantic version; "" no wish
	Package string `json:"package,omitempty"` // digest or file name of one package; "" the package of Version
	Attempt int    `json:"attempt,omitempty"` // another number asks again for what has failed
	State   string `json:"state,omitempty"`   // StateTransform, StateSaved or StateOptional; "" is StateTransform
	Remove  string `json:"remove,omitempty"`  // RemoveKeep or RemovePurge; "" nothing is removed
}

// Wishes is what the back end has set for one component.
type Wishes struct {
	Wish     Wish   `json:"wish"`
	Settled  Wish   `json:"settled"`            // the last wish that was answered
	Noted    string `json:"noted,omitempty"`    // update of the last outcome that was looked at for that
	Schedule string `json:"schedule,omitempty"` // of update checks, cron
	Terms    Terms  `json:"terms,omitzero"`
	Answer   Answer `json:"answer,omitzero"` // given at the device

	Delivery Delivery `json:"delivery,omitzero"`  // by standard LwM2M objects
	Inactive bool     `json:"inactive,omitempty"` // installed, but shall not run
}

// Installed is the version of a component that is on the device.
type Installed struct {
	Version string         `json:"version"`          // "" nothing is installed
	Schema  int            `json:"schema,omitempty"` // 0: no state
	Epoch   int            `json:"epoch,omitempty"`
	Digest  string         `json:"digest,omitempty"` // of the package's manifest
	Handle  updater.Handle `json:"handle,omitzero"`

	Previous *Previous          `json:"previous,omitempty"` // version
	Held     []state.Generation `json:"held,omitempty"`     // saved or brought back by a restore, until the next update

	Parked *Parked `json:"parked,omitempty"` // nil: no repair is under way
}

// Parked is what a repair has saved before it put another state in place. It
// is noted until the component runs: if the power goes before, what is live by
// then may be that other state, or neither.
type Parked struct {
	Repair     int64            `json:"repair"`               // as in [Update]
	Generation state.Generation `json:"generation,omitempty"` // 0: there was nothing to be saved
}

// An Update is one transaction on one component, with the facts its steps
// have found so far. It is journaled as part of the [Record].
type Update struct {
	ID        string    `json:"id"`
	Component string    `json:"component"` // "application/sensor-adapter"
	Wish      Wish      `json:"wish"`
	From      Installed `json:"from"`
	To        Installed `json:"to"`

	Fetched    int64             `json:"-"`                    // bytes of Size that are downloaded
	Slow       int64             `json:"-"`                    // bytes a second, if that is slow
	Size       int64             `json:"-"`                    // of the download, bytes
	Repair     int64             `json:"repair,omitempty"`     // what an operator has decided: the number from afar, or RepairHere; 0: it is none
	Doubt      string            `json:"doubt,omitempty"`      // why what vouches for the package may be outdated
	Unsigned   bool              `json:"unsigned,omitempty"`   // nobody who may has signed for the package, or nobody could be asked
	Urgent     bool              `json:"urgent,omitempty"`     // asked for at the device: waits for neither window nor consent
	Requires   map[string]string `json:"requires,omitempty"`   // other components, and which versions of them
	StateSize  int64             `json:"stateSize,omitempty"`  // bytes, when it was rehearsed
	StateFiles int64             `json:"stateFiles,omitempty"` // files and directories, then
	Rehearsed  Moment            `json:"rehearsed,omitzero"`   // last

	Rehearsal state.Generation `json:"rehearsal,omitempty"` // the live snapshot; the one after it is its transform
	Saved     state.Generation `json:"saved,omitempty"`
	Losing    bool             `json:"losing,omitempty"` // asked for at the device: the present state may be lost
	Lost      bool             `json:"lost,omitempty"`   // nothing is in Saved: see [Update.forsakes]
	New       state.Generation `json:"new,omitempty"`

	// Restore is the generation that the new version gets its state from,
	// instead of Saved; without a wish the version stays and only gets that.
	Restore       state.Generation `json:"restore,omitempty"`
	RestoreSchema int              `json:"restoreSchema,omitempty"`

	Expected  time.Duration            `json:"expected,omitempty"`  // what the rehearsal says that the transform takes
	Took      map[string]time.Duration `json:"took,omitempty"`      // by step, on the way forward
	Predicted time.Duration            `json:"predicted,omitempty"` // downtime, from the rehearsal and the past
	Until     time.Time                `json:"until,omitzero"`      // announced time of return
	Announced Moment                   `json:"announced,omitzero"`  // when that was
	Serving   bool                     `json:"serving,omitempty"`   // the new version is healthy
	Down      Moment                   `json:"down,omitzero"`       // when the component stopped serving
	Downtime  time.Duration            `json:"downtime,omitempty"`  // measured
	Forced    bool                     `json:"forced,omitempty"`    // it had to be stopped by force
	Halted    []string                 `json:"halted,omitempty"`    // dependants that do not run meanwhile, in the order in which they start
	Rest      string                   `json:"rest,omitempty"`      // how it came to rest: Tranquil, or Forced and why
	Warnings  []string                 `json:"warnings,omitempty"`  // what the last rehearsal has found that is probably not meant so
	Notices   []string                 `json:"notices,omitempty"`   // of the download, see [Notice]
}

// format is the lowest [RecordFormat] whose agents can go on from a record of
// u. Format 2 has states that come from an earlier generation: an agent of
// format 1 would transform the present one instead, and unstage the version
// that is in use. Format 3 has removals, in which one of format 2 would look for
// a package. Format 4 has states that may be lost, which one of format 3 would
// look for.
func (u *Update) format() int {
	if u.Lost || u.Losing || u.Wish.State == StateOptional {
		return 4
	}
	if u.removes() {
		return 3
	}
	if u.Restore != 0 || u.Wish.State == StateSaved {
		return 2
	}
	return 1
}

// Results of an update, as the twin shows them.
const (
	Updated      = "updated"      // the new version runs
	Removed      = "removed"      // as was wished
	TurnedBack   = "turned back"  // the old version runs again, with its state
	Refused      = "refused"      // nothing was touched
	Unchanged    = "unchanged"    // there was nothing to do
	Inconsistent = "inconsistent" // an operator must look at the device
)

// An Outcome is what is left of an update that has ended.
type Outcome struct {
	Update    string        `json:"update"` // its ID
	Component string        `json:"component"`
	Kind      string        `json:"kind,omitempty"` // a constant of [Update.Kind]
	Wish      Wish          `json:"wish"`
	From      string        `json:"from"`
	To        string        `json:"to"`
	Result    string        `json:"result"`
	Cancelled bool          `json:"cancelled,omitempty"` // somebody wanted it to turn back
	Cause     string        `json:"cause,omitempty"`
	Step      string        `json:"step,omitempty"` // that failed
	Downtime  time.Duration `json:"downtime"`
	Predicted time.Duration `json:"predicted,omitempty"`
	Forced    bool          `json:"forced,omitempty"`
	Rest      string        `json:"rest,omitempty"`
	At        time.Time     `json:"at"`
	Stopped   []string      `json:"stopped,omitempty"` // dependants that did not run meanwhile
	Warnings  []string      `json:"warnings,omitempty"`
	Repair    int64         `json:"repair,omitempty"`   // as of the update
	Unsigned  bool          `json:"unsigned,omitempty"` // refused since nobody who may has signed for the package yet, or any more
	Missed    int           `json:"missed,omitempty"`   // earlier outcomes that nobody acknowledged until there was no more room
}

// Ended is the outcome of an update that was not begun.
func (u Update) Ended(result string, cause error) Outcome {
	o := u.outcome(result)
	o.Cause = cause.Error()
	return o
}

// Progress tells where an update is.
type Progress struct {
	Update    string        `json:"update"`
	Component string        `json:"component"`
	To        string        `json:"to"`
	Phase     Phase         `json:"phase"`
	Step      string        `json:"step"`
	Back      bool          `json:"back,omitempty"`    // the step is being undone
	Fraction  float64       `json:"progress"`          // of the whole update, 0 to 1
	Fetched   int64         `json:"fetched,omitempty"` // bytes of Size, while they are downloaded
	Size      int64         `json:"size,omitempty"`
	Slow      int64         `json:"slow,omitempty"` // bytes a second of a download that is slow
	Until     time.Time     `json:"unavailableUntil,omitzero"`
	Predicted time.Duration `json:"predicted,omitempty"`
	Down      bool          `json:"down,omitempty"`    // the component is stopped, or about to be
	Stale     bool          `json:"stale"`             // the component does not serve
	Serving   *Installed    `json:"serving,omitempty"` // the new version, if that serves already
	Stopped   []string      `json:"stopped,omitempty"` // dependants that do not run meanwhile
	Waiting   *Wait         `json:"waiting,omitempty"` // what it waits for; nil if it does not
}

// progress is what is told of an update while a step runs.
func (r *Record) progress(s Step, fraction float64) Progress {
	u := r.Update
	p := Progress{
		Update: u.ID, Component: u.Component, To: u.target(), Phase: s.Phase, Step: s.Name, Back: r.Back, Fraction: fraction,
		Until: u.returns(), Predicted: u.Predicted, Stale: !u.Until.IsZero() && !u.Serving,
		Waiting: r.Waiting,
	}
	if u.Serving {
		p.Serving = &u.To
	}
	if s.Name == "download" && !r.Back {
		p.Fetched, p.Size, p.Slow = u.Fetched, u.Size, u.Slow
	}
	p.Down = u.Down != (Moment{}) && u.Downtime == 0
	if r.Stopped() {
		p.Stopped = u.Halted
	}
	return p
}

// returns is the announced time of return by the wall clock of now, which may
// have been set since it was announced; the zero time if none was.
func (u *Update) returns() time.Time {
	if u.Until.IsZero() || u.Announced.Boot != now().Boot {
		return u.Until
	}
	at := time.Now().UTC().Add(u.Predicted - since(u.Announced))
	if off := at.Sub(u.Until).Abs(); off < clockStep {
		return u.Until // else it would waver from report to report
	}
	return at
}

// clockStep is by how much the wall clock must be off to count as set: more
// than a clock that is being slewed.
const clockStep = 5 * time.Second

// Trust is how what is known of signatures for a component's packages stands.
type Trust struct {
	Timestamp int64  `json:"timestamp,omitempty"` // version of the newest that was verified: the second of Unix time in which it was signed, or more
	Trouble   string `json:"trouble,omitempty"`   // that somebody should see to; "" none
}

// Serves returns the version that serves, or served last: the new one as soon
// as it is healthy, before it is committed.
func (v View) Serves() Installed {
	if v.Progress != nil && v.Progress.Serving != nil {
		return *v.Progress.Serving
	}
	return v.Installed
}

// A View is all that can be said of one component now.
type View struct {
	Component string    `json:"component"`
	Installed Installed `json:"installed"`
	Running   bool      `json:"running"`
	Wish      Wish      `json:"wish"`
	Schedule  string    `json:"schedule,omitempty"` // of update checks, cron
	Terms     Terms     `json:"terms,omitzero"`
	Asks      bool      `json:"asks,omitempty"` // the device itself wants consent to updates
	Opens     time.Time `json:"opens,omitzero"` // the maintenance window, if it is closed and that is known

	Dependants map[string]string `json:"dependants,omitempty"` // what each may want when it is updated, as in "defer for at most 1h0m0s"

	Progress *Progress `json:"progress,omitempty"` // of the update in progress
	Outcome  *Outcome  `json:"outcome,omitempty"`  // of the last one
	Fault    string    `json:"fault,omitempty"`    // why the agent is in safe mode, and starts no update
	Repaired int64     `json:"repaired,omitempty"` // number of the last repair of the agent that has ended
	Mended   int64     `json:"mended,omitempty"`   // and of the last one of the component that was asked for from afar
	Previous *WayBack  `json:"previous,omitempty"` // to the version before, if there was one

	Delivery Delivery `json:"-"`                  // by standard LwM2M objects
	Inactive bool     `json:"inactive,omitempty"` // it shall not run
	Trust    Trust    `json:"trust,omitzero"`
	States   []Saved  `json:"states,omitempty"` // that are saved, oldest first
}
