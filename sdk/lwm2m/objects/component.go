package objects

import "github.com/tranquil-iot/tranquil/sdk/lwm2m"

// Resources of Component Update (26250).
const (
	ComponentName              = 0
	ComponentVersion           = 1
	ComponentSchema            = 2
	ComponentRunning           = 3
	ComponentStale             = 4
	ComponentWanted            = 5 // version, or "" for none
	ComponentAttempt           = 6
	ComponentPackage           = 7 // file name or digest, "" resolves by version
	ComponentSchedule          = 8 // cron, "" for none
	ComponentCheckNow          = 9
	ComponentCancel            = 10
	ComponentUpdateIdentifier  = 11 // id of the update
	ComponentTo                = 12
	ComponentPhase             = 13
	ComponentStep              = 14
	ComponentProgress          = 15 // 0 to 1
	ComponentUnavailableUntil  = 16
	ComponentResult            = 17
	ComponentCause             = 18
	ComponentDowntime          = 19 // seconds
	ComponentPredictedDowntime = 20 // seconds
	ComponentMode              = 27 // "normal", or "safe": no update starts
	ComponentRest              = 28 // how it was stopped: "tranquil", or "unknown: " or "forced: " and why
	ComponentFault             = 29 // why the mode is safe
	ComponentRepair            = 30 // ends safe mode; argument 0 is the number of the wish, as in 0='3'; of the component alone with argument 1, "keep" or a saved state
	ComponentRepaired          = 31 // number of the last repair that has ended
	ComponentWaitingFor        = 36 // in words; "" for nothing
	ComponentWaitingUntil      = 37 // when that will be, if known
	ComponentWindow            = 38 // maintenance window, "" for any time
	ComponentNow               = 39 // the version that need not wait for the window
	ComponentConsented         = 40 // id of the update that may begin
	ComponentRefused           = 41 // id of the update that must not
	ComponentConsent           = 42 // "ask": updates need consent; "" they need none
	ComponentPrevious          = 32 // version before the installed one, "" for none
	ComponentSaved             = 33 // when the last state of that version was saved; 0 for none
	ComponentWantedState       = 46 // of the wanted version: "" or "transform", "saved", or "optional"
	ComponentPreviousSchema    = 47
	ComponentWay               = 48 // back to it: "transforms", "saved state", "no state" or "none"
	ComponentWayNote           = 49 // what is lost on it, and where its package comes from, in words
	ComponentOutcome           = 34 // oldest outcome that was not acknowledged, JSON (Outcome); "" none
	ComponentDependants        = 50 // what they may want when it is updated, JSON (EncodeDependants)
	ComponentStopped           = 51 // dependants that do not run while it is updated, "a, b"
	ComponentAsks              = 52 // the device itself wants consent to updates, whatever resource 42 says
	ComponentRemove            = 53 // "keep" removes the component and keeps its last state, "purge" keeps none; "" neither
	ComponentMended            = 54 // number of the last repair of this component that has ended
	ComponentStates            = 55 // that are saved, JSON (EncodeStates)
	ComponentBack              = 56 // the update turns back: the step is being undone
	ComponentFetched           = 57 // bytes of resource 58, while they are downloaded
	ComponentSize              = 58 // of the download, bytes
	ComponentSlow              = 59 // bytes a second of a download that is slow; 0: it is not
	ComponentTimestamp         = 60 // version of the newest timestamp of trust metadata that the device has verified; 0: none
	ComponentTrouble           = 61 // with trust metadata, in words; "" for none
	ComponentAcknowledge       = 35 // id of the update whose outcome has arrived
)

