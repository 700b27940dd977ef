package engine

import (
	"context"
	"time"
)

// A Turn gives a download a context that ends when something else on the device
// waits for it to end.
type Turn func(ctx context.Context, component string) (context.Context, context.CancelFunc)

// standBack is how long a download then leaves the device to others, at least.
const standBack = 5 * time.Second

// inTurns has an update download what it needs: that may take hours, in which
// others have their turns.
func (e *Engine) inTurns(ctx context.Context, u *Update, download func(context.Context) error) error {
	if e.Turn == nil || u.ID == "" {
		return download(ctx)
	}
	turn, end := e.Turn(ctx, u.Component)
	defer end()
	err := download(turn)
	if err != nil && turn.Err() != nil && ctx.Err() == nil {
		return Wait{For: "other work on this device", Until: time.Now().UTC().Add(standBack), Poll: true}
	}
	return err
}
