package fleet

import (
	"errors"
	"io/fs"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/iothub"
)

// Refusal is what outsiders may know of an error: the HTTP status, and a text that says what is wrong. Status 500 says
// that it is not theirs.
func Refusal(err error) (status int, text string) {
	if e, ok := errors.AsType[*twin.Error](err); ok {
		return e.Code / 1000, e.Message
	}
	if e, ok := errors.AsType[*iothub.Error](err); ok {
		return e.Status, e.Message
	}
	if e, ok := errors.AsType[interface {
		error
		Status() int
	}](err); ok {
		return e.Status(), e.Error()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 404, "there is no such thing: " + err.Error()
	case errors.Is(err, fs.ErrExist):
		return 409, "it exists already: " + err.Error()
	}
	return 500, "the backend has an error of its own: see its log"
}
