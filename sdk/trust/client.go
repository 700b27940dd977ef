package trust

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// A Fetch returns a file of the repository by its name, as in "1.root.json". A
// file that is not there is ErrNotFound, and ErrUnreachable that nobody could
// be asked. More than limit bytes need not be read.
type Fetch func(ctx context.Context, name string, limit int64) ([]byte, error)

// Folder fetches from a directory, such as one on a USB stick.
func Folder(dir string) Fetch {
	return func(_ context.Context, name string, limit int64) ([]byte, error) {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("%s: %w", name, ErrNotFound)
		}
		if err != nil {
			return nil, err
		}
		defer f.Close()
		b, err := io.ReadAll(io.LimitReader(f, limit+1)) // however large it says that it is
		if err == nil && int64(len(b)) > limit {
			err = fmt.Errorf("%s has more than %d bytes: %w", f.Name(), limit, ErrEndless)
		}
		return b, err
	}
}

// Config of a Client.
type Config struct {
	Dir   string // what has to survive is there; it is made
	Root  []byte // root metadata that whoever set up the device believes in; later ones follow from it
	Fetch Fetch
	Clock Clock
	Log   *slog.Logger // nil: none
}

// A Client verifies packages on a device. Whatever was fetched or is on the disk
// may be damaged or forged: then the error says what is wrong, and the next call
// begins anew. Its methods may be called at the same time.
type Client struct {
	cfg   Config
	walks sync.Mutex // one at once, however long the network takes
	disk  sync.Mutex // of who changes the floors
}

// Open checks the root metadata and makes the directory; it fetches nothing.
func Open(cfg Config) (*Client, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot keep what is trusted: %w", err)
	}
	if _, err := begin(cfg.Root); err != nil {
		return nil, fmt.Errorf("cannot use root metadata: %w", err)
	}
	return &Client{cfg: cfg}, nil
}

// A Verdict says by what a package is trusted.
type Verdict struct {
	Author    string // role that has signed for it
	Timestamp int64  // version of the timestamp, which says how new all this is
	Doubt     string // why it may be outdated all the same; "" it is not
	Offline   bool   // nobody could be asked; also if there is an error
}

// Verify returns why p is not to be installed, or by what it is trusted. The
// time that it goes by is that of its beginning.
func (c *Client) Verify(ctx context.Context, p Package) (Verdict, error) {
	return c.verify(ctx, p, func(*run) {})
}

// VerifyWithin is for who has what vouches for p already, and cannot wait: news are
// asked for no longer than that, and not at all if it is 0.
func (c *Client) VerifyWithin(ctx context.Context, p Package, within time.Duration) (Verdict, error) {
	limited, done := context.WithTimeout(ctx, within)
	defer done()
	return c.verify(ctx, p, func(r *run) {
		r.from = func(_ context.Context, name string, limit int64) ([]byte, error) {
			b, err := []byte(nil), limited.Err()
			if err == nil {
				b, err = c.cfg.Fetch(limited, name, limit)
			}
			if err != nil && limited.Err() != nil && ctx.Err() == nil {
				err = fmt.Errorf("no news within %s: %w", within, ErrUnreachable)
			}
			return b, err
		}
	})
}

func (c *Client) verify(ctx context.Context, p Package, prepare func(*run)) (Verdict, error) {
	r, err := c.refresh(ctx, p.Component, prepare)
	if err == nil {
		err = r.lists(p)
	}
	return r.verdict(), err
}

// Look brings what it takes to judge packages of a component, and tells how that
// stands, before an update has to know. The error is also [ErrUnreachable].
func (c *Client) Look(ctx context.Context, component string) (Verdict, error) {
	r, err := c.refresh(ctx, component, func(*run) {})
	return r.verdict(), cmp.Or(err, r.offline)
}

func (r *run) verdict() Verdict {
	v := Verdict{Author: r.author, Doubt: r.at.doubt, Offline: r.offline != nil}
	if r.tuf != nil && r.tuf.Timestamp != nil {
		v.Timestamp = r.tuf.Timestamp.Signed.Version
	}
	if v.Offline {
		v.Doubt = cmp.Or(v.Doubt, "nobody could be asked for news")
	}
	return v
}

// Learn goes through the workflow for a component with metadata that comes another
// way, as on a USB stick. What is verified is remembered like what the repository
// says; what is not changes nothing. Whether a package may be installed [Client.Verify]
// tells after that, and asks the repository if it can be reached: it may know of
// something newer.
func (c *Client) Learn(ctx context.Context, from Fetch, component string) error {
	_, err := c.refresh(ctx, component, func(r *run) { r.from = from })
	return err
}

