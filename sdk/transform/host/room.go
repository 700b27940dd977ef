package host

import (
	"context"
	"fmt"
	"sync"

	"github.com/tranquil-iot/tranquil/sdk/space"
	"golang.org/x/sys/unix"
)

// A ledger has all that is under way leave the reserve of the disk alone
// together, and not only each for itself: what one has been promised is not
// there for another, though it is not written yet. Nobody waits for a promise
// while he holds one.
type ledger struct {
	mu       sync.Mutex
	promised space.Room
	holders  int
	freed    chan struct{} // closed when a holder has done
}

// promise waits until there is all the room that is wanted, or nobody left to
// wait for; then it may be less. The room is held until release.
func (l *ledger) promise(ctx context.Context, dir string, reserve int64, want space.Room) (got space.Room, release func(), err error) {
	for {
		got, release, freed, err := l.try(dir, reserve, want, false)
		if freed == nil || err != nil {
			return got, release, err
		}
		select {
		case <-freed:
		case <-ctx.Done():
			return space.Room{}, nil, context.Cause(ctx)
		}
	}
}

// try is promise without the wait: it promises nothing, and returns what tells
// that a holder has done, or if it has to be now what there is.
func (l *ledger) try(dir string, reserve int64, want space.Room, now bool) (got space.Room, release func(), freed <-chan struct{}, err error) {
	if reserve == 0 {
		return want, func() {}, nil, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	left, err := space.Left(dir, reserve)
	if err != nil {
		return space.Room{}, nil, nil, err
	}
	got = left.Less(l.promised).Of(want)
	if got != want && !now && l.holders > 0 {
		return space.Room{}, nil, l.freed, nil
	}
	if l.holders++; l.holders == 1 {
		l.freed = make(chan struct{})
	}
	l.promised.Bytes += got.Bytes
	l.promised.Files += got.Files
	return got, sync.OnceFunc(func() { l.end(got) }), nil, nil
}

func (l *ledger) end(got space.Room) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.promised = l.promised.Less(got)
	l.holders--
	close(l.freed)
	l.freed = make(chan struct{})
}

// entryCost is what a file or directory takes on a disk beside its content: a
// block, and an inode.
const entryCost = 4 << 10 // bytes

// take holds room on the disk of the results for so many bytes in so many files
// and directories, and fails if there is none. Who has written them releases it.
func (r *run) take(ctx context.Context, bytes, files int64) (release func(), err error) {
	want := space.Room{Bytes: bytes + files*entryCost, Files: files}
	got, release, err := r.host.ledger.promise(ctx, r.work, r.host.Reserve, want)
	if err != nil {
		return nil, err
	}
	if got != want {
		release()
		return nil, r.full()
	}
	return release, nil
}

func (r *run) full() *Error {
	return &Error{Class: ResourceLimit, Reason: fmt.Sprintf("cannot write the result: %v but %d bytes and as large a share of the inodes, which are to stay free: free some of the disk", unix.ENOSPC, r.host.Reserve)}
}
