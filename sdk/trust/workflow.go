package trust

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// workflow is what a client does, in order: TUF's client workflow (section 5 of
// the specification), for one component.
var workflow = []struct {
	name string
	do   func(*run, context.Context) error
}{
	{Root, (*run).recall},         // that was trusted last
	{Root, (*run).roots},          // each signed by the one before, to the newest
	{Timestamp, (*run).timestamp}, // which snapshot is current
	{Snapshot, (*run).snapshot},   // which versions of the others are
	{Targets, (*run).targets},     // who the authors are
	{"author's", (*run).authors},  // what the component's author lists
}

// A run is one walk through the workflow.
type run struct {
	*Client
	from      Fetch
	clock     func(floor time.Time) moment // what time it is, given one that is past
	at        moment                       // by which all is judged
	component string
	renewing  bool                             // the author's list may have expired
	known     cache                            // what was trusted last
	kept      cache                            // what is trusted now
	chain     cache                            // roots that follow from that of the configuration
	floors    floors                           // raised by all that was verified
	tuf       *trustedmetadata.TrustedMetadata // go-tuf's judgement
	offline   error                            // why nothing can be fetched
	author    string                           // role of the component's author
	unkept    error                            // why the floors could not be written
}

// fetch gives up at once when nobody could be reached before.
func (r *run) fetch(ctx context.Context, name string, limit int64) ([]byte, error) {
	if r.offline != nil {
		return nil, r.offline
	}
	b, err := r.from(ctx, name, limit)
	if errors.Is(err, ErrUnreachable) {
		r.offline = err
	}
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes: %w", name, limit, ErrEndless)
	}
	return b, err
}

// recalled tries what was trusted last of a role. An error is no failure: it is
// old, or damaged, and what is fetched takes its place.
func (r *run) recalled(role string, load func([]byte) error) bool {
	b := r.known[role]
	if b == nil || guard(func() error { return load(b) }) != nil {
		return false
	}
	r.kept[role] = b
	return true
}

// CheckRoot tells why root metadata cannot be begun with.
func CheckRoot(root []byte) error {
	_, err := begin(root)
	return err
}

// begin trusts a root because it was given.
func begin(root []byte) (t *trustedmetadata.TrustedMetadata, err error) {
	err = guard(func() error {
		t, err = trustedmetadata.New(root)
		return err
	})
	return t, err
}

// recall begins with the root of the configuration, and follows those on the
// device that it leads to.
func (r *run) recall(context.Context) (err error) {
	if r.tuf, err = begin(r.cfg.Root); err != nil {
		return err
	}
	if r.floors.Anchor != "" && r.floors.Anchor != pack.DigestOf(r.cfg.Root) && !r.known.related(r.cfg.Root, r.floors.Anchor) {
		r.cfg.Log.Warn("the root was replaced by hand: what was known before counts no more")
		r.known, r.floors = cache{}, r.floors.epochs()
	}
	r.floors.Anchor = pack.DigestOf(r.cfg.Root)
	r.chain[File(Root, r.tuf.Root.Signed.Version)] = r.cfg.Root
	for r.follow(r.known[r.nextRoot()]) == nil {
		continue
	}
	r.tell()
	return nil
}

// tell sets the time that all is judged by.
func (r *run) tell() {
	r.at = r.clock(r.floors.time())
	r.tuf.RefTime = r.at.Time
}

func (r *run) nextRoot() string { return File(Root, r.tuf.Root.Signed.Version+1) }

// follow takes a root that is signed by the one before.
func (r *run) follow(b []byte) error {
	name := r.nextRoot()
	err := guard(func() error { _, err := r.tuf.UpdateRoot(b); return err })
	if err == nil {
		r.chain[name] = b
	}
	return err
}

func (r *run) roots(ctx context.Context) error {
	for range maxRoots {
		b, err := r.fetch(ctx, r.nextRoot(), MaxSize)
		if errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnreachable) {
			return r.settleRoot()
		}
		if err == nil {
			err = r.follow(b)
		}
		if err != nil {
			return err
		}
	}
	return fmt.Errorf("more than %d new versions: %w", maxRoots, ErrEndless)
}

// settleRoot ends the chain of roots. If it names other online keys than before
// nothing counts any more that the old ones have signed.
func (r *run) settleRoot() error {
	if err := raise(&r.floors.Root, Root, r.tuf.Root.Signed.Version); err != nil {
		if r.offline != nil { // the newer one on the device is damaged
			return r.offline
		}
		return err
	}
	var online []string
	err := guard(func() error { online = onlineKeys(&r.tuf.Root.Signed); return nil })
	if err != nil || slices.Equal(online, r.floors.Online) {
		return err
	}
	if r.floors.Online != nil {
		r.cfg.Log.Info("the keys of snapshot and timestamp were replaced")
		r.floors.reset()
		r.tell()
		delete(r.known, Timestamp)
		delete(r.known, Snapshot)
	}
	r.floors.Online = online
	return nil
}

