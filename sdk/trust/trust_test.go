package trust_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/trust"
	"github.com/tranquil-iot/tranquil/sdk/trust/trusttest"
)

func TestAttacks(t *testing.T) {
	trusttest.Run(t, trusttest.Way{Fetch: func(_ *testing.T, w *trusttest.World) trust.Fetch { return w.Fetch }})
}

// A device is one client, with a world around it.
type device struct {
	*trust.Client
	w   *trusttest.World
	dir string
	log bytes.Buffer

	root []byte    // nil: the world's first
	wall time.Time // its own clock; zero: the world's
	set  bool      // somebody sets it
}

func newDevice(t *testing.T, w *trusttest.World) *device {
	d := &device{w: w, dir: t.TempDir(), set: true}
	d.open(t, w.Fetch)
	return d
}

// open is what a start of the device does.
func (d *device) open(t *testing.T, fetch trust.Fetch) {
	t.Helper()
	clock := trust.Clock{Synchronised: func() bool { return d.set }, Wall: func() time.Time {
		if d.wall.IsZero() {
			return d.w.Now
		}
		return d.wall
	}}
	if d.root == nil {
		d.root = d.w.FirstRoot()
	}
	c, err := trust.Open(trust.Config{Dir: d.dir, Root: d.root, Fetch: fetch, Clock: clock, Log: slog.New(slog.NewTextHandler(&d.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	d.Client = c
}

func (d *device) trusts(t *testing.T, p trust.Package) trust.Verdict {
	t.Helper()
	v, err := d.Verify(t.Context(), p)
	if err != nil {
		t.Fatalf("%s is not trusted: %v", p.Version, err)
	}
	return v
}

func (d *device) refuses(t *testing.T, p trust.Package, want error) {
	t.Helper()
	if _, err := d.Verify(t.Context(), p); !errors.Is(err, want) {
		t.Errorf("%s is judged: %v; want %v", p.Version, err, want)
	}
}

func TestVerify(t *testing.T) {
	w := trusttest.New(t)
	d := newDevice(t, w)
	if v := d.trusts(t, w.Good); v.Author != "alice" || v.Doubt != "" || v.Timestamp == 0 {
		t.Errorf("verdict %+v", v)
	}
	next := trusttest.PackageOf("2.0.0")
	d.refuses(t, next, trust.ErrUnlisted)
	w.Endorse(next)
	d.trusts(t, next)
	d.trusts(t, w.Good)
	other := next
	other.Component = "application/other"
	d.refuses(t, other, trust.ErrUnlisted)
}

// Whatever becomes of a file on the device, alone or with others, it heals; and
// what was seen before is not forgotten unless all records of it are gone.
func TestDamage(t *testing.T) {
	damages := map[string]func(b []byte) []byte{
		"gone":      nil,
		"empty":     func([]byte) []byte { return nil },
		"truncated": func(b []byte) []byte { return b[:len(b)/2] },
		"zeroes":    func(b []byte) []byte { return make([]byte, len(b)) },
		"null":      func([]byte) []byte { return []byte("null") },
		"{}":        func([]byte) []byte { return []byte("{}") },
		"flipped":   func(b []byte) []byte { b[len(b)/3] ^= 1; return b },
	}
	sets := [][]string{{"metadata"}, {"floors.0"}, {"floors.1"}, {"metadata", "floors.0"}, {"metadata", "floors.1"}, {"floors.0", "floors.1"}}
	for name, damage := range damages {
		for _, files := range sets {
			t.Run(name+" "+strings.Join(files, " "), func(t *testing.T) {
				t.Parallel()
				w := trusttest.New(t)
				d := newDevice(t, w)
				stamp := trust.File(trust.Timestamp, 0)
				old := w.Read(stamp)
				w.Endorse(trusttest.PackageOf("2.0.0"))
				d.trusts(t, w.Good)
				for _, file := range files {
					spoil(t, filepath.Join(d.dir, file), damage)
				}
				d.open(t, w.Fetch)
				w.Serve(stamp, old)
				d.refuses(t, w.Good, trust.ErrRollback)
				w.Behave()
				d.trusts(t, trusttest.PackageOf("2.0.0"))
				intact(t, d)
			})
		}
	}
}

func spoil(t *testing.T, path string, damage func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err == nil && damage == nil {
		err = os.Remove(path)
	} else if err == nil {
		err = os.WriteFile(path, damage(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// intact checks that all files are as they should be again: a device that starts
// then complains of nothing, and needs no network.
func intact(t *testing.T, d *device) {
	t.Helper()
	d.log.Reset()
	d.w.Silence()
	d.open(t, d.w.Fetch)
	d.trusts(t, d.w.Good)
	if d.log.Len() > 0 {
		t.Errorf("not healed: %s", d.log.String())
	}
	a, errA := os.ReadFile(filepath.Join(d.dir, "floors.0"))
	b, errB := os.ReadFile(filepath.Join(d.dir, "floors.1"))
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("the two records are not the same: %v, %v", errA, errB)
	}
}

// Without a network what is known is trusted until it expires, and said to be
// what may be old.
func TestOffline(t *testing.T) {
	w := trusttest.New(t)
	d := newDevice(t, w)
	d.trusts(t, w.Good)
	w.Silence()
	if v := d.trusts(t, w.Good); v.Doubt == "" {
		t.Error("nothing is said of the network")
	}
	d.refuses(t, trusttest.PackageOf("2.0.0"), trust.ErrUnlisted)
	w.Now = w.Now.Add(trust.TimestampGood + time.Minute)
	d.refuses(t, w.Good, trust.ErrExpired)
}

// What a device has verified is remembered for a way back, however late it is;
// but not what it has seen withdrawn, or whose keys were replaced.
func TestRemembered(t *testing.T) {
	next := trusttest.PackageOf("2.0.0")
	tests := []struct {
		name string
		does func(w *trusttest.World, d *device)
		want error
	}{
		{"listed", func(*trusttest.World, *device) {}, nil},
		{"nothing was ever seen", func(_ *trusttest.World, d *device) { os.Remove(filepath.Join(d.dir, "metadata")) }, trust.ErrNotFound},
		{"withdrawn, and seen", func(w *trusttest.World, d *device) {
			w.Withdraw(w.Good)
			d.Verify(t.Context(), w.Good)
		}, trust.ErrUnlisted},
		{"withdrawn, and not seen", func(w *trusttest.World, _ *device) { w.Withdraw(w.Good) }, nil},
		{"another author's list is newer", func(w *trusttest.World, d *device) {
			w.Endorse(next)
			d.Verify(t.Context(), trust.Package{Component: "application/other"})
		}, nil},
		{"the author's keys were replaced", func(w *trusttest.World, d *device) {
			id, _ := trust.KeyID(w.Alice.Public())
			w.Amend("alice", trust.Change{Add: trusttest.Public(w.Thief), Remove: []string{id}}, w.Targets)
			d.Verify(t.Context(), w.Good)
		}, trust.ErrRollback},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := trusttest.New(t)
			d := newDevice(t, w)
			d.trusts(t, w.Good)
			test.does(w, d)
			w.Silence()
			w.Now = w.Now.Add(10 * trust.OfflineValidity)
			d.open(t, w.Fetch)
			if err := d.Remembered(w.Good); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
			if err := d.Remembered(next); err == nil {
				t.Error("what was never seen is trusted")
			}
		})
	}
}

// A stick brings packages to a device that has never had a network, checked as
// ever.
func TestFolder(t *testing.T) {
	w := trusttest.New(t)
	stick := t.TempDir()
	for _, role := range []string{trust.Root, trust.Targets, "alice", trust.Snapshot, trust.Timestamp} {
		name, version := w.Newest(role)
		if role == trust.Timestamp {
			name = trust.File(role, version)
		}
		if err := os.WriteFile(filepath.Join(stick, name), w.Read(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	d := newDevice(t, w)
	d.open(t, trust.Folder(stick))
	d.trusts(t, w.Good)
	d.refuses(t, trusttest.PackageOf("2.0.0"), trust.ErrUnlisted)
	spoil(t, filepath.Join(stick, "1.alice.json"), func(b []byte) []byte { return bytes.Replace(b, []byte("application"), []byte("applicatiom"), 1) })
	d = newDevice(t, w)
	d.open(t, trust.Folder(stick))
	d.refuses(t, w.Good, trust.ErrMixed)
	w.Now = w.Now.Add(trust.TimestampGood + time.Minute)
	d.refuses(t, w.Good, trust.ErrExpired)
}

// A clock that is wrong, either way, holds up no update; but if somebody sets it
// what has expired is refused.
func TestClock(t *testing.T) {
	const years = 10 * 365 * 24 * time.Hour
	tests := []struct {
		name  string
		wall  time.Duration // off the world's
		set   bool
		stale bool // the world stands still for a week, and so does what it serves
		want  error
		doubt bool
	}{
		{name: "right"},
		{name: "in 1976, never set", wall: -5 * years, doubt: true},
		{name: "ten years behind, said to be right", wall: -years, set: true, doubt: true},
		{name: "ten years ahead, never set", wall: years, doubt: true},
		{name: "ten years ahead, said to be right", wall: years, set: true, want: trust.ErrExpired},
		{name: "right, and frozen", set: true, stale: true, want: trust.ErrExpired},
		{name: "never set, and frozen", stale: true, doubt: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := trusttest.New(t)
			d := newDevice(t, w)
			d.trusts(t, w.Good)
			if test.stale {
				w.Now = w.Now.Add(7 * 24 * time.Hour)
			} else {
				w.Endorse(trusttest.PackageOf("2.0.0"))
			}
			d.wall, d.set = w.Now.Add(test.wall), test.set
			v, err := d.Verify(t.Context(), w.Good)
			if !errors.Is(err, test.want) || test.want == nil && err != nil {
				t.Errorf("error %v, want %v", err, test.want)
			}
			if (v.Doubt != "") != test.doubt {
				t.Errorf("doubt %q", v.Doubt)
			}
		})
	}
}

// The drill for an online key that is stolen: the thief has signed versions and
// times far ahead. The operator replaces the key, and all devices recover.
func TestStolenOnlineKey(t *testing.T) {
	for name, set := range map[string]bool{"with a clock that is set": true, "with one that never was": false} {
		t.Run(name, func(t *testing.T) {
			w := trusttest.New(t)
			d := newDevice(t, w)
			d.set = set
			d.trusts(t, w.Good)
			stamp := trust.File(trust.Timestamp, 0)
			w.Serve(stamp, w.Forge(w.Read(stamp), func(s map[string]any) {
				s["version"] = int64(1) << 60
				s["x-issued"], s["expires"] = "2198-01-01T00:00:00Z", "2199-01-01T00:00:00Z"
			}, w.Online))
			if set {
				d.refuses(t, w.Good, trust.ErrMalformed)
				w.Behave()
				d.refuses(t, w.Good, trust.ErrRollback)
			} else {
				d.trusts(t, w.Good) // nobody can know
				w.Behave()
				d.refuses(t, w.Good, trust.ErrExpired)
			}
			old := w.Online
			w.ReplaceOnline(w.Thief) // who is none: it is the new key
			if _, err := w.Repository.Refresh(old, w.Now); err == nil || !strings.Contains(err.Error(), "trust rotate") {
				t.Errorf("the old key signs on: %v", err)
			}
			d.trusts(t, w.Good)
			newDevice(t, w).trusts(t, w.Good)
		})
	}
}

// The drill for an author who has lost the key: nothing is signed with it any
// more, and what was is not believed, until it is signed with the new one.
func TestLostAuthorKey(t *testing.T) {
	w := trusttest.New(t)
	d := newDevice(t, w)
	d.trusts(t, w.Good)
	old, err := trust.KeyID(w.Alice.Public())
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := trust.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	w.Amend("alice", trust.Change{Add: trusttest.Public(fresh), Remove: []string{old[:12]}}, w.Targets)
	d.refuses(t, w.Good, trust.ErrUnsigned)

	a, err := d.Author(t.Context(), trusttest.Greeter)
	if err != nil || !errors.Is(a.Lost, trust.ErrUnsigned) || len(a.Packages) > 0 || a.Version != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	f, err := trust.Endorse(a, []trust.Package{w.Good}, []trust.Key{w.Alice}, w.Now)
	if err != nil || f.Missing != 1 {
		t.Fatalf("the old key signs: %+v, %v", f, err)
	}
	if err := w.Repository.Add(f.Name, f.Data); !errors.Is(err, trust.ErrUnsigned) {
		t.Errorf("the old key is believed: %v", err)
	}
	if f, err = trust.Endorse(a, []trust.Package{w.Good}, []trust.Key{fresh}, w.Now); err != nil || f.Missing != 0 {
		t.Fatalf("%+v, %v", f, err)
	}
	w.Add(f)
	d.trusts(t, w.Good)
	newDevice(t, w).trusts(t, w.Good)
}

// The drill for root keys: each of them is replaced, and a device that has slept
// through all that follows.
func TestRootRotation(t *testing.T) {
	w := trusttest.New(t)
	d := newDevice(t, w)
	d.trusts(t, w.Good)
	keys := w.Root
	for i := range keys {
		next, err := trust.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		id, err := trust.KeyID(keys[i].Public())
		if err != nil {
			t.Fatal(err)
		}
		c := trust.Change{Add: trusttest.Public(next), Remove: []string{id}}
		alone, err := w.Repository.Amend(trust.Root, c, keys[i:i+1], w.Now)
		if err != nil || alone.Missing == 0 {
			t.Fatalf("one key is enough: %d, %v", alone.Missing, err)
		}
		if err := w.Repository.Add(alone.Name, alone.Data); !errors.Is(err, trust.ErrUnsigned) {
			t.Errorf("the repository takes it: %v", err)
		}
		others := append([]trust.Key{next}, keys...)
		all, err := w.Repository.Cosign(alone.Name, alone.Data, others)
		if err != nil || all.Missing != 0 {
			t.Fatalf("%d missing, %v", all.Missing, err)
		}
		w.Add(all)
		keys[i] = next
	}
	d.trusts(t, w.Good)
	newDevice(t, w).trusts(t, w.Good)
}

// A root that was replaced by hand is the operator's word: what the old keys
// have signed counts no more, neither on the device nor later, but epochs do.
func TestRootByHand(t *testing.T) {
	for name, changes := range map[string]int{"after newer roots": 3, "after the first one": 0} {
		t.Run(name, func(t *testing.T) {
			old, fresh := trusttest.New(t), trusttest.New(t)
			for range changes {
				old.Amend(trust.Root, trust.Change{}, old.Root[:2]...)
			}
			d := newDevice(t, old)
			d.trusts(t, old.Good)
			if err := d.Installed(trusttest.Greeter, 2); err != nil {
				t.Fatal(err)
			}
			evil := trusttest.PackageOf("6.6.6")
			old.Endorse(evil)
			d.root = fresh.FirstRoot()
			d.open(t, old.Fetch)
			if err := d.Remembered(old.Good); err == nil {
				t.Error("what the old keys have signed is remembered")
			}
			d.refuses(t, evil, trust.ErrUnsigned)
			d.w = fresh
			d.open(t, fresh.Fetch)
			d.trusts(t, fresh.Good)
			if n := strings.Count(d.log.String(), "replaced by hand"); n == 0 {
				t.Error("nothing is said of it")
			}
			if err := d.CheckEpoch(trusttest.Greeter, 1); !errors.Is(err, trust.ErrRollback) {
				t.Errorf("the epoch is forgotten: %v", err)
			}
			intact(t, d)
		})
	}
}

// A root that follows from the one before, or that it follows from, changes
// nothing: what was seen goes on to count.
func TestRootOfTheSameLine(t *testing.T) {
	w := trusttest.New(t)
	stamp := trust.File(trust.Timestamp, 0)
	old := w.Read(stamp)
	w.Amend(trust.Root, trust.Change{}, w.Root[:2]...)
	w.Amend(trust.Root, trust.Change{}, w.Root[:2]...)
	w.Endorse(trusttest.PackageOf("2.0.0"))
	d := newDevice(t, w)
	d.trusts(t, w.Good)
	ahead, err := w.Repository.Amend(trust.Root, trust.Change{}, w.Root[:2], w.Now)
	if err != nil {
		t.Fatal(err)
	}
	for i, root := range [][]byte{w.Read("3.root.json"), ahead.Data, w.FirstRoot()} {
		d.root = root
		d.open(t, w.Fetch)
		w.Serve(stamp, old)
		if _, err := d.Verify(t.Context(), w.Good); !errors.Is(err, trust.ErrRollback) {
			t.Errorf("root %d: what was seen is forgotten: %v", i, err)
		}
		w.Behave()
		d.trusts(t, w.Good)
	}
	if strings.Contains(d.log.String(), "by hand") {
		t.Error(d.log.String())
	}
}

// A root in the cache of which the configured one knows nothing is never taken.
func TestStrangeRootInCache(t *testing.T) {
	w, other := trusttest.New(t), trusttest.New(t)
	other.Amend(trust.Root, trust.Change{}, other.Root[:2]...)
	evil := trusttest.PackageOf("6.6.6")
	other.Endorse(evil)
	d, thief := newDevice(t, w), newDevice(t, other)
	d.trusts(t, w.Good)
	thief.trusts(t, evil)
	b, err := os.ReadFile(filepath.Join(thief.dir, "metadata"))
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, filepath.Join(d.dir, "metadata"), func([]byte) []byte { return b })
	d.open(t, other.Fetch)
	d.refuses(t, evil, trust.ErrUnsigned)
	if err := d.Remembered(evil); err == nil {
		t.Error("remembered")
	}
	d.open(t, w.Fetch)
	d.trusts(t, w.Good)
}

// One of an author's two keys is stolen, signs the highest version, and is taken
// away: the other one goes on.
func TestStolenKeyOfTwo(t *testing.T) {
	w := trusttest.New(t)
	w.Amend("alice", trust.Change{Add: trusttest.Public(w.Thief)}, w.Targets)
	d := newDevice(t, w)
	d.trusts(t, w.Good)
	name, _ := w.Newest("alice")
	const highest = int64(1) << 60
	b := w.Forge(w.Read(name), func(s map[string]any) { s["version"] = highest }, w.Thief)
	w.Serve(trust.File("alice", highest), b)
	w.ForgeOnline(func(s map[string]any) { trusttest.List(s, "alice", highest, b) })
	d.trusts(t, w.Good) // nobody can know
	w.Behave()
	w.ReplaceOnline(w.Root[2])
	d.refuses(t, w.Good, trust.ErrRollback)
	id, err := trust.KeyID(w.Thief.Public())
	if err != nil {
		t.Fatal(err)
	}
	w.Amend("alice", trust.Change{Remove: []string{id}}, w.Targets)
	w.Endorse(trusttest.PackageOf("3.0.0"))
	d.trusts(t, trusttest.PackageOf("3.0.0"))
}

// Who signs anew what a thief of the file server shows would make it good again:
// a version that was withdrawn, and what only a stolen key has signed.
func TestAuthorIsNotDeceived(t *testing.T) {
	bad := trusttest.PackageOf("6.6.6")
	tests := []struct {
		name string
		mend func(w *trusttest.World)
	}{
		{"withdrawn", func(w *trusttest.World) { w.Withdraw(bad) }},
		{"signed by a key that was stolen", func(w *trusttest.World) {
			id, err := trust.KeyID(w.Thief.Public())
			if err != nil {
				t.Fatal(err)
			}
			w.ReplaceOnline(w.Root[2])
			w.Amend("alice", trust.Change{Remove: []string{id}}, w.Targets)
			w.Withdraw(bad)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := trusttest.New(t)
			w.Amend("alice", trust.Change{Add: trusttest.Public(w.Thief)}, w.Targets)
			w.Endorse(bad)
			old := recording(w)
			test.mend(w)
			alice := newDevice(t, w)
			if a, err := alice.Author(t.Context(), trusttest.Greeter); err != nil || a.Lost != nil || len(a.Packages) != 1 {
				t.Fatalf("%+v, %v", a, err)
			}
			alice.open(t, old)
			if a, err := alice.Author(t.Context(), trusttest.Greeter); err == nil {
				t.Errorf("what the thief shows is believed: %+v", a)
			}
			w.Now = w.Now.Add(180 * 24 * time.Hour)
			if a, err := alice.Author(t.Context(), trusttest.Greeter); err == nil {
				t.Errorf("half a year later: %+v", a)
			}
			elsewhere := newDevice(t, w)
			elsewhere.open(t, old)
			if a, err := elsewhere.Author(t.Context(), trusttest.Greeter); !errors.Is(err, trust.ErrExpired) {
				t.Errorf("on another machine: %+v, %v", a, err)
			}
		})
	}
}

// recording fetches what there was when it was made.
func recording(w *trusttest.World) trust.Fetch {
	files := map[string][]byte{}
	for _, role := range []string{trust.Root, trust.Targets, "alice", trust.Snapshot, trust.Timestamp} {
		name, version := w.Newest(role)
		if role == trust.Timestamp {
			name = trust.File(role, version)
		}
		files[name] = w.Read(name)
	}
	return func(_ context.Context, name string, _ int64) ([]byte, error) {
		if b := files[name]; b != nil {
			return b, nil
		}
		return nil, trust.ErrNotFound
	}
}

// An author's own list may have expired, or be lost: it is signed anew above all
// that was seen.
func TestAuthorRenews(t *testing.T) {
	w := trusttest.New(t)
	w.Endorse(trusttest.PackageOf("2.0.0"))
	alice := newDevice(t, w)
	w.Now = w.Now.Add(trust.OfflineValidity - time.Hour)
	w.Amend(trust.Targets, trust.Change{}, w.Targets)
	w.Amend(trust.Root, trust.Change{}, w.Root[:2]...)
	w.Now = w.Now.Add(2 * time.Hour)
	w.Refresh()
	alice.refuses(t, w.Good, trust.ErrExpired)
	a, err := alice.Author(t.Context(), trusttest.Greeter)
	if err != nil || a.Lost != nil || len(a.Packages) != 2 || a.Version != 2 {
		t.Fatalf("%+v, %v", a, err)
	}
	w.Serve("2.alice.json", nil)
	for name, dir := range map[string]string{"seen before": alice.dir, "never seen": t.TempDir()} {
		alice.dir = dir
		alice.open(t, w.Fetch)
		a, err = alice.Author(t.Context(), trusttest.Greeter)
		if cached := a.Lost == nil && len(a.Packages) == 2; err != nil || a.Version != 2 || !cached && !errors.Is(a.Lost, trust.ErrNotFound) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
}

// While a file server hangs, epochs are checked and noted, and not lost when the
// run ends.
func TestEpochWhileWaiting(t *testing.T) {
	w := trusttest.New(t)
	d := newDevice(t, w)
	hangs, done := make(chan struct{}), make(chan error)
	d.open(t, func(ctx context.Context, name string, limit int64) ([]byte, error) {
		if name == trust.File(trust.Timestamp, 0) {
			hangs <- struct{}{}
			<-hangs
		}
		return w.Fetch(ctx, name, limit)
	})
	go func() {
		_, err := d.Verify(t.Context(), w.Good)
		done <- err
	}()
	<-hangs
	if err := errors.Join(d.CheckEpoch(trusttest.Greeter, 0), d.Installed(trusttest.Greeter, 2)); err != nil {
		t.Error(err)
	}
	close(hangs)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := d.CheckEpoch(trusttest.Greeter, 1); !errors.Is(err, trust.ErrRollback) {
		t.Errorf("the epoch is lost: %v", err)
	}
}

// What is in the way of a file is removed.
func TestDirectories(t *testing.T) {
	for _, file := range []string{"metadata", "floors.0", "floors.1"} {
		w := trusttest.New(t)
		d := newDevice(t, w)
		d.trusts(t, w.Good)
		path := filepath.Join(d.dir, file)
		if err := errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "full"), 0o700)); err != nil {
			t.Fatal(err)
		}
		d.open(t, w.Fetch)
		d.trusts(t, w.Good)
		intact(t, d)
	}
}

// A security epoch does not go back, also if the component is removed.
func TestEpoch(t *testing.T) {
	w := trusttest.New(t)
	d := newDevice(t, w)
	for _, epoch := range []int{2, 1} {
		if err := d.Installed(trusttest.Greeter, epoch); err != nil {
			t.Fatal(err)
		}
	}
	d.open(t, w.Fetch)
	d.trusts(t, w.Good)
	if err := d.CheckEpoch(trusttest.Greeter, 1); !errors.Is(err, trust.ErrRollback) {
		t.Errorf("error %v", err)
	}
	if err := errors.Join(d.CheckEpoch(trusttest.Greeter, 2), d.CheckEpoch("application/other", 0)); err != nil {
		t.Error(err)
	}
}

// The power fails, or the network, between any two files: what was kept is whole.
func TestCutOff(t *testing.T) {
	for cut := 1; ; cut++ {
		w := trusttest.New(t)
		d := newDevice(t, w)
		d.trusts(t, w.Good)
		next := trusttest.PackageOf("2.0.0")
		w.Amend(trust.Root, trust.Change{}, w.Root[:2]...)
		w.Endorse(next)
		left := cut
		d.open(t, func(ctx context.Context, name string, limit int64) ([]byte, error) {
			if left--; left <= 0 {
				return nil, trust.ErrUnreachable
			}
			return w.Fetch(ctx, name, limit)
		})
		_, err := d.Verify(t.Context(), next)
		if err == nil {
			if cut < 5 {
				t.Errorf("all was there after %d files", cut)
			}
			return
		}
		d.open(t, w.Fetch)
		d.trusts(t, next)
		d.trusts(t, w.Good)
	}
}