// ComponentUpdate is Tranquil's own object, in the private range: one instance
// per component of the device, named type/name.
var ComponentUpdate = lwm2m.Definition{
	ID: ComponentUpdateID, Name: "Component Update", Multiple: true,
	Resources: []lwm2m.Resource{
		{ID: ComponentName, Name: "Component", Operations: lwm2m.R, Kind: lwm2m.KindString, Mandatory: true},
		{ID: ComponentVersion, Name: "Version", Operations: lwm2m.R, Kind: lwm2m.KindString, Mandatory: true},
		{ID: ComponentSchema, Name: "Schema", Operations: lwm2m.R, Kind: lwm2m.KindInteger},
		{ID: ComponentRunning, Name: "Running", Operations: lwm2m.R, Kind: lwm2m.KindBoolean},
		{ID: ComponentStale, Name: "Stale", Operations: lwm2m.R, Kind: lwm2m.KindBoolean},
		{ID: ComponentWanted, Name: "Wanted", Operations: lwm2m.RW, Kind: lwm2m.KindString},
		{ID: ComponentAttempt, Name: "Attempt", Operations: lwm2m.RW, Kind: lwm2m.KindInteger},
		{ID: ComponentPackage, Name: "Package", Operations: lwm2m.RW, Kind: lwm2m.KindString},
		{ID: ComponentSchedule, Name: "Schedule", Operations: lwm2m.RW, Kind: lwm2m.KindString},
		{ID: ComponentCheckNow, Name: "Check Now", Operations: lwm2m.E},
		{ID: ComponentCancel, Name: "Cancel", Operations: lwm2m.E},
		{ID: ComponentUpdateIdentifier, Name: "Update", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentTo, Name: "To", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentPhase, Name: "Phase", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentStep, Name: "Step", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentProgress, Name: "Progress", Operations: lwm2m.R, Kind: lwm2m.KindFloat},
		{ID: ComponentUnavailableUntil, Name: "Unavailable Until", Operations: lwm2m.R, Kind: lwm2m.KindTime},
		{ID: ComponentResult, Name: "Result", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentCause, Name: "Cause", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentDowntime, Name: "Downtime", Operations: lwm2m.R, Kind: lwm2m.KindFloat, Units: "s"},
		{ID: ComponentPredictedDowntime, Name: "Predicted Downtime", Operations: lwm2m.R, Kind: lwm2m.KindFloat, Units: "s"},
		{ID: ComponentMode, Name: "Mode", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentRest, Name: "Rest", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentFault, Name: "Fault", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentRepair, Name: "Repair", Operations: lwm2m.E},
		{ID: ComponentRepaired, Name: "Repaired", Operations: lwm2m.R, Kind: lwm2m.KindInteger},
		{ID: ComponentWaitingFor, Name: "Waiting For", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentWaitingUntil, Name: "Waiting Until", Operations: lwm2m.R, Kind: lwm2m.KindTime},
		{ID: ComponentWindow, Name: "Maintenance Window", Operations: lwm2m.RW, Kind: lwm2m.KindString},
		{ID: ComponentNow, Name: "Now", Operations: lwm2m.RW, Kind: lwm2m.KindString},
		{ID: ComponentConsented, Name: "Consented", Operations: lwm2m.RW, Kind: lwm2m.KindString},
		{ID: ComponentRefused, Name: "Refused", Operations: lwm2m.RW, Kind: lwm2m.KindString},
		{ID: ComponentConsent, Name: "Consent", Operations: lwm2m.RW, Kind: lwm2m.KindString},
		{ID: ComponentPrevious, Name: "Previous", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentSaved, Name: "Saved", Operations: lwm2m.R, Kind: lwm2m.KindTime},
		{ID: ComponentWantedState, Name: "Wanted State", Operations: lwm2m.RW, Kind: lwm2m.KindString},
		{ID: ComponentPreviousSchema, Name: "Previous Schema", Operations: lwm2m.R, Kind: lwm2m.KindInteger},
		{ID: ComponentWay, Name: "Way Back", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentWayNote, Name: "Way Note", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentRemove, Name: "Remove", Operations: lwm2m.RW, Kind: lwm2m.KindString},
		{ID: ComponentDependants, Name: "Dependants", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentStopped, Name: "Stopped", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentMended, Name: "Mended", Operations: lwm2m.R, Kind: lwm2m.KindInteger},
		{ID: ComponentStates, Name: "States", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentBack, Name: "Turns Back", Operations: lwm2m.R, Kind: lwm2m.KindBoolean},
		{ID: ComponentFetched, Name: "Fetched", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Units: "B"},
		{ID: ComponentSize, Name: "Size", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Units: "B"},
		{ID: ComponentSlow, Name: "Slow", Operations: lwm2m.R, Kind: lwm2m.KindInteger, Units: "B/s"},
		{ID: ComponentTimestamp, Name: "Trust Timestamp", Operations: lwm2m.R, Kind: lwm2m.KindInteger},
		{ID: ComponentTrouble, Name: "Trust Trouble", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentAsks, Name: "Asks", Operations: lwm2m.R, Kind: lwm2m.KindBoolean},
		{ID: ComponentOutcome, Name: "Outcome", Operations: lwm2m.R, Kind: lwm2m.KindString},
		{ID: ComponentAcknowledge, Name: "Acknowledge", Operations: lwm2m.W, Kind: lwm2m.KindString},
	},
}