// refresh brings all that is needed to judge packages of a component. If it has
// expired by a clock that nobody has set it is held against the time that is
// known to be past: a device must not depend on its clock.
func (c *Client) refresh(ctx context.Context, component string, prepare func(*run)) (*run, error) {
	c.walks.Lock()
	defer c.walks.Unlock()
	r := c.newRun(component)
	prepare(r)
	err := r.walk(ctx)
	if !errors.Is(err, ErrExpired) || c.cfg.Clock.synchronised() {
		return r, err
	}
	offline := r.offline
	r = c.newRun(component)
	prepare(r)
	r.offline = offline // nobody is waited for twice
	r.clock = func(floor time.Time) moment {
		return moment{floor, "it has expired by the clock, which nobody has set"}
	}
	return r, r.walk(ctx)
}

func (c *Client) newRun(component string) *run {
	return &run{
		Client: c, from: c.cfg.Fetch, clock: c.cfg.Clock.now, component: component, kept: cache{}, chain: cache{},
		known: readCache(c.cfg.Dir, c.cfg.Log), floors: readFloors(c.cfg.Dir, c.cfg.Log),
	}
}

// walk goes through the workflow. Whatever comes of it, what was verified on the
// way is remembered, so that nothing older is believed later.
func (r *run) walk(ctx context.Context) error {
	var failure error
	for _, s := range workflow {
		if err := s.do(r, ctx); err != nil {
			failure = fmt.Errorf("cannot trust the %s metadata: %w", s.name, err)
			break
		}
	}
	r.unkept = r.keep(failure == nil)
	return errors.Join(failure, r.unkept)
}

// Remembered returns why p is not listed by what was verified last, however old
// that is: it is for a way back while nobody can be asked. The signatures count
// and the versions below which nothing is trusted, no clock; nothing is fetched.
func (c *Client) Remembered(p Package) error {
	r := c.newRun(p.Component)
	r.offline = ErrUnreachable
	if err := r.remember(); err != nil {
		return fmt.Errorf("cannot trust what is remembered: %w", err)
	}
	return r.lists(p)
}

// CheckEpoch refuses a security epoch below the highest that was installed,
// also if the component was removed since.
func (c *Client) CheckEpoch(component string, epoch int) error {
	if floor := readFloors(c.cfg.Dir, c.cfg.Log).Epochs[component]; epoch < floor {
		return fmt.Errorf("security epoch %d of the package is below %d, which was installed: %w", epoch, floor, ErrRollback)
	}
	return nil
}

// Installed notes the security epoch of what a component is now.
func (c *Client) Installed(component string, epoch int) error {
	c.disk.Lock()
	defer c.disk.Unlock()
	f := readFloors(c.cfg.Dir, c.cfg.Log)
	if epoch <= f.Epochs[component] {
		return nil
	}
	f.Epochs[component] = epoch
	return f.write(c.cfg.Dir, c.cfg.Log)
}

// An Author is who may sign for a component, and what that role lists.
type Author struct {
	Name      string
	Keys      []string // their ids
	Threshold int      // of signatures
	Version   int64    // of its metadata, the highest that was seen; 0: there is none yet. To sign above another, raise it
	Packages  []Package
	Lost      error // why Packages are not known: its keys were replaced since, or the file server has lost the list or shows an old one
}

// Author looks up who may sign for a component. Its list may have expired, since
// whoever asks is about to renew it; nothing else may, and nothing may be older
// than what was seen before: who signs anew what a thief shows makes it good. So
// Dir has to be the same each time.
func (c *Client) Author(ctx context.Context, component string) (Author, error) {
	r, err := c.refresh(ctx, component, func(r *run) { r.renewing = true })
	if r.author == "" || r.unkept != nil {
		return Author{}, err
	}
	d, lacking := delegationOf(r.tuf.Targets[Targets], component)
	if lacking != nil {
		return Author{}, lacking
	}
	a := Author{Name: d.Name, Keys: d.KeyIDs, Threshold: d.Threshold, Version: r.floors.Targets[d.Name].under(d.KeyIDs)}
	if meta := r.tuf.Snapshot.Signed.Meta[d.Name+".json"]; meta != nil {
		a.Version, a.Lost = max(a.Version, meta.Version), err
	}
	if t := r.tuf.Targets[d.Name]; t != nil && err == nil {
		a.Packages = slices.DeleteFunc(packagesOf(t), func(p Package) bool { return !slices.Contains(d.Paths, p.Component+"/*") })
	}
	if errors.Is(a.Lost, ErrUnreachable) {
		return a, a.Lost
	}
	return a, nil
}
