package trust_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/trust"
	"github.com/tranquil-iot/tranquil/sdk/trust/trusttest"
)

// The file server signs when half of the time has passed, and says in time if
// that does not happen.
func TestRefresh(t *testing.T) {
	w := trusttest.New(t)
	d := newDevice(t, w)
	for range 20 {
		before := d.trusts(t, w.Good)
		w.Now = w.Now.Add(trust.TimestampGood/2 + time.Hour)
		w.Refresh()
		if after := d.trusts(t, w.Good); after.Timestamp <= before.Timestamp {
			t.Fatal("no newer timestamp")
		}
		if changed, err := w.Repository.Refresh(w.Online, w.Now); changed || err != nil {
			t.Fatalf("signed again at once: %v, %v", changed, err)
		}
	}
	if p := problems(w, w.Now); p != "" {
		t.Error(p)
	}
	if p := problems(w, w.Now.Add(trust.TimestampGood*4/5)); !strings.Contains(p, "timestamp: it expires") {
		t.Error(p)
	}
	if p := problems(w, w.Now.Add(340*24*time.Hour)); !strings.Contains(p, "root: it expires in") || !strings.Contains(p, "snapshot: it has expired") {
		t.Error(p)
	}
	w.Repository.Expire()
	newDevice(t, w).trusts(t, w.Good)
}

func problems(w *trusttest.World, at time.Time) string {
	var all []string
	for _, s := range w.Repository.Standings(at) {
		if s.Problem != "" {
			all = append(all, s.Role+": "+s.Problem)
		}
	}
	return strings.Join(all, "\n")
}

// A server that has lost any of its files serves, after it was started again and
// that was published again, what devices of before go on to trust.
func TestRepositoryDamage(t *testing.T) {
	for _, role := range []string{trust.Timestamp, trust.Snapshot, "alice", trust.Targets, trust.Root} {
		t.Run(role, func(t *testing.T) {
			w := trusttest.New(t)
			d := newDevice(t, w)
			w.Endorse(trusttest.PackageOf("2.0.0"))
			d.trusts(t, w.Good)
			dir := backup(t, w)
			name, version := w.Newest(role)
			if role == trust.Timestamp {
				name = trust.File(role, version)
			}
			lost := w.Read(name)
			spoil(t, filepath.Join(dir, name), func(b []byte) []byte { return b[:len(b)/2] })
			restore(t, w, dir)
			if role != trust.Timestamp && role != trust.Snapshot {
				if p := problems(w, w.Now); !strings.Contains(p, role+": "+name+" is lost or damaged") {
					t.Errorf("problems %q", p)
				}
				if err := w.Repository.Add(name, lost); err != nil {
					t.Fatal(err)
				}
			}
			w.Now = w.Now.Add(time.Hour)
			w.Refresh()
			if p := problems(w, w.Now); p != "" {
				t.Error(p)
			}
			d.trusts(t, trusttest.PackageOf("2.0.0"))
			newDevice(t, w).trusts(t, w.Good)
		})
	}
}

