package trusttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/trust"
)

// An Attack makes a repository misbehave, of which a device has trusted
// [World.Good] before.
type Attack struct {
	Name string // of what TUF and Uptane call it, and by whom

	// Do returns the package that the device is told to install.
	Do func(w *World) trust.Package

	Want   []error // of which the device must report one
	Fresh  bool    // against a device that has lost its cache, though not its floors
	Stolen bool    // only a new online key ends it: what the stolen one has signed is believed
}

var later = PackageOf("2.0.0")

// Attacks are all that are known. What the transport has to fend off, slow
// retrieval and endless data, is there as far as it shows in metadata.
var Attacks = []Attack{
	// Arbitrary software: by whoever controls the hub, the file server or the network.
	{Name: "a package that nobody has signed for", Do: assign(later), Want: unlisted},
	{Name: "another package under a version that is signed for", Do: func(*World) trust.Package {
		p := PackageOf("1.0.0")
		p.Digest = later.Digest
		return p
	}, Want: mixed},
	{Name: "the author's list, signed by the online key", Do: func(w *World) trust.Package { return replaceAuthor(w, w.Online) }, Want: unsigned},
	{Name: "the author's list, signed by nobody", Do: func(w *World) trust.Package { return replaceAuthor(w) }, Want: unsigned},
	{Name: "the author's list, signed by the keys of targets", Do: func(w *World) trust.Package { return replaceAuthor(w, w.Targets) }, Want: unsigned},
	{Name: "a signature that is another one's", Do: swapSignature, Want: unsigned},
	{Name: "delegations, signed by the online key", Do: delegateToThief, Want: unsigned},
	{Name: "a package that targets lists itself", Do: listInTargets, Want: append(unlisted, trust.ErrMalformed)},

	// Stolen author keys.
	{Name: "a component of another author", Do: anotherAuthor, Want: unlisted, Stolen: true},
	{Name: "an author whose key was replaced", Do: func(w *World) trust.Package {
		id, _ := trust.KeyID(w.Alice.Public())
		w.Amend("alice", trust.Change{Add: Public(w.Root[2]), Remove: []string{id}}, w.Targets)
		return w.Good
	}, Want: unsigned},
	{Name: "one of two signatures that an author needs", Do: func(w *World) trust.Package {
		w.Amend("alice", trust.Change{Add: Public(w.Root[2]), Threshold: 2}, w.Targets)
		return w.Good
	}, Want: unsigned},
	{Name: "one signature, twice", Do: func(w *World) trust.Package {
		w.Amend("alice", trust.Change{Add: Public(w.Root[2]), Threshold: 2}, w.Targets)
		return replaceAuthor(w, w.Alice, w.Alice)
	}, Want: append(unsigned, trust.ErrMalformed)},

	// Roots.
	{Name: "a root that only its own new keys have signed", Do: func(w *World) trust.Package { return newRoot(w, 2, w.Thief) }, Want: unsigned},
	{Name: "a root that one of two keys has signed", Do: func(w *World) trust.Package { return newRoot(w, 2, w.Root[0]) }, Want: unsigned},
	{Name: "a root that skips a version", Do: func(w *World) trust.Package { return newRoot(w, 3, w.Root[:2]...) }, Want: rollback},
	{Name: "the same root again", Do: func(w *World) trust.Package {
		w.Serve("2.root.json", w.Read("1.root.json"))
		return w.Good
	}, Want: rollback},
	{Name: "a root without roles", Do: func(w *World) trust.Package {
		w.Serve("2.root.json", w.Forge(w.Read("1.root.json"), func(s map[string]any) {
			s["version"], s["roles"] = 2, map[string]any{"root": nil}
		}, w.Root[:2]...))
		return w.Good
	}, Want: malformed},
	{Name: "a root whose threshold is 0", Do: func(w *World) trust.Package {
		w.Serve("2.root.json", w.Forge(w.Read("1.root.json"), func(s map[string]any) {
			s["version"] = 2
			object(s, "roles", "root")["threshold"] = 0
		}, w.Root[:2]...))
		return w.Good
	}, Want: malformed},
	{Name: "a root with a key that is none", Do: func(w *World) trust.Package {
		w.Serve("2.root.json", w.Forge(w.Read("1.root.json"), func(s map[string]any) {
			s["version"] = 2
			id := object(s, "roles", "root")["keyids"].([]any)[0].(string)
			object(s, "keys", id, "keyval")["public"] = "00"
		}, w.Root[:2]...))
		return w.Good
	}, Want: malformed},
	{Name: "no newer root, to a device that knows one", Do: hideRoot, Want: rollback, Fresh: true},

	// Rollback, and mix and match.
	{Name: "an old timestamp", Do: func(w *World) trust.Package { return replay(w, trust.File(trust.Timestamp, 0)) }, Want: rollback},
	{Name: "an old timestamp, to a device without a cache", Do: func(w *World) trust.Package { return replay(w, trust.File(trust.Timestamp, 0)) }, Want: rollback, Fresh: true},
	{Name: "an old snapshot, by the online key", Do: oldSnapshot, Want: rollback},
	{Name: "an old snapshot, by the online key, to a device without a cache", Do: oldSnapshot, Want: rollback, Fresh: true},
	{Name: "an author's old list, by the online key", Do: oldList, Want: rollback},
	{Name: "an author's old list, by the online key, to a device without a cache", Do: oldList, Want: rollback, Fresh: true},
	{Name: "a snapshot that leaves out the author", Do: func(w *World) trust.Package {
		w.ForgeOnline(func(s map[string]any) { delete(object(s, "meta"), "alice.json") })
		return w.Good
	}, Want: mixed},
	{Name: "a snapshot that the timestamp does not name", Do: func(w *World) trust.Package {
		name, version := w.Newest(trust.Snapshot)
		old := w.Read(name)
		w.Endorse(later)
		w.Serve(trust.File(trust.Snapshot, version+1), old)
		return later
	}, Want: mixed},
	{Name: "a list that the snapshot does not name", Do: func(w *World) trust.Package {
		name, version := w.Newest("alice")
		old := w.Read(name)
		w.Endorse(later)
		w.Serve(trust.File("alice", version+1), old)
		return later
	}, Want: mixed},

	// Freeze.
	{Name: "a timestamp for ever", Do: after(trust.TimestampGood + time.Hour), Want: expired},
	{Name: "a snapshot for ever, by the timestamp's key", Do: func(w *World) trust.Package {
		w.Now = w.Now.Add(trust.SnapshotGood + time.Hour)
		stamp := trust.File(trust.Timestamp, 0)
		w.Serve(stamp, w.Forge(w.Read(stamp), func(s map[string]any) {
			_, version := w.Newest(trust.Timestamp)
			s["version"], s["expires"] = version+1, w.Now.Add(time.Hour).Format(time.RFC3339)
		}, w.Online))
		return w.Good
	}, Want: expired},
	{Name: "an author, targets and a root for ever", Do: func(w *World) trust.Package {
		w.Now = w.Now.Add(trust.OfflineValidity + time.Hour)
		w.Refresh()
		return w.Good
	}, Want: expired},

	// Endless data, and what is no metadata.
	{Name: "an endless timestamp", Do: endless(trust.Timestamp), Want: endlessData},
	{Name: "an endless root", Do: endless(trust.Root), Want: endlessData},
	{Name: "a snapshot that is longer than promised", Do: endless(trust.Snapshot), Want: endlessData},
	{Name: "an author's list that is longer than promised", Do: endless("alice"), Want: endlessData},
	{Name: "nothing", Do: garbage(""), Want: malformed},
	{Name: "half of a timestamp", Do: garbage(`{"signed": {"_type": "timestamp", "version"`), Want: malformed},
	{Name: "null", Do: garbage("null"), Want: malformed},
	{Name: "zero bytes", Do: garbage(strings.Repeat("\x00", 512)), Want: malformed},
	{Name: "a web page", Do: garbage("<html>login</html>"), Want: malformed},
	{Name: "another kind of metadata", Do: func(w *World) trust.Package {
		name, _ := w.Newest(trust.Snapshot)
		w.Serve(trust.File(trust.Timestamp, 0), w.Read(name))
		return w.Good
	}, Want: malformed},
	{Name: "a timestamp that names no snapshot", Do: forgeTimestamp(func(s map[string]any) {
		s["meta"] = map[string]any{"snapshot.json": nil}
	}), Want: malformed},
	{Name: "a timestamp made after its end", Do: forgeTimestamp(func(s map[string]any) { s["x-issued"] = "2199-01-01T00:00:00Z" }), Want: malformed},
	{Name: "a list with a target that is null", Do: func(w *World) trust.Package {
		name, version := w.Newest("alice")
		b := w.Forge(w.Read(name), func(s map[string]any) {
			s["version"] = version + 1
			object(s, "targets")["x"] = nil
		}, w.Alice)
		serveAuthor(w, version+1, b)
		return w.Good
	}, Want: malformed},
	{Name: "a delegation that does not end the search", Do: changeDelegation(func(d map[string]any) { d["terminating"] = false }), Want: malformed},
	{Name: "an author with the name of a path", Do: changeDelegation(func(d map[string]any) { d["name"] = "../alice" }), Want: malformed},

	// Dropped requests: a device that cannot know what is current does nothing.
	{Name: "no timestamp", Do: withhold(trust.Timestamp), Want: []error{trust.ErrNotFound}},
	{Name: "no snapshot", Do: withhold(trust.Snapshot), Want: []error{trust.ErrNotFound}},
	{Name: "no author's list", Do: withhold("alice"), Want: []error{trust.ErrNotFound}},
	{Name: "no answer, to a device without a cache", Do: func(w *World) trust.Package {
		w.Silence()
		return w.Good
	}, Want: []error{trust.ErrUnreachable}, Fresh: true},
	{Name: "no answer, until all has expired", Do: func(w *World) trust.Package {
		w.Now = w.Now.Add(trust.TimestampGood + time.Hour)
		w.Silence()
		return w.Good
	}, Want: expired},
}

