package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/delta"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// Deltas are what blobs are made of others with.
type Deltas interface {
	// Bases are blobs of a component that may be here, the most useful ones first.
	Bases(component string) []pack.Descriptor
	Open(digest string) (*os.File, error)
	// Scratch makes a file that is gone when it is closed; it has room for so many
	// bytes.
	Scratch(size int64) (*os.File, error)
	// Hold has these blobs stay, in place of what the same holder has held before.
	Hold(holder string, digests ...string)
	// Drop removes a blob that nobody holds.
	Drop(digest string) error
}

const (
	leastDelta = 16 << 10 // bytes of a blob for which a delta is asked
	maxBases   = 4        // that are asked with
	hintWithin = time.Minute
)

// A hint is a delta that the server has. Nobody has signed it, and nothing is
// believed but what comes out.
type hint struct {
	Base    string `json:"base"`
	Digest  string `json:"digest"`
	Size    int64  `json:"size"`
	Memory  int64  `json:"memory"`
	Scratch int64  `json:"scratch"`
	Format  int    `json:"format"`
}

// errNoRoom says that the disk is too full to apply a delta.
var errNoRoom = errors.New("no room to apply it")

// errNoDelta says that a blob has to be fetched whole.
var errNoDelta = errors.New("no delta can be used")

// byDelta makes a blob of one that is here and of a delta. The error is errNoDelta,
// or one that fetching it whole would not be spared.
func (f *Fetcher) byDelta(ctx context.Context, component string, target pack.Descriptor, progress func(done, total int64)) error {
	if f.cfg.Deltas == nil || target.Size < leastDelta {
		return errNoDelta
	}
	bases, err := f.sound(ctx, component, target)
	if err != nil {
		return err
	}
	h, err := f.hint(ctx, component, target, bases)
	if err != nil {
		return err
	}
	holder := "delta of " + component
	f.cfg.Deltas.Hold(holder, h.Digest, h.Base)
	err = f.fetchDelta(ctx, component, h, target, progress)
	if err == nil {
		err = f.apply(ctx, h, target)
	}
	if ctx.Err() != nil || errors.Is(err, ErrUnreachable) || errors.Is(err, ErrBudget) {
		return err // what has come of it stays for the next time
	}
	f.cfg.Deltas.Hold(holder)
	f.remove(h.Digest)
	if err != nil {
		if !errors.Is(err, errNoRoom) && !errors.Is(err, syscall.ENOSPC) {
			f.useless.Store(h.Digest, true)
			f.remove(target.Digest) // what it has made of it
		}
		f.cfg.Log.Warn("delta is of no use", "component", component, "blob", target.Digest, "delta", h.Digest, "err", err)
		f.cfg.Notice(ctx, fmt.Sprintf("a delta of %d bytes was of no use, so %d bytes had to come whole: %v", h.Size, target.Size, err))
		return errNoDelta
	}
	f.cfg.Log.Info("blob is made by a delta", "component", component, "blob", target.Digest, "bytes", h.Size, "of", target.Size)
	return nil
}

// remove drops what is here of a blob.
func (f *Fetcher) remove(digest string) {
	if err := f.cfg.Deltas.Drop(digest); err != nil {
		f.cfg.Log.Warn("cannot remove blob", "blob", digest, "err", err)
	}
}

// sound lists the bases that are here, and are what they were: a delta is asked for
// with no others.
func (f *Fetcher) sound(ctx context.Context, component string, target pack.Descriptor) (digests []string, _ error) {
	for _, b := range f.cfg.Deltas.Bases(component) {
		if len(digests) == maxBases || b.Digest == target.Digest || b.Size < leastDelta {
			continue
		}
		file, err := f.cfg.Deltas.Open(b.Digest)
		if err != nil {
			continue
		}
		_, err = io.Copy(untilDone{ctx, io.Discard}, pack.NewVerifyReader(file, b))
		file.Close()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err == nil {
			digests = append(digests, b.Digest)
		}
	}
	if len(digests) == 0 {
		return nil, errNoDelta
	}
	return digests, nil
}

// untilDone writes as long as it may.
type untilDone struct {
	ctx context.Context
	io.Writer
}

func (u untilDone) Write(b []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.Writer.Write(b)
}

