package engine

import (
	"context"
	"errors"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/boot"
)

// Wait ends a Run without ending the update: something outside must happen
// first. The journal keeps it, and the next Run repeats the step.
type Wait struct {
	For   string    `json:"for"`            // what has to happen, in words
	Until time.Time `json:"until,omitzero"` // when it will, if that is known
	Boot  string    `json:"boot,omitempty"` // the boot that has to end first: a reboot is needed
	Poll  bool      `json:"poll,omitempty"` // nobody will say that it has happened: look now and then
}

func (w Wait) Error() string { return "waiting for " + w.For }

// needsReboot reports whether w waits for the end of the present boot.
func (w *Wait) needsReboot(boot string) bool { return w != nil && w.Boot != "" && w.Boot == boot }

// wait journals and tells what the step waits for. It is no crash, so the
// step may begin again as often as it takes; only a reboot counts, lest the
// device boots for ever.
func (e *Engine) wait(r *Record, steps []Step, at int, w Wait) error {
	again := r.Waiting != nil
	r.Waiting = &w
	if w.Boot == "" {
		r.Begun--
	}
	if !again {
		if err := e.Journal.Save(*r); err != nil {
			return Wait{For: "a journal that can be written: " + err.Error()}
		}
	}
	log := e.Log.With("update", r.Update.ID, "component", r.Update.Component, "step", r.Step, "for", w.For)
	if !w.Until.IsZero() {
		log = log.With("until", w.Until)
	}
	log.Info("update waits")
	e.tell(r, steps, at, 0)
	if w.needsReboot(e.boot(r.Update.Component)) && e.Reboot != nil {
		e.Reboot(r.Update.Component)
	}
	return w
}

// stopped reports whether err means that the update goes on at the next Run.
func stopped(ctx context.Context, err error) bool {
	var wait Wait
	return err != nil && (ctx.Err() != nil || errors.As(err, &wait))
}

// boot is the identity of the present boot of what a component runs on.
func (e *Engine) boot(component string) string {
	if e.Boot == nil {
		return boot.ID()
	}
	return e.Boot(component)
}