var (
	unlisted    = []error{trust.ErrUnlisted}
	unsigned    = []error{trust.ErrUnsigned}
	mixed       = []error{trust.ErrMixed}
	rollback    = []error{trust.ErrRollback}
	expired     = []error{trust.ErrExpired}
	endlessData = []error{trust.ErrEndless}
	malformed   = []error{trust.ErrMalformed}
)

func assign(p trust.Package) func(*World) trust.Package {
	return func(*World) trust.Package { return p }
}

func after(d time.Duration) func(*World) trust.Package {
	return func(w *World) trust.Package {
		w.Now = w.Now.Add(d)
		return w.Good
	}
}

// replaceAuthor lists a package in Alice's name, which thieves with these keys
// and the online key have signed.
func replaceAuthor(w *World, keys ...trust.Key) trust.Package {
	name, version := w.Newest("alice")
	b := w.Forge(w.Read(name), func(s map[string]any) {
		s["version"] = version + 1
		object(s, "targets")["application/greeter/2.0.0"] = map[string]any{
			"length": later.Size, "hashes": map[string]any{"sha256": strings.TrimPrefix(later.Digest, "sha256:")},
		}
	}, keys...)
	serveAuthor(w, version+1, b)
	return later
}

func serveAuthor(w *World, version int64, b []byte) {
	w.Serve(trust.File("alice", version), b)
	w.ForgeOnline(func(s map[string]any) { List(s, "alice", version, b) })
}