// hint asks the server for a delta. Whatever goes wrong with that, the blob itself may
// still come; but no byte beyond a budget.
func (f *Fetcher) hint(ctx context.Context, component string, target pack.Descriptor, bases []string) (h hint, _ error) {
	limited, done := context.WithTimeout(ctx, hintWithin)
	defer done()
	b, err := f.object(limited, resource{path: "/deltas/" + component + "/" + target.Digest, query: url.Values{"base": bases, "format": {strconv.Itoa(delta.Format)}}})
	if err == nil {
		err = json.Unmarshal(b, &h)
	}
	if err == nil {
		err = h.check(target, bases)
	}
	if err == nil {
		err = f.free(h.Digest)
	}
	_, useless := f.useless.Load(h.Digest)
	switch {
	case ctx.Err() != nil:
		return h, context.Cause(ctx)
	case errors.Is(err, ErrBudget):
		return h, err
	case err != nil || useless:
		f.cfg.Log.Debug("no delta", "component", component, "blob", target.Digest, "err", err)
		return h, errNoDelta
	}
	return h, nil
}

// free refuses what is here already and is no delta: a delta is removed in the end, and
// the server may name whatever it likes.
func (f *Fetcher) free(digest string) error {
	if !f.cfg.Store.Has(digest) {
		return nil
	}
	file, err := f.cfg.Deltas.Open(digest)
	if err != nil {
		return err
	}
	defer file.Close()
	if !delta.Is(file) {
		return fmt.Errorf("%s is here, and no delta", digest)
	}
	return nil
}

// check refuses a delta that would not help, or takes too much.
func (h hint) check(target pack.Descriptor, bases []string) error {
	switch {
	case !slices.Contains(bases, h.Base):
		return errors.New("the delta is from something that is not here")
	case slices.Contains(bases, h.Digest) || h.Digest == target.Digest:
		return errors.New("the delta would be what it is from, or makes")
	case h.Format != delta.Format:
		return fmt.Errorf("the delta has format %d, known here is %d", h.Format, delta.Format)
	case h.Size <= 0 || h.Size >= target.Size:
		return fmt.Errorf("the delta has %d bytes, the blob %d", h.Size, target.Size)
	case h.Memory > delta.Memory || h.Scratch < 0 || h.Scratch > delta.MaxSize:
		return fmt.Errorf("the delta takes %d bytes of memory and %d of the disk", h.Memory, h.Scratch)
	}
	return pack.CheckDigest(h.Digest)
}

// fetchDelta brings the delta into the store. Of the blob there is then as much as of
// that.
func (f *Fetcher) fetchDelta(ctx context.Context, component string, h hint, target pack.Descriptor, progress func(done, total int64)) error {
	r, err := f.resource(component, "blobs", h.Digest)
	if err != nil {
		return err
	}
	scaled := func(done, _ int64) {
		if progress != nil {
			progress(int64(float64(done)/float64(h.Size)*float64(target.Size)), target.Size)
		}
	}
	return f.cfg.Store.Receive(h.Digest, h.Size, func(have int64, w io.Writer) error {
		return f.persistBy(ctx, r, &sink{w: w, have: have, size: h.Size, progress: scaled}, f.newTries())
	})
}

// apply makes the blob. Who was interrupted at that makes it again as far as it is
// here.
func (f *Fetcher) apply(ctx context.Context, h hint, target pack.Descriptor) error {
	d, err := f.cfg.Deltas.Open(h.Digest)
	if err != nil {
		return err
	}
	defer d.Close()
	base, err := f.cfg.Deltas.Open(h.Base)
	if err != nil {
		return err
	}
	defer base.Close()
	scratch := func(size int64) (*os.File, error) {
		if size > h.Scratch {
			return nil, fmt.Errorf("%w: it takes %d bytes of the disk, and declares %d", delta.ErrFormat, size, h.Scratch)
		}
		file, err := f.cfg.Deltas.Scratch(size)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errNoRoom, err)
		}
		return file, nil
	}
	return f.cfg.Store.Receive(target.Digest, target.Size, func(have int64, w io.Writer) error {
		return delta.Apply(untilDone{ctx, &rest{w: w, skip: have}}, d, base, scratch)
	})
}

// A rest passes on what comes after so many bytes.
type rest struct {
	w    io.Writer
	skip int64
}

func (r *rest) Write(b []byte) (int, error) {
	skipped := int(min(r.skip, int64(len(b))))
	r.skip -= int64(skipped)
	n, err := r.w.Write(b[skipped:])
	return skipped + n, err
}