// Roots are lost that devices begin with, or have to go through: nobody but who
// has them brings them back, the newest first.
func TestLostRoots(t *testing.T) {
	w := trusttest.New(t)
	for range 3 {
		w.Amend(trust.Root, trust.Change{}, w.Root[:2]...)
	}
	dir, roots := backup(t, w), map[string][]byte{}
	for _, name := range []string{"1.root.json", "2.root.json", "3.root.json"} {
		roots[name] = w.Read(name)
	}
	spoil(t, filepath.Join(dir, "1.root.json"), func([]byte) []byte { return nil })
	spoil(t, filepath.Join(dir, "3.root.json"), nil)
	restore(t, w, dir)
	if p := problems(w, w.Now); !strings.Contains(p, "root: 1.root.json, 3.root.json is lost or damaged") {
		t.Errorf("problems %q", p)
	}
	forged := w.Forge(roots["3.root.json"], func(s map[string]any) { s["expires"] = "2199-01-01T00:00:00Z" }, w.Thief)
	if err := w.Repository.Add("3.root.json", forged); !errors.Is(err, trust.ErrUnsigned) {
		t.Errorf("another root in its place: %v", err)
	}
	for _, name := range []string{"3.root.json", "1.root.json"} {
		if err := w.Repository.Add(name, roots[name]); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	spoil(t, filepath.Join(dir, "2.root.json"), func(b []byte) []byte { return b[:9] }) // while the server runs
	if p := problems(w, w.Now); !strings.Contains(p, "root: 2.root.json is lost or damaged") {
		t.Errorf("problems %q", p)
	}
	if err := w.Repository.Add("2.root.json", roots["2.root.json"]); err != nil {
		t.Error(err)
	}
	if p := problems(w, w.Now); p != "" {
		t.Error(p)
	}
	newDevice(t, w).trusts(t, w.Good)
}

// backup copies a repository.
func backup(t *testing.T, w *trusttest.World) (dir string) {
	t.Helper()
	dir = t.TempDir()
	write := func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), w.Read(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, role := range []string{trust.Root, trust.Targets, "alice"} {
		_, newest := w.Newest(role)
		for version := range newest {
			write(trust.File(role, version+1))
		}
	}
	name, _ := w.Newest(trust.Snapshot)
	write(name)
	write(trust.File(trust.Timestamp, 0))
	return dir
}

// restore starts the world's repository from a copy.
func restore(t *testing.T, w *trusttest.World, dir string) {
	t.Helper()
	r, err := trust.OpenRepository(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w.Repository = r
}

// A server that was restored from an old backup signs at once above what devices
// have seen; what authors have published since has to be published again, or
// signed above.
func TestBackup(t *testing.T) {
	w := trusttest.New(t)
	d := newDevice(t, w)
	dir := backup(t, w)
	for range 60 {
		w.Now = w.Now.Add(trust.TimestampGood/2 + time.Hour)
		w.Refresh()
	}
	d.trusts(t, w.Good)
	w.Now = w.Now.Add(time.Minute)
	restore(t, w, dir)
	w.Refresh()
	d.trusts(t, w.Good)

	alice := newDevice(t, w)
	dir = backup(t, w)
	w.Endorse(trusttest.PackageOf("2.0.0"))
	d.trusts(t, w.Good)
	if _, err := alice.Author(t.Context(), trusttest.Greeter); err != nil {
		t.Fatal(err)
	}
	w.Now = w.Now.Add(time.Minute)
	restore(t, w, dir)
	w.Refresh()
	d.refuses(t, w.Good, trust.ErrRollback)
	a, err := alice.Author(t.Context(), trusttest.Greeter)
	if err != nil || !errors.Is(a.Lost, trust.ErrRollback) || len(a.Packages) > 0 || a.Version != 2 {
		t.Fatalf("%+v, %v", a, err)
	}
	f, err := trust.Endorse(a, []trust.Package{w.Good}, []trust.Key{w.Alice}, w.Now)
	if err != nil || f.Name != "3.alice.json" {
		t.Fatal(f.Name, err)
	}
	w.Add(f)
	d.trusts(t, w.Good)
}

// The versions that a server gives go up, also if its clock goes back.
func TestClockOfServer(t *testing.T) {
	w := trusttest.New(t)
	d := newDevice(t, w)
	d.trusts(t, w.Good)
	w.Now = w.Now.Add(-time.Hour)
	w.Endorse(trusttest.PackageOf("2.0.0"))
	d.trusts(t, trusttest.PackageOf("2.0.0"))
}

func TestRepositoryRefuses(t *testing.T) {
	w := trusttest.New(t)
	alice, targets := w.Read("1.alice.json"), w.Read("2.targets.json")
	forge := func(b []byte, version int64, change func(map[string]any), key trust.Key) []byte {
		return w.Forge(b, func(s map[string]any) {
			s["version"] = version
			change(s)
		}, key)
	}
	nothing := func(map[string]any) {}
	foreign := func(s map[string]any) {
		s["targets"] = map[string]any{"application/other/1.0.0": map[string]any{"length": 1, "hashes": map[string]any{"sha256": "00"}}}
	}
	tests := []struct {
		name, file string
		data       []byte
		want       error
	}{
		{"the same again", "1.alice.json", alice, nil},
		{"another one of that version", "1.alice.json", forge(alice, 1, foreign, w.Alice), trust.ErrConflict},
		{"a version too far", "4.targets.json", forge(targets, 4, nothing, w.Targets), trust.ErrVersion},
		{"another version than the name says", "2.alice.json", forge(alice, 3, nothing, w.Alice), trust.ErrMixed},
		{"signed by another", "2.alice.json", forge(alice, 2, nothing, w.Targets), trust.ErrUnsigned},
		{"a component of others", "2.alice.json", forge(alice, 2, foreign, w.Alice), trust.ErrUnsigned},
		{"an author whom nobody knows", "1.bob.json", forge(alice, 1, nothing, w.Alice), trust.ErrUnsigned},
		{"targets that lists packages", "3.targets.json", forge(targets, 3, foreign, w.Targets), trust.ErrMalformed},
		{"a root by one key", "2.root.json", forge(w.Read("1.root.json"), 2, nothing, w.Root[0]), trust.ErrUnsigned},
		{"a timestamp", "timestamp.json", w.Read("timestamp.json"), trust.ErrMalformed},
		{"a path", "../1.root.json", alice, trust.ErrMalformed},
		{"no metadata", "2.alice.json", []byte("null"), trust.ErrMalformed},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := w.Repository.Add(test.file, test.data); !errors.Is(err, test.want) {
				t.Errorf("error %v, want %v", err, test.want)
			}
		})
	}
	newDevice(t, w).trusts(t, w.Good)
}

