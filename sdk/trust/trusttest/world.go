// Package trusttest is a repository of trust metadata that misbehaves: each of
// its [Attacks] is one that TUF and Uptane know of. Whoever brings metadata to a
// device runs them all against the way that it takes.
package trusttest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/secure-systems-lab/go-securesystemslib/cjson"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// Greeter is the component that the author Alice signs for.
const Greeter = "application/greeter"

// A World has a repository with all its keys, good and stolen.
type World struct {
	Root    []trust.Key // two of three sign
	Targets trust.Key
	Online  trust.Key
	Alice   trust.Key
	Thief   trust.Key // nobody has given it anything

	Repository *trust.Repository
	Good       trust.Package // that Alice has signed for
	Now        time.Time     // the repository's clock

	t  testing.TB
	mu sync.Mutex
	// what is served instead of what the repository has; nil: it is not there
	forged map[string][]byte
	silent bool
	first  []byte
	visit  func() // has the devices look at the repository, which behaves
}

// New makes a world in which all is well.
func New(t testing.TB) *World {
	w := &World{t: t, Now: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC), forged: map[string][]byte{}}
	keys := make([]trust.Key, 7)
	for i := range keys {
		key, err := trust.NewKey()
		w.must(err)
		keys[i] = key
	}
	w.Root, w.Targets, w.Online, w.Alice, w.Thief = keys[:3], keys[3], keys[4], keys[5], keys[6]
	var err error
	w.Repository, err = trust.OpenRepository(t.TempDir(), slog.New(slog.DiscardHandler))
	w.must(err)
	files, err := trust.Found(trust.Founding{Root: Public(w.Root...), Threshold: 2, Targets: w.Targets.Public(), Online: w.Online.Public()},
		append(w.Root[:2:2], w.Targets), w.Now)
	w.must(err)
	w.first = files[0].Data
	w.Add(files...)
	w.Amend("alice", trust.Change{Add: Public(w.Alice), Component: []string{Greeter}}, w.Targets)
	w.Good = PackageOf("1.0.0")
	w.Endorse(w.Good)
	return w
}

// Public returns the public halves of keys.
func Public(keys ...trust.Key) (all []crypto.PublicKey) {
	for _, key := range keys {
		all = append(all, key.Public())
	}
	return all
}

// PackageOf is a package of the greeter.
func PackageOf(version string) trust.Package {
	return trust.Package{Component: Greeter, Version: version, Digest: pack.DigestOf([]byte(version)), Size: int64(len(version))}
}

// FirstRoot is the root metadata that devices begin with.
func (w *World) FirstRoot() []byte { return w.first }

// Add publishes metadata as its makers do, and signs snapshot and timestamp.
func (w *World) Add(files ...trust.Signed) {
	w.t.Helper()
	for _, f := range files {
		w.must(w.Repository.Add(f.Name, f.Data))
	}
	w.Refresh()
}

// Refresh does what the file server does from time to time.
func (w *World) Refresh() {
	w.t.Helper()
	_, err := w.Repository.Refresh(w.Online, w.Now)
	w.must(err)
}

// Amend changes a role, and publishes that.
func (w *World) Amend(role string, c trust.Change, keys ...trust.Key) {
	w.t.Helper()
	f, err := w.Repository.Amend(role, c, keys, w.Now)
	w.must(err)
	w.Add(f)
}

// Endorse has Alice list packages, beside those that she lists already.
func (w *World) Endorse(packages ...trust.Package) {
	w.t.Helper()
	f, err := trust.Endorse(w.author(), packages, []trust.Key{w.Alice}, w.Now)
	w.must(err)
	w.Add(f)
}

// Withdraw has Alice list a package no longer.
func (w *World) Withdraw(p trust.Package) {
	w.t.Helper()
	a := w.author()
	a.Packages = slices.DeleteFunc(a.Packages, func(q trust.Package) bool { return p == q })
	f, err := trust.Endorse(a, nil, []trust.Key{w.Alice}, w.Now)
	w.must(err)
	w.Add(f)
}

func (w *World) author() trust.Author {
	w.t.Helper()
	c, err := trust.Open(trust.Config{Dir: w.t.TempDir(), Root: w.first, Fetch: w.Fetch, Clock: w.Clock()})
	w.must(err)
	a, err := c.Author(context.Background(), Greeter)
	w.must(err)
	return a
}