// onlineKeys are the ids of the keys that sign snapshot and timestamp.
func onlineKeys(root *metadata.RootType) []string {
	ids := slices.Concat(root.Roles[Snapshot].KeyIDs, root.Roles[Timestamp].KeyIDs)
	slices.Sort(ids)
	return slices.Compact(ids)
}

func (r *run) timestamp(ctx context.Context) error {
	load := func(b []byte) error { _, err := r.tuf.UpdateTimestamp(b); return err }
	if r.recalled(Timestamp, load); r.tuf.Timestamp != nil {
		r.kept[Timestamp] = r.known[Timestamp] // also if it has expired: no older one may follow
	}
	b, err := r.fetch(ctx, File(Timestamp, 0), MaxSize)
	if err == nil {
		before := r.tuf.Timestamp
		err = guard(func() error { return load(b) })
		if r.tuf.Timestamp != before {
			r.kept[Timestamp] = b
		}
	}
	offline := errors.Is(err, ErrUnreachable) && r.tuf.Timestamp != nil
	if err != nil && !offline && !errors.Is(err, errEqual) && !errors.Is(err, ErrExpired) || r.tuf.Timestamp == nil {
		return err
	}
	return r.settleTimestamp()
}

// settleTimestamp holds the timestamp against the floors and the time.
func (r *run) settleTimestamp() error {
	signed := r.tuf.Timestamp.Signed
	if err := raise(&r.floors.Timestamp, Timestamp, signed.Version); err != nil {
		return err
	}
	made, err := issued(signed)
	if err != nil {
		return err
	}
	if made.After(r.at.Add(day)) && r.cfg.Clock.synchronised() {
		return fmt.Errorf("%w: made on %s, which is still to come", ErrMalformed, made.Format(time.DateOnly))
	}
	if made.After(r.floors.Time) {
		r.floors.Time = made
	}
	if signed.IsExpired(r.tuf.RefTime) {
		return fmt.Errorf("good until %s: %w", signed.Expires.Format(time.RFC3339), ErrExpired)
	}
	return nil
}

// issuedField is a member of the timestamp beside those of TUF: when it was
// made, by RFC 3339. A device learns from it how late it is at least.
const issuedField = "x-issued"

func issued(t metadata.TimestampType) (time.Time, error) {
	text, ok := t.UnrecognizedFields[issuedField].(string)
	if !ok {
		return time.Time{}, nil
	}
	made, err := time.Parse(time.RFC3339, text)
	if err != nil || made.After(t.Expires) {
		return time.Time{}, fmt.Errorf("%w: made at %.40q", ErrMalformed, text)
	}
	return made, nil
}

func (r *run) snapshot(ctx context.Context) error {
	meta := r.tuf.Timestamp.Signed.Meta[Snapshot+".json"]
	if meta == nil {
		return ErrMalformed
	}
	// Who renews a list is the one who mends a snapshot that has gone back.
	if r.renewing || !r.recalled(Snapshot, func(b []byte) error { _, err := r.tuf.UpdateSnapshot(b, true); return err }) {
		b, err := r.fetch(ctx, File(Snapshot, meta.Version), limit(meta))
		if err != nil {
			return err
		}
		if err := guard(func() error { _, err := r.tuf.UpdateSnapshot(b, false); return err }); err != nil {
			return err
		}
		r.kept[Snapshot] = b
	}
	return raise(&r.floors.Snapshot, Snapshot, r.tuf.Snapshot.Signed.Version)
}

// limit is how many bytes a file may have that others tell of.
func limit(meta *metadata.MetaFiles) int64 {
	if meta.Length > 0 {
		return min(meta.Length, MaxSize)
	}
	return MaxSize
}

func (r *run) targets(ctx context.Context) error {
	if err := r.delegated(ctx, Targets, Root); err != nil {
		return err
	}
	return r.raise(Targets, r.tuf.Root.Signed.Roles[Targets])
}

func (r *run) authors(ctx context.Context) error {
	d, err := delegationOf(r.tuf.Targets[Targets], r.component)
	if err != nil {
		return err
	}
	r.author = d.Name
	if r.renewing {
		r.tuf.RefTime = time.Time{} // at that time nothing has expired
	}
	if err := r.delegated(ctx, d.Name, Targets); err != nil {
		return err
	}
	return r.raise(d.Name, &metadata.Role{KeyIDs: d.KeyIDs, Threshold: d.Threshold})
}