func TestAmendRefuses(t *testing.T) {
	w := trusttest.New(t)
	tests := []struct {
		name, role string
		change     trust.Change
		want       string
	}{
		{"a component that has an author", "bob", trust.Change{Add: trusttest.Public(w.Thief), Component: []string{trusttest.Greeter}}, "has an author already, alice"},
		{"no component", "bob", trust.Change{Add: trusttest.Public(w.Thief)}, "needs a component"},
		{"no key", "bob", trust.Change{Component: []string{"application/b"}}, "needs as many keys"},
		{"a role as author", "snapshot", trust.Change{}, "are those of online"},
		{"a name with a slash", "a/b", trust.Change{}, "is no author"},
		{"a key that is not there", "alice", trust.Change{Remove: []string{"1234567"}}, "is none of the keys"},
		{"a threshold above the keys", trust.Root, trust.Change{Threshold: 4}, "needs as many keys"},
		{"the last key", trust.Targets, trust.Change{Replace: true}, "needs as many keys"},
		{"the empty id", trust.Targets, trust.Change{Remove: []string{""}}, "which key"},
		{"an author who is not there", "bob", trust.Change{Gone: true}, "there is no author bob"},
		{"the last component", "alice", trust.Change{Drop: []string{trusttest.Greeter}}, "sign for nothing"},
		{"nothing", "alice", trust.Change{}, "nothing of alice is to change"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := w.Repository.Amend(test.role, test.change, []trust.Key{w.Targets}, w.Now)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// Who is asked to sign sees all that changes, and nothing that would deceive.
func TestChanges(t *testing.T) {
	w := trusttest.New(t)
	root, targets := w.Read("1.root.json"), w.Read("2.targets.json")
	id, err := trust.KeyID(w.Thief.Public())
	if err != nil {
		t.Fatal(err)
	}
	keep := func(map[string]any) {}
	disguise := func(s map[string]any) { // another key behind an id that is known
		for id, k := range s["keys"].(map[string]any) {
			k.(map[string]any)["keyval"].(map[string]any)["public"] = strings.Repeat("ab", 32)
			s["keys"].(map[string]any)[id] = k
			return
		}
	}
	again := func(change func(map[string]any)) func(map[string]any) {
		return func(s map[string]any) {
			d := s["delegations"].(map[string]any)
			first := maps.Clone(d["roles"].([]any)[0].(map[string]any))
			change(first)
			d["roles"] = append([]any{first}, d["roles"].([]any)...)
		}
	}
	tests := []struct {
		name, file string
		of         []byte
		change     func(map[string]any)
		want       string
	}{
		{"a renewal", "2.root.json", root, keep, "! root expires on"},
		{"a threshold", "2.root.json", root, func(s map[string]any) { s["roles"].(map[string]any)["root"].(map[string]any)["threshold"] = 1 }, "! 1 of the 3 keys of root have to sign, before 2 of 3"},
		{"a key that is gone", "2.root.json", root, func(s map[string]any) { s["roles"].(map[string]any)["targets"].(map[string]any)["keyids"] = []any{id} }, "+ targets key " + trust.Short(id)},
		{"a key in disguise", "2.root.json", root, disguise, "another one than its id says"},
		{"a role without keys", "2.root.json", root, func(s map[string]any) { delete(s["roles"].(map[string]any), "snapshot") }, "no keys for snapshot"},
		{"an author who is gone", "3.targets.json", targets, func(s map[string]any) { delete(s, "delegations") }, "- author alice"},
		{"an author twice", "3.targets.json", targets, again(keep), "two authors are called alice"},
		{"a component twice", "3.targets.json", targets, again(func(d map[string]any) { d["name"] = "mallory" }), "given away twice"},
		{"a version that is not the next", "3.root.json", root, keep, "not the next version, which is 2"},
		{"an author's", "2.alice.json", targets, keep, "no metadata of operators"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, version, err := trust.ParseFile(test.file)
			if err != nil {
				t.Fatal(err)
			}
			b := w.Forge(test.of, func(s map[string]any) {
				s["version"] = version
				test.change(s)
			}, w.Root[0])
			lines, err := w.Repository.Changes(test.file, b)
			if got := fmt.Sprint(strings.Join(lines, "\n"), err); !strings.Contains(got, test.want) {
				t.Errorf("%s, want %q", got, test.want)
			}
		})
	}
}

// A key comes back from its file only with the passphrase; what signs may also be
// something that gives no key away.
func TestKeys(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ed, err := trust.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	for passphrase, key := range map[string]trust.Key{"": ec, "correct horse": ed} {
		b, err := trust.EncodeKey(key, []byte(passphrase))
		if err != nil {
			t.Fatal(err)
		}
		ask := func(answer string) func() ([]byte, error) {
			return func() ([]byte, error) { return []byte(answer), nil }
		}
		back, err := trust.DecodeKey(b, ask(passphrase))
		if err != nil {
			t.Fatal(err)
		}
		a, errA := trust.KeyID(key.Public())
		c, errC := trust.KeyID(back.Public())
		if a != c || errA != nil || errC != nil {
			t.Errorf("%s is %s", a, c)
		}
		if _, err := trust.DecodeKey(b, ask("wrong")); passphrase != "" && !errors.Is(err, trust.ErrPassphrase) {
			t.Errorf("wrong passphrase: %v", err)
		}
	}
	hidden := struct{ trust.Key }{ec} // as a PKCS#11 module has it
	w := trusttest.New(t)
	w.Amend("bob", trust.Change{Add: trusttest.Public(hidden), Component: []string{"application/b"}}, w.Targets)
	p := trust.Package{Component: "application/b", Version: "1.0.0", Digest: w.Good.Digest, Size: 1}
	d := newDevice(t, w)
	a, err := d.Author(t.Context(), p.Component)
	if err != nil || a.Version != 0 || a.Lost != nil {
		t.Fatalf("%+v, %v", a, err)
	}
	f, err := trust.Endorse(a, []trust.Package{p}, []trust.Key{hidden}, w.Now)
	if err != nil || f.Missing != 0 {
		t.Fatal(f.Missing, err)
	}
	w.Add(f)
	d.trusts(t, p)
}

func TestReadKeyOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "open.key")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.ReadKey(path, nil); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("error %v", err)
	}
}
