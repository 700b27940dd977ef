package bridge

import (
	"context"
	"fmt"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/window"
)

// permit waits until what is installed may make way, which some devices do long
// before the new version runs.
func (r *run) permit(ctx context.Context) error {
	if r.t.view.stage != installed {
		return nil
	}
	return r.admit(ctx)
}

// admit waits until the component may be disturbed: for consent, and for its
// maintenance window, as an agent would.
func (r *run) admit(context.Context) error {
	terms, now := r.wants[r.j.Component].terms, time.Now()
	if terms.consent != "" && terms.consented != r.j.ID {
		return waiting{what: "consent to update " + r.j.ID}
	}
	if terms.window == "" || terms.now != "" && terms.now == r.j.To {
		return nil
	}
	w, err := window.Parse(terms.window)
	if err != nil {
		return waiting{what: "a maintenance window that can be read: " + err.Error()}
	}
	away := time.Duration(r.j.Away) * time.Second
	fits, ever := w.Fits(now, away)
	switch _, some := w.Next(now); {
	case !some:
		return waiting{what: "the maintenance window " + terms.window}
	case !ever:
		return failure{cause: fmt.Sprintf("the maintenance window %s is never open for as long as the expected downtime of %v: have a longer one, or ask for the version with now", terms.window, away)}
	case !fits.Equal(now):
		return waiting{what: "the maintenance window " + terms.window, until: fits.UTC()}
	}
	return nil
}