func swapSignature(w *World) trust.Package {
	name, version := w.Newest("alice")
	good, bad := map[string]any{}, map[string]any{}
	if json.Unmarshal(w.Read(name), &good) != nil {
		panic("what the repository has is no JSON")
	}
	replaceAuthor(w, w.Thief)
	forged, _ := w.Get(trust.File("alice", version+1))
	if json.Unmarshal(forged, &bad) != nil {
		panic("what was forged is no JSON")
	}
	bad["signatures"] = good["signatures"]
	b, _ := json.Marshal(bad)
	serveAuthor(w, version+1, b)
	return later
}

func delegateToThief(w *World) trust.Package {
	name, version := w.Newest(trust.Targets)
	b := w.Forge(w.Read(name), func(s map[string]any) {
		s["version"] = version + 1
		object(s, "delegations")["roles"].([]any)[0].(map[string]any)["name"] = "thief"
	}, w.Online)
	serveTargets(w, version+1, b)
	return w.Good
}

func serveTargets(w *World, version int64, b []byte) {
	w.Serve(trust.File(trust.Targets, version), b)
	w.ForgeOnline(func(s map[string]any) { List(s, trust.Targets, version, b) })
}

func listInTargets(w *World) trust.Package {
	name, version := w.Newest(trust.Targets)
	b := w.Forge(w.Read(name), func(s map[string]any) {
		s["version"] = version + 1
		s["targets"] = map[string]any{"application/greeter/2.0.0": map[string]any{
			"length": later.Size, "hashes": map[string]any{"sha256": strings.TrimPrefix(later.Digest, "sha256:")},
		}}
	}, w.Targets)
	serveTargets(w, version+1, b)
	return later
}

