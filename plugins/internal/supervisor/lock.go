package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// errLocked means that a supervisor runs, or that somebody is just looking.
var errLocked = errors.New("another supervisor still runs")

// tryLock takes the lock of dir if nobody has it. It lasts until the file is
// closed here and in every process that inherited it.
func tryLock(dir string) (*os.File, error) {
	file, err := os.OpenFile(lockPath(dir), os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		file.Close()
		return nil, errLocked
	}
	return file, nil
}

// acquire waits for the lock: no supervisor runs when it is asked for, but
// somebody may be looking.
func acquire(ctx context.Context, dir string) (*os.File, error) {
	made, err := os.OpenFile(lockPath(dir), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	made.Close()
	for {
		file, err := tryLock(dir)
		if err == nil {
			return file, nil
		}
		if err := pause(ctx, err); err != nil {
			return nil, err
		}
	}
}

// pause waits a moment before the next look; why tells what for.
func pause(ctx context.Context, why error) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", why, ctx.Err())
	case <-time.After(2 * time.Millisecond):
		return nil
	}
}

// checkLock fails if this process did not inherit the lock of dir: then Start
// did not start it.
func checkLock(dir string) error {
	var inherited, real syscall.Stat_t
	err := errors.Join(syscall.Fstat(lockFD, &inherited), syscall.Stat(lockPath(dir), &real))
	if err == nil && (inherited.Dev != real.Dev || inherited.Ino != real.Ino) {
		err = errors.New("it is not the lock that was inherited")
	}
	if err == nil {
		err = syscall.Flock(lockFD, syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		return fmt.Errorf("not started as a supervisor: %w", err)
	}
	return nil
}
