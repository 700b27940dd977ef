package delivery

import (
	"context"
	"fmt"
	"io"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// Push takes a package that a server sends, of size bytes, or an unknown number
// if that is 0.
func (k *Desk) Push(component string, size int64, inPlace bool) (engine.Push, error) {
	if err := k.Content.Reserve(size, 1); err != nil {
		return nil, k.noRoom(k.refuse(component, inPlace, err))
	}
	d, err := k.begin(component, engine.Delivery{}, inPlace)
	if err != nil {
		return nil, err
	}
	r, w := io.Pipe()
	p := &push{w: w, unpacked: make(chan error, 1)}
	bring := func(ctx context.Context, component string, d engine.Delivery) error {
		defer context.AfterFunc(ctx, func() { r.CloseWithError(context.Canceled) })()
		err := k.unpack(component, d, r)
		if err == nil {
			_, err = io.Copy(io.Discard, r) // the end of the tar, and padding
		}
		r.CloseWithError(k.noRoom(err))
		p.unpacked <- k.noRoom(err)
		return err
	}
	p.underway = k.start(component, d, bring)
	return p, nil
}

// noRoom marks an error if that is what it says.
func (k *Desk) noRoom(err error) error {
	if err != nil && k.Judge(err) == engine.NoStorage {
		return fmt.Errorf("%w: %w", engine.ErrNoRoom, err)
	}
	return err
}

// A push feeds what unpacks the package while it comes.
type push struct {
	*underway
	w        *io.PipeWriter
	unpacked chan error
}

func (p *push) Write(b []byte) (int, error) { return p.w.Write(b) }

// Close returns when all has been unpacked; it is verified after that. What has
// gone wrong has been noted.
func (p *push) Close() error {
	p.w.Close()
	err := <-p.unpacked
	if err != nil {
		<-p.ended
	}
	return err
}

// Abort returns when the delivery has failed, unless something else has ended it.
func (p *push) Abort(cause error) {
	p.w.CloseWithError(fmt.Errorf("%w: %w", ErrLost, cause))
	<-p.ended
}