func changeDelegation(change func(map[string]any)) func(*World) trust.Package {
	return func(w *World) trust.Package {
		name, version := w.Newest(trust.Targets)
		b := w.Forge(w.Read(name), func(s map[string]any) {
			s["version"] = version + 1
			change(object(s, "delegations")["roles"].([]any)[0].(map[string]any))
		}, w.Targets)
		serveTargets(w, version+1, b)
		return w.Good
	}
}

// anotherAuthor lists a package of the greeter, of which he is no author, in the
// list of his own component.
func anotherAuthor(w *World) trust.Package {
	w.Amend("mallory", trust.Change{Add: Public(w.Thief), Component: []string{"application/other"}}, w.Targets)
	name, _ := w.Newest("alice")
	b := w.Forge(w.Read(name), func(s map[string]any) {
		s["version"] = 1
		s["targets"] = map[string]any{"application/greeter/2.0.0": map[string]any{
			"length": later.Size, "hashes": map[string]any{"sha256": strings.TrimPrefix(later.Digest, "sha256:")},
		}}
	}, w.Thief)
	w.Serve(trust.File("mallory", 1), b)
	w.ForgeOnline(func(s map[string]any) { List(s, "mallory", 1, b) })
	return later
}

func newRoot(w *World, version int64, keys ...trust.Key) trust.Package {
	w.Serve("2.root.json", w.Forge(w.Read("1.root.json"), func(s map[string]any) {
		s["version"] = version
		id, _ := trust.KeyID(w.Thief.Public())
		if own, _ := trust.KeyID(keys[0].Public()); own == id {
			public := map[string]any{"public": fmt.Sprintf("%x", w.Thief.Public())}
			object(s, "keys")[id] = map[string]any{"keytype": "ed25519", "scheme": "ed25519", "keyval": public}
			s["roles"].(map[string]any)["root"] = map[string]any{"keyids": []any{id}, "threshold": 1}
		}
	}, keys...))
	return w.Good
}

// hideRoot replaces the online key, lets the device see that by a newer root
// first, and serves what was before it then.
func hideRoot(w *World) trust.Package {
	w.Amend(trust.Root, trust.Change{}, w.Root[:2]...)
	w.Visit()
	w.Serve("2.root.json", nil)
	return w.Good
}

// replay lets the device see what follows, and serves again what was before.
func replay(w *World, name string) trust.Package {
	old := w.Read(name)
	w.Endorse(later)
	w.Visit()
	w.Serve(name, old)
	return w.Good
}

func oldSnapshot(w *World) trust.Package {
	_, old := w.Newest(trust.Snapshot)
	w.Endorse(later)
	w.Visit()
	stamp := trust.File(trust.Timestamp, 0)
	w.Serve(stamp, w.Forge(w.Read(stamp), func(s map[string]any) {
		_, version := w.Newest(trust.Timestamp)
		s["version"] = version + 1
		s["meta"] = map[string]any{"snapshot.json": map[string]any{"version": old}}
	}, w.Online))
	return w.Good
}

func oldList(w *World) trust.Package {
	name, version := w.Newest("alice")
	old := w.Read(name)
	w.Endorse(later)
	w.Visit()
	w.ForgeOnline(func(s map[string]any) { List(s, "alice", version, old) })
	return w.Good
}

func endless(role string) func(*World) trust.Package {
	return func(w *World) trust.Package {
		w.Endorse(later)
		name, _ := w.Newest(role)
		if role == trust.Root {
			name = "2.root.json"
		}
		w.Serve(name, bytes.Repeat([]byte(" "), trust.MaxSize+1))
		return w.Good
	}
}

func garbage(text string) func(*World) trust.Package {
	return func(w *World) trust.Package {
		w.Serve(trust.File(trust.Timestamp, 0), []byte(text))
		return w.Good
	}
}

func forgeTimestamp(change func(map[string]any)) func(*World) trust.Package {
	return func(w *World) trust.Package {
		stamp := trust.File(trust.Timestamp, 0)
		w.Serve(stamp, w.Forge(w.Read(stamp), func(s map[string]any) {
			_, version := w.Newest(trust.Timestamp)
			s["version"] = version + 1
			change(s)
		}, w.Online))
		return w.Good
	}
}

// withhold has something new published, of which one file is not there.
func withhold(role string) func(*World) trust.Package {
	return func(w *World) trust.Package {
		w.Endorse(later)
		name, _ := w.Newest(role)
		w.Serve(name, nil)
		return later
	}
}