// ReplaceAlice gives her role to another key, which has signed nothing yet.
func (w *World) ReplaceAlice() {
	w.t.Helper()
	id, err := trust.KeyID(w.Alice.Public())
	w.must(err)
	w.Amend("alice", trust.Change{Remove: []string{id}, Add: Public(w.Thief)}, w.Targets)
}

// Clock is right.
func (w *World) Clock() trust.Clock {
	return trust.Clock{Wall: func() time.Time { return w.Now }, Synchronised: func() bool { return true }}
}

// Get is what the repository answers, and whether it does.
func (w *World) Get(name string) (b []byte, found bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if b, forged := w.forged[name]; forged {
		return b, b != nil
	}
	b, err := w.Repository.Read(name)
	return b, err == nil
}

// A Way is one by which metadata comes from a world to a device.
type Way struct {
	Name  string
	Fetch func(t *testing.T, w *World) trust.Fetch
}

// Run makes one attack after the other, each in a world of its own, against a new
// device at the end of each way.
func Run(t *testing.T, ways ...Way) {
	var all []opener
	for _, way := range ways {
		all = append(all, opener{way.Name, func(t *testing.T, w *World, c trust.Config) Device {
			c.Fetch = way.Fetch(t, w)
			return w.open(c)
		}})
	}
	run(t, all)
}

// A Device judges packages; a trust.Client is one.
type Device interface {
	Verify(ctx context.Context, p trust.Package) (trust.Verdict, error)
}

// RunOn is Run for a device that gets at metadata in a way of its own; the
// configuration lacks only Fetch.
func RunOn(t *testing.T, open func(t *testing.T, w *World, c trust.Config) Device) {
	run(t, []opener{{"", open}})
}

// An opener makes a device that goes by the name of its way.
type opener struct {
	name string
	open func(t *testing.T, w *World, c trust.Config) Device
}

func run(t *testing.T, openers []opener) {
	for _, a := range Attacks {
		t.Run(a.Name, func(t *testing.T) {
			t.Parallel()
			w := New(t)
			var victims []victim
			for _, o := range openers {
				dir := t.TempDir()
				victims = append(victims, victim{o.open(t, w, trust.Config{Dir: dir, Root: w.FirstRoot(), Clock: w.Clock()}), o.name, dir})
			}
			a.run(t, w, victims)
		})
	}
}

func (w *World) open(c trust.Config) *trust.Client {
	w.t.Helper()
	device, err := trust.Open(c)
	w.must(err)
	return device
}

// A victim is a device that is attacked.
type victim struct {
	Device
	way, dir string
}

func (a Attack) run(t *testing.T, w *World, victims []victim) {
	w.visit = func() {
		t.Helper()
		for _, v := range victims {
			_, err := v.Verify(t.Context(), w.Good)
			w.must(err)
		}
	}
	w.Visit()
	p := a.Do(w)
	for _, v := range victims {
		if a.Fresh {
			w.must(os.Remove(filepath.Join(v.dir, "metadata")))
		}
		_, err := v.Verify(t.Context(), p)
		if !slices.ContainsFunc(a.Want, func(want error) bool { return errors.Is(err, want) }) {
			t.Errorf("%s: %s is judged: %v; want %v", v.way, p.Version, err, a.Want)
		}
	}
	w.recover(a.Stolen)
	for _, v := range victims {
		if _, err := v.Verify(t.Context(), w.Good); err != nil {
			t.Errorf("%s: the device does not recover: %v", v.way, err)
		}
	}
}

// recover ends an attack, and does what operators do after it: all is signed
// anew, by the keys that are to sign.
func (w *World) recover(stolen bool) {
	w.t.Helper()
	w.Behave()
	if stolen {
		w.ReplaceOnline(w.Root[2])
	}
	w.Amend(trust.Root, trust.Change{}, w.Root[:2]...)
	w.Amend(trust.Targets, trust.Change{}, w.Targets)
	id, _ := trust.KeyID(w.Alice.Public())
	a := w.author()
	c := trust.Change{Threshold: 1}
	if !slices.Contains(a.Keys, id) {
		c.Add = Public(w.Alice)
	}
	w.Amend("alice", c, w.Targets)
	a = w.author()
	if a.Lost != nil {
		a.Packages = nil
	}
	f, err := trust.Endorse(a, []trust.Package{w.Good}, []trust.Key{w.Alice}, w.Now)
	w.must(err)
	w.Add(f)
	w.freshen()
}

// ReplaceOnline gives snapshot and timestamp to another key.
func (w *World) ReplaceOnline(key trust.Key) {
	w.t.Helper()
	id, err := trust.KeyID(w.Online.Public())
	w.must(err)
	w.Online = key
	w.Amend(trust.Online, trust.Change{Add: Public(key), Remove: []string{id}}, w.Root[:2]...)
}

// freshen signs timestamps until they are above whatever was forged.
func (w *World) freshen() {
	w.t.Helper()
	for range 3 {
		w.Now = w.Now.Add(trust.SnapshotGood/2 + time.Hour)
		w.Refresh()
	}
}

// Silent says that it does not answer at all.
func (w *World) Silent() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.silent
}

// Fetch asks the repository without a network between.
func (w *World) Fetch(_ context.Context, name string, _ int64) ([]byte, error) {
	if w.Silent() {
		return nil, trust.ErrUnreachable
	}
	if b, found := w.Get(name); found {
		return b, nil
	}
	return nil, fmt.Errorf("%s: %w", name, trust.ErrNotFound)
}

// Serve has something else served under a name; nil: nothing.
func (w *World) Serve(name string, b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forged[name] = b
}

// Silence ends all answers.
func (w *World) Silence() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = true
}

// Behave ends an attack.
func (w *World) Behave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.forged)
	w.silent = false
}

// Read returns a file as the repository has it.
func (w *World) Read(name string) []byte {
	w.t.Helper()
	b, err := w.Repository.Read(name)
	w.must(err)
	return b
}

// Visit has the devices that are attacked look at the repository as it is.
func (w *World) Visit() { w.visit() }

// Newest is the name of the newest file of a role.
func (w *World) Newest(role string) (name string, version int64) {
	w.t.Helper()
	for _, s := range w.Repository.Standings(w.Now) {
		if s.Role == role {
			return trust.File(role, s.Version), s.Version
		}
	}
	w.t.Fatalf("there is no %s", role)
	return "", 0
}

// Forge changes what is signed in metadata, and signs it with those keys alone.
func (w *World) Forge(b []byte, change func(signed map[string]any), keys ...trust.Key) []byte {
	w.t.Helper()
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	w.must(d.Decode(&m))
	signed := m["signed"].(map[string]any)
	change(signed)
	payload, err := cjson.EncodeCanonical(signed)
	w.must(err)
	signatures := []any{}
	for _, key := range keys {
		id, err := trust.KeyID(key.Public())
		w.must(err)
		sig, err := key.Sign(rand.Reader, payload, crypto.Hash(0))
		w.must(err)
		signatures = append(signatures, map[string]any{"keyid": id, "sig": fmt.Sprintf("%x", sig)})
	}
	m["signatures"] = signatures
	out, err := json.Marshal(m)
	w.must(err)
	return out
}

// ForgeOnline serves a snapshot and a timestamp that a thief of the online key
// has made: the snapshot changed as he wants it.
func (w *World) ForgeOnline(change func(signed map[string]any)) {
	w.t.Helper()
	name, version := w.Newest(trust.Snapshot)
	next := version + 1
	snapshot := w.Forge(w.Read(name), func(s map[string]any) {
		s["version"] = next
		change(s)
	}, w.Online)
	w.Serve(trust.File(trust.Snapshot, next), snapshot)
	stamp := trust.File(trust.Timestamp, 0)
	w.Serve(stamp, w.Forge(w.Read(stamp), func(s map[string]any) {
		_, old := w.Newest(trust.Timestamp)
		s["version"] = old + 1
		s["meta"] = map[string]any{"snapshot.json": map[string]any{"version": next}}
	}, w.Online))
}

// List has a file listed in a forged snapshot.
func List(signed map[string]any, role string, version int64, b []byte) {
	digest := strings.TrimPrefix(pack.DigestOf(b), "sha256:")
	signed["meta"].(map[string]any)[role+".json"] = map[string]any{
		"version": version, "length": len(b), "hashes": map[string]any{"sha256": digest},
	}
}

func (w *World) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// maps of JSON, for changes.
func object(of map[string]any, path ...string) map[string]any {
	for _, name := range path {
		of = of[name].(map[string]any)
	}
	return of
}