// delegated loads the targets metadata of a role that its parent answers for.
func (r *run) delegated(ctx context.Context, role, parent string) error {
	load := func(b []byte) error { _, err := r.tuf.UpdateDelegatedTargets(b, role, parent); return err }
	meta := r.tuf.Snapshot.Signed.Meta[role+".json"]
	if meta == nil {
		return fmt.Errorf("%s has published nothing: %w", role, ErrUnlisted)
	}
	if r.recalled(role, load) {
		return nil
	}
	b, err := r.fetch(ctx, File(role, meta.Version), limit(meta))
	if err != nil {
		return err
	}
	if err := guard(func() error { return load(b) }); err != nil {
		return fmt.Errorf("%s: %w", role, err)
	}
	r.kept[role] = b
	return nil
}

// raise holds what a role has signed against its floor.
func (r *run) raise(role string, by *metadata.Role) error {
	version := r.floors.Targets[role].under(by.KeyIDs)
	if err := raise(&version, role, r.tuf.Targets[role].Signed.Version); err != nil {
		return err
	}
	r.floors.Targets[role] = floor{version, by.KeyIDs, by.Threshold}
	return nil
}

// delegationOf finds the author of a component: the first delegation for it,
// which ends the search.
func delegationOf(t *metadata.Metadata[metadata.TargetsType], component string) (*metadata.DelegatedRole, error) {
	if err := checkDelegations(&t.Signed); err != nil {
		return nil, err
	}
	if t.Signed.Delegations != nil {
		for _, d := range t.Signed.Delegations.Roles {
			if slices.Contains(d.Paths, component+"/*") {
				return &d, nil
			}
		}
	}
	return nil, fmt.Errorf("%s has no author: %w", component, ErrUnlisted)
}

// remember takes targets and the component's author as they were verified last,
// if the keys that may sign them today have.
func (r *run) remember() error {
	if err := r.recall(context.Background()); err != nil {
		return err
	}
	if err := r.settleRoot(); err != nil {
		return err
	}
	t, err := recollect(r, Targets, r.tuf.Root)
	if err != nil {
		return err
	}
	if err := r.raise(Targets, r.tuf.Root.Signed.Roles[Targets]); err != nil {
		return err
	}
	d, err := delegationOf(t, r.component)
	if err != nil {
		return err
	}
	r.author = d.Name
	if _, err := recollect(r, d.Name, t); err != nil {
		return err
	}
	return r.raise(d.Name, &metadata.Role{KeyIDs: d.KeyIDs, Threshold: d.Threshold})
}

func recollect[D metadata.Roles](r *run, role string, parent *metadata.Metadata[D]) (*metadata.Metadata[metadata.TargetsType], error) {
	b := r.known[role]
	if b == nil {
		return nil, fmt.Errorf("%s: %w", role, ErrNotFound)
	}
	m, err := parse[metadata.TargetsType](b)
	if err == nil {
		err = verify(parent, role, m)
	}
	r.tuf.Targets[role] = m
	return m, err
}

// lists refuses a package that the author's metadata does not list as it is.
func (r *run) lists(p Package) error {
	t := r.tuf.Targets[r.author].Signed.Targets[p.path()]
	if t == nil {
		return fmt.Errorf("%s does not list %s: %w", r.author, p.path(), ErrUnlisted)
	}
	if listed := packageOf(p.path(), t); listed != p {
		return fmt.Errorf("%s lists %s with the digest %s, the package has %s: %w", r.author, p.path(), listed.Digest, p.Digest, ErrMixed)
	}
	return nil
}

// keep makes durable what was verified: the metadata as a whole or, if the
// workflow was not completed, the roots alone. Epochs may have been noted since
// the run began.
func (r *run) keep(whole bool) error {
	next := maps.Clone(r.known)
	maps.Copy(next, r.chain)
	if whole {
		maps.Copy(next, r.kept)
	}
	if !next.equal(readCache(r.cfg.Dir, r.cfg.Log)) {
		if err := next.write(r.cfg.Dir, r.cfg.Log); err != nil { // it can be fetched again
			r.cfg.Log.Warn("cannot keep trust metadata", "error", err)
		}
	}
	r.disk.Lock()
	defer r.disk.Unlock()
	on := readFloors(r.cfg.Dir, r.cfg.Log)
	r.floors.Serial, r.floors.Epochs = on.Serial, on.Epochs
	if !on.differ(r.floors) {
		return nil
	}
	return r.floors.write(r.cfg.Dir, r.cfg.Log)
}

// packagesOf lists what an author's metadata vouches for, by path.
func packagesOf(t *metadata.Metadata[metadata.TargetsType]) (all []Package) {
	for _, path := range slices.Sorted(maps.Keys(t.Signed.Targets)) {
		all = append(all, packageOf(path, t.Signed.Targets[path]))
	}
	return all
}

// packageOf is a target as a package.
func packageOf(path string, t *metadata.TargetFiles) Package {
	at := strings.LastIndexByte(path, '/')
	return Package{path[:max(at, 0)], path[at+1:], "sha256:" + fmt.Sprintf("%x", []byte(t.Hashes["sha256"])), t.Length}
}
