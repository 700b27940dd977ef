package updater

import (
	"context"
	"errors"

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
	switch s.Code() {
	case codes.Unavailable:
		return &remoteError{"the updater process does not answer (" + s.Message() + ")", ErrRetry}
	case codes.Aborted:
		return &remoteError{s.Message(), ErrRetry}
	case codes.FailedPrecondition:
		return &remoteError{s.Message(), ErrReboot}
	case codes.DeadlineExceeded:
		return &remoteError{s.Message(), context.DeadlineExceeded}
	case codes.Canceled:
		return &remoteError{s.Message(), context.Canceled}
	case codes.Unimplemented:
		return &remoteError{s.Message(), errors.ErrUnsupported}
	}
	return errors.New(s.Message())
}

// remoteError is an updater's error with its own words and the sentinel it wrapped.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }
