package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/link"
	"github.com/tranquil-iot/tranquil/agent/internal/manager"
	"github.com/tranquil-iot/tranquil/agent/internal/sideload"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// newsWithin is how long whoever stands at a device waits for a file server that may
// not be there, if what was brought vouches for the package.
// If nobody could be asked, that holds for a while.
const (
	newsWithin = 5 * time.Second
	silentFor  = 5 * time.Minute
)

// brought is a package that somebody at the device waits for.
type brought struct {
	update string    // its id; "" while the package is looked at
	silent time.Time // when nobody could be asked for news
}

// errUnderWay refuses a second package while one is looked at: without a network that
// may take half a minute, since somebody is asked for news.
var errUnderWay = errors.New("another package is being brought: try again in a minute")

// Sideload begins the update to a package that somebody has brought to the device.
// Who has brought it stands for the back end; the author must have signed for it all
// the same, and whatever an update checks is checked.
func (o operator) Sideload(ctx context.Context, component string, load io.Reader) (id string, err error) {
	if err := o.known(component); err != nil {
		return "", err
	}
	switch before, is := o.sideloads.LoadOrStore(component, brought{}); {
	case is && before.(brought).update == "":
		return "", errUnderWay
	case is:
		return "", manager.ErrBusy // which still needs what was brought before
	}
	p, err := o.bring(ctx, component, load)
	if err == nil {
		id, err = o.manager.Request(engine.Update{Component: component, Wish: engine.Wish{Version: p.Manifest.Version, Package: p.Digest}})
	}
	if err != nil {
		o.desk.Release(component)
		o.sideloads.Delete(component)
		return "", err
	}
	o.log.Info("a package was brought to the device", "component", component, "version", p.Manifest.Version, "digest", p.Digest, "update", id)
	o.noteBrought(component, func(b *brought) { b.update = id })
	if v, err := o.manager.View(component); err == nil { // it may have ended already
		o.unload(v)
	}
	return id, nil
}

// bring takes a package, if what came with it or is known vouches for it.
func (a *agent) bring(ctx context.Context, component string, load io.Reader) (*pack.Package, error) {
	l, err := sideload.Read(load)
	if err != nil {
		return nil, err
	}
	stale, err := a.learn(ctx, component, l)
	if err != nil {
		return nil, err
	}
	return a.desk.Sideload(component, l.Package, func(p *pack.Package) error { return a.signed(ctx, component, p, stale) })
}

// learn has the device remember what the metadata says that came with a package, if
// that is sound. It is stale if the device knows newer: then it goes by that.
func (a *agent) learn(ctx context.Context, component string, l sideload.Load) (stale, err error) {
	client, err := a.trusted()
	if err != nil || client == nil || len(l.Metadata) == 0 {
		return nil, err
	}
	err = client.Learn(ctx, func(_ context.Context, name string, _ int64) ([]byte, error) { return l.Fetch(name) }, component)
	switch {
	case errors.Is(err, trust.ErrRollback):
		return fmt.Errorf("what came with it is older than what this device knows: %w", err), nil
	case err != nil:
		return nil, fmt.Errorf("what came with the package does not vouch for it: %w", err)
	}
	return nil, nil
}

// signed is what an update asks too. It is asked before, so that whoever stands at
// the device hears it at once, and the disk is spared.
func (a *agent) signed(ctx context.Context, component string, p *pack.Package, stale error) error {
	installed, err := a.store.Installed(component)
	if err != nil {
		return err
	}
	_, err = a.vouch(ctx, engine.Update{Component: component, From: installed}, p)
	if err != nil && stale != nil {
		err = fmt.Errorf("%w (%w)", err, stale)
	}
	return err
}

// unload lets go of what was brought when the update to it has ended.
func (a *agent) unload(v engine.View) {
	b, is := a.sideloads.Load(v.Component)
	if is && v.Outcome != nil && v.Outcome.Update == b.(brought).update {
		a.sideloads.Delete(v.Component)
		a.desk.Release(v.Component)
	}
}

// noteBrought changes what is known of a package that was brought, if one was.
func (a *agent) noteBrought(component string, change func(*brought)) {
	for {
		before, is := a.sideloads.Load(component)
		if !is {
			return
		}
		after := before.(brought)
		if change(&after); a.sideloads.CompareAndSwap(component, before, after) {
			return
		}
	}
}

// verify asks for news as well. Where somebody has brought all that it takes, a file
// server that is not there is waited for once, and not for long.
func (a *agent) verify(ctx context.Context, client *trust.Client, p trust.Package) (trust.Verdict, error) {
	b, is := a.sideloads.Load(p.Component)
	if !is || client.Remembered(p) != nil {
		return client.Verify(ctx, p)
	}
	if time.Since(b.(brought).silent) < silentFor {
		return client.VerifyWithin(ctx, p, 0)
	}
	v, err := client.VerifyWithin(ctx, p, newsWithin)
	if v.Offline {
		a.noteBrought(p.Component, func(b *brought) { b.silent = time.Now() })
	}
	return v, err
}

// sideload is the command at the device.
func (o *options) sideload(ctx context.Context, words []string) error {
	if len(words) != 1 {
		return fmt.Errorf("want sideload FILE or sideload DIR: %w", errUsage)
	}
	stick, err := sideload.Find(words[0])
	if err != nil {
		return err
	}
	l, err := pack.Open(stick.Package)
	if err != nil {
		return err
	}
	p := l.Package
	if err := errors.Join(l.Verify(), l.Close()); err != nil {
		return fmt.Errorf("%s is damaged:\n%w", stick.Package, err)
	}
	v, err := o.view(ctx, p.Manifest.Component())
	if err != nil {
		return fmt.Errorf("%s is for %s: %w", stick.Package, p.Manifest.Component(), err)
	}
	fmt.Fprintf(o.out, "%s goes from version %s to %s, by the package %s.\nIt waits for neither window nor consent; what the back end asks for stays as it is.\n",
		v.Component, cmp.Or(v.Installed.Version, "none"), p.Manifest.Version, p.Digest)
	if !o.confirmed() {
		return errors.New("not confirmed, nothing was done")
	}
	fmt.Fprintln(o.out, "It is looked at. Where nobody can be asked for news, that takes some seconds; half a minute, if what is beside it does not vouch for it.")
	r, w := io.Pipe()
	go func() { w.CloseWithError(stick.Write(w)) }()
	id, err := link.Sideload(ctx, o.config.control(), v.Component, r)
	r.Close() // who writes need not go on
	if err != nil {
		return err
	}
	return o.follow(ctx, v.Component, id)
}
