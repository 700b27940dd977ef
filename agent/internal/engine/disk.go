package engine

import "fmt"

// A shortage is what the disk of a component lacked while the component did
// not start or was not well: its own log may have had no room to tell, and by
// the time that the update turns back there may be room again.
type shortage struct {
	look func(component string) error // nil: nobody can tell
	of   string                       // the component
	seen error
}

func (e *Engine) shortage(u *Update) *shortage { return &shortage{look: e.Short, of: u.Component} }

// note looks at the disk; what it lacked stays noted.
func (s *shortage) note() {
	if s.look == nil {
		return
	}
	if err := s.look(s.of); err != nil {
		s.seen = err
	}
}

// explain adds to why a component failed what its disk lacks, or lacked.
func (s *shortage) explain(err error) error {
	if err == nil {
		return nil
	}
	if s.note(); s.seen == nil {
		return err
	}
	return fmt.Errorf("%w; %w", err, s.seen)
}
