package trust

import (
	"errors"
	"fmt"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Why something is not trusted. None of them says that the device is broken:
// the next call begins anew.
var (
	ErrNotFound  = errors.New("not there")
	ErrMalformed = errors.New("malformed metadata")
	ErrUnsigned  = errors.New("not signed by enough of the keys that may")
	ErrRollback  = errors.New("older than what was seen before")
	ErrExpired   = errors.New("expired")
	ErrMixed     = errors.New("not what the signed metadata says that it is")
	ErrEndless   = errors.New("more than there may be")
	ErrUnlisted  = errors.New("no author has signed for this package")

	// ErrUnreachable says that nothing could be fetched: what is known goes on
	// to be trusted until it expires.
	ErrUnreachable = errors.New("trust metadata cannot be fetched")
)

// classify puts go-tuf's errors into our words. The most specific come first:
// some of them are others as well.
func classify(err error) error {
	for _, c := range []struct {
		tuf  error
		ours error
	}{
		{&metadata.ErrExpiredMetadata{}, ErrExpired},
		{&metadata.ErrEqualVersionNumber{}, errEqual},
		{&metadata.ErrBadVersionNumber{}, ErrRollback},
		{&metadata.ErrUnsignedMetadata{}, ErrUnsigned},
		{&metadata.ErrLengthOrHashMismatch{}, ErrMixed},
		{&metadata.ErrRepository{}, ErrMixed},
	} {
		if errors.Is(err, c.tuf) && c.ours == ErrUnsigned {
			return ErrUnsigned // go-tuf only counts
		}
		if errors.Is(err, c.tuf) {
			return fmt.Errorf("%w: %w", c.ours, err)
		}
	}
	return fmt.Errorf("%w: %w", ErrMalformed, err)
}

// errEqual says that what came is what is there already.
var errEqual = errors.New("nothing new")

// guard runs f, which gives bytes of strangers to go-tuf. That panics at null
// where it expects an object, and at ed25519 keys of another length.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrMalformed, p)
		}
	}()
	if err := f(); err != nil {
		return classify(err)
	}
	return nil
}
