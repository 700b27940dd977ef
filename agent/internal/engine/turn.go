package engine

import (
	"context"
	"time"
)

// A Turn gives what takes long a context that ends when something else on the
// device waits for it to end.
type Turn func(ctx context.Context, component string) (context.Context, context.CancelFunc)

// standBack is how long the device is then left to others, at least.
const standBack = 5 * time.Second

// turn returns a context that ends with the turn of an update.
func (e *Engine) turn(ctx context.Context, u *Update) (context.Context, context.CancelFunc) {
	if e.Turn == nil || u.ID == "" {
		return ctx, func() {}
	}
	return e.Turn(ctx, u.Component)
}

// over reports whether a turn has ended, and not all of the work.
func over(ctx, turn context.Context) bool { return turn.Err() != nil && ctx.Err() == nil }

func othersTurn() Wait {
	return Wait{For: "other work on this device", Until: time.Now().UTC().Add(standBack), Poll: true}
}

// inTurns has an update download what it needs: that may take hours, in which
// others have their turns.
func (e *Engine) inTurns(ctx context.Context, u *Update, download func(context.Context) error) error {
	turn, end := e.turn(ctx, u)
	defer end()
	err := download(turn)
	if err != nil && over(ctx, turn) {
		return othersTurn()
	}
	return err
}
