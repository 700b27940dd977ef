package engine

// A Record is the journal: all that survives a crash. It names its step, and
// does not number it, so that an agent that has just updated itself still
// understands the journal of its predecessor.
//
//	Back   Step   meaning
//	false  s      s is about to run, is running, or has run
//	true   s      s is about to be undone, is being undone, or has been undone
//
// No record means that no update of the component is in progress.
type Record struct {
	Format int    `json:"format"` // at most RecordFormat
	Update Update `json:"update"`
	Step   string `json:"step"`
	Back   bool   `json:"back,omitempty"`
	Begun  int    `json:"begun"`            // how often the step was begun in this direction
	Failed string `json:"failed,omitempty"` // the step that turned the update back
	Cause  string `json:"cause,omitempty"`  // and why

	Waiting   *Wait  `json:"waiting,omitempty"`   // what the step waits for; nil if it does not
	Cancelled string `json:"cancelled,omitempty"` // why it turns back, or the next Run has to, if somebody wanted that
}

// RecordFormat is raised when an older agent must not go on from some records:
// [Update.format] tells which, and writes the others in the format they had.
// New fields alone do not raise it: an older agent ignores them.
const RecordFormat = 4

// A Journal keeps one Record per component; Unfinished lists them. Save and End are durable when
// they return; End removes the record and keeps the outcome, as one.
type Journal interface {
	Load(component string) (Record, bool, error)
	Save(Record) error
	Unfinished() ([]Record, error)
	End(Record, Outcome) error
}
