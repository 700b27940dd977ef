package updater

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// codeOf says how an author's error travels. The text travels with it.
func codeOf(err error) codes.Code {
	switch {
	case errors.Is(err, ErrRetry):
		return codes.Aborted
	case errors.Is(err, ErrReboot):
		return codes.FailedPrecondition
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	case errors.Is(err, errors.ErrUnsupported):
		return codes.Unimplemented
	}
	return codes.Unknown
}

func toStatus(err error) error {
	if err == nil {
		return nil
	}
	return status.Error(codeOf(err), err.Error())
}

// fromStatus is the inverse of toStatus, and turns the loss of the process
// into an error that says so and may be retried.
func fromStatus(err error) error {
	if err == nil {
		return nil
	}
	s := status.Convert(err)
	text := bounded(s.Message())
	switch s.Code() {
	case codes.Unavailable:
		return &remoteError{"the updater process does not answer (" + text + ")", ErrRetry}
	case codes.Aborted:
		return &remoteError{text, ErrRetry}
	case codes.FailedPrecondition:
		return &remoteError{text, ErrReboot}
	case codes.DeadlineExceeded:
		return &remoteError{text, context.DeadlineExceeded}
	case codes.Canceled:
		return &remoteError{text, context.Canceled}
	case codes.Unimplemented:
		return &remoteError{text, errors.ErrUnsupported}
	}
	return errors.New(text)
}

// What an updater says is journaled and told to people: it must not fill a disk.
const (
	maxText    = 4 << 10 // bytes of an error or a reason
	maxVersion = 4 << 10 // bytes
)

func bounded(text string) string {
	if len(text) <= maxText {
		return text
	}
	return strings.ToValidUTF8(text[:maxText], "") + "…"
}

// remoteError is an updater's error with its own words and the sentinel it wrapped.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }
