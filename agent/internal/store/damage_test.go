package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
)

// harms is what can happen to a file.
var harms = map[string]func(path string) error{
	"emptied":   func(path string) error { return os.Truncate(path, 0) },
	"truncated": halve,
	"garbage":   garbage,
	"removed":   os.Remove,
}

func halve(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, info.Size()/2)
}

func garbage(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.WriteFile(path, bytes.Repeat([]byte("\xa5garbage"), int(info.Size())/8+1), 0o600)
}

// content is what the store of these tests holds.
func content(t *testing.T, s *Store) (engine.Record, engine.Installed, engine.Wishes) {
	t.Helper()
	r, found, err := s.Load(name)
	if err != nil || !found {
		t.Fatalf("no journal: %v", err)
	}
	i, err := s.Installed(name)
	check(t, err)
	w, err := s.Wishes(name)
	check(t, err)
	return r, i, w
}

// fill writes what content reads, and leaves the files of a store that was
// closed, or of one whose process was killed.
func fill(t *testing.T, data string, killed bool) {
	t.Helper()
	s := open(t, filepath.Join(data, "store"))
	for n := range 20 {
		check(t, s.Save(engine.Record{Format: 1, Step: fmt.Sprint("step ", n), Update: engine.Update{Component: name}}))
	}
	check(t, s.Commit(name, engine.Installed{Version: "1.0.0", Digest: strings.Repeat("d", 71)}))
	check(t, s.SetWishes(name, engine.Wishes{Schedule: "0 * * * *"}))
	check(t, s.Save(engine.Record{Format: 1, Step: "last", Update: engine.Update{Component: name}}))
	var kept map[string][]byte
	if killed {
		kept = readTree(t, data)
	}
	check(t, s.Close())
	if killed {
		check(t, os.RemoveAll(data))
		check(t, os.Mkdir(data, 0o700))
		writeTree(t, data, kept)
	}
}

func readTree(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	tree := map[string][]byte{}
	check(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		tree[rel] = b
		return err
	}))
	return tree
}

func writeTree(t *testing.T, dir string, tree map[string][]byte) {
	t.Helper()
	for rel, b := range tree {
		path := filepath.Join(dir, rel)
		check(t, os.MkdirAll(filepath.Dir(path), 0o700))
		check(t, os.WriteFile(path, b, 0o600))
	}
}

// TestDamage harms every file of a store: nothing that was written is lost.
func TestDamage(t *testing.T) {
	t.Parallel()
	for _, killed := range []bool{false, true} {
		before := t.TempDir()
		fill(t, before, killed)
		tree := readTree(t, before)
		for file := range tree {
			for harm, do := range harms {
				t.Run(fmt.Sprintf("killed=%v/%s/%s", killed, file, harm), func(t *testing.T) {
					t.Parallel()
					data := t.TempDir()
					writeTree(t, data, tree)
					check(t, do(filepath.Join(data, file)))
					survives(t, data)
				})
			}
		}
		t.Run(fmt.Sprintf("killed=%v/all", killed), func(t *testing.T) {
			data := t.TempDir()
			writeTree(t, data, tree)
			check(t, os.RemoveAll(filepath.Join(data, "store")))
			if s := survives(t, data); s.Found == nil {
				t.Error("it does not tell that the store was gone")
			}
		})
	}
}

// TestUnlistedTable: a process that is killed while badger writes a table
// leaves a part of it, which the manifest does not list. Nothing is lost, and
// nothing is said. One that is listed and cut off is told of.
func TestUnlistedTable(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	fill(t, data, false)
	tables, err := filepath.Glob(filepath.Join(data, "store", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no table: %v", err)
	}
	for _, part := range []string{"", "cut", strings.Repeat("\x00", 1<<10)} {
		check(t, os.WriteFile(filepath.Join(data, "store", "000777.sst"), []byte(part), 0o600))
		s := open(t, filepath.Join(data, "store"))
		if d := s.Damage(); d != (Damage{}) {
			t.Errorf("%d bytes: %+v", len(part), d)
		}
		if r, _, _ := content(t, s); r.Step != "last" {
			t.Errorf("%+v", r)
		}
		check(t, s.Close())
	}
	if tables, err = filepath.Glob(filepath.Join(data, "store", "*.sst")); err != nil || len(tables) == 0 {
		t.Fatalf("no table: %v", err)
	}
	check(t, os.Truncate(tables[0], 2))
	if d := survives(t, data); d.Found == nil {
		t.Error("a table that is listed may be cut off unseen")
	}
}

// survives checks that all content is there, now and after another write and
// restart, which must find nothing to complain of.
func survives(t *testing.T, data string) Damage {
	t.Helper()
	dir := filepath.Join(data, "store")
	s := open(t, dir)
	found := s.Damage()
	r, i, w := content(t, s)
	if r.Step != "last" || i.Version != "1.0.0" || w.Schedule != "0 * * * *" {
		t.Errorf("after %v: %+v %+v %+v", found.Found, r, i, w)
	}
	check(t, s.Commit(name, engine.Installed{Version: "2.0.0"}))
	s = reopen(t, s, dir)
	defer s.Close()
	if s.Damage() != (Damage{}) {
		t.Errorf("damaged again: %+v", s.Damage())
	}
	if i, err := s.Installed(name); err != nil || i.Version != "2.0.0" {
		t.Errorf("%+v, %v", i, err)
	}
	return found
}

// TestAllLost destroys the store with both copies: it begins anew, and says
// so, again and again, without filling the disk.
func TestAllLost(t *testing.T) {
	data := t.TempDir()
	dir := filepath.Join(data, "store")
	for range maxKept + 2 {
		check(t, open(t, dir).Close())
		check(t, os.RemoveAll(copiesOf(dir)[0]))
		check(t, os.RemoveAll(copiesOf(dir)[1]))
		check(t, garbage(filepath.Join(dir, "MANIFEST")))
		s := open(t, dir)
		d := s.Damage()
		if d.Found == nil || !d.Lost || d.Volatile {
			t.Errorf("damage %+v", d)
		}
		if _, err := os.Stat(filepath.Join(d.Kept, "MANIFEST")); err != nil {
			t.Error("the damaged store was not kept:", err)
		}
		check(t, s.Commit(name, engine.Installed{Version: "1.0.0"}))
		check(t, s.Close())
	}
	kept, _ := filepath.Glob(dir + ".damaged-*")
	if len(kept) != maxKept {
		t.Errorf("kept %v", kept)
	}
}

// TestAllGone removes the store with both copies: what updates have left
// behind tells that it is no new device.
func TestAllGone(t *testing.T) {
	for trace, lost := range map[string]bool{
		"":                                false,
		"state/clock":                     false,
		"content/sha256/":                 false,
		"updater/application/log":         false, // its own
		"state/application/a/7/seal.json": true,
		"content/sha256/abc":              true,
	} {
		t.Run(trace, func(t *testing.T) {
			data := t.TempDir()
			path := filepath.Join(data, trace)
			check(t, os.MkdirAll(filepath.Dir(path), 0o700))
			if trace != "" && !strings.HasSuffix(trace, "/") {
				check(t, os.WriteFile(path, nil, 0o600))
			}
			s := open(t, filepath.Join(data, "store"))
			if d := s.Damage(); d.Lost != lost || (d.Found != nil) != lost {
				t.Errorf("damage %+v", d)
			}
			check(t, s.SetFault("lost")) // as safe mode does
			s = reopen(t, s, filepath.Join(data, "store"))
			defer s.Close()
			if d := s.Damage(); d != (Damage{}) {
				t.Errorf("damaged again: %+v", d)
			}
		})
	}
}

// TestNoDisk opens a damaged store where no new one can be made: the name of
// that would be too long.
func TestNoDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("s", 252))
	check(t, os.Mkdir(dir, 0o700))
	check(t, os.WriteFile(filepath.Join(dir, "MANIFEST"), []byte("?"), 0o600))
	s := open(t, dir)
	defer s.Close()
	if d := s.Damage(); !d.Volatile || d.Kept != "" {
		t.Errorf("damage %+v", d)
	}
	check(t, s.Report(engine.Outcome{Component: name, Result: engine.Inconsistent}))
	if o, found, err := s.Outcome(name); err != nil || !found || o.Result != engine.Inconsistent {
		t.Errorf("outcome %+v, %v", o, err)
	}
	if err := s.Save(engine.Record{Update: engine.Update{Component: name}}); !errors.Is(err, errVolatile) {
		t.Errorf("an update could begin: %v", err)
	}
}

// TestOpeningEndsTheProcess: damage of the kind that no recover catches.
func TestOpeningEndsTheProcess(t *testing.T) {
	data := t.TempDir()
	fill(t, data, false)
	for range maxAttempts {
		count(filepath.Join(data, "store"))
	}
	if d := survives(t, data); d.Found == nil {
		t.Error("it does not tell")
	}
}

// TestCopyIsBehind: the process ended between the database and the copy.
func TestCopyIsBehind(t *testing.T) {
	data := t.TempDir()
	dir := filepath.Join(data, "store")
	s := open(t, dir)
	check(t, s.Commit(name, engine.Installed{Version: "1.0.0"}))
	s.copies = copiesOf(filepath.Join(t.TempDir(), "elsewhere"))
	check(t, s.Commit(name, engine.Installed{Version: "2.0.0"}))
	s = reopen(t, s, dir)
	defer s.Close()
	if i, _ := s.Installed(name); i.Version != "2.0.0" || s.Damage() != (Damage{}) {
		t.Errorf("%+v, %+v", i, s.Damage())
	}
	newest, err := s.copies.newest()
	if diff := cmp.Diff(s.now, newest); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

// TestCutWhileWriting: the power fails before the database and the copy have
// both reached the disk, or either. What was written before is there, nothing is
// said of damage, and the write that was cut off is there whole or not at all.
func TestCutWhileWriting(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	s := open(t, filepath.Join(data, "store"))
	for n := range 3 {
		check(t, s.Commit(name, engine.Installed{Version: fmt.Sprint(n)}))
	}
	before := readTree(t, data)
	check(t, s.Save(engine.Record{Format: 1, Step: "cut off", Update: engine.Update{Component: name}}))
	after := readTree(t, data)
	check(t, s.Close())
	for _, cut := range []struct {
		when             string
		database, copied map[string][]byte
		torn, done       bool
	}{
		{"neither", before, before, false, false},
		{"the copy is torn", before, after, true, false},
		{"the copy is there", before, after, false, true},
		{"the database is there", after, before, false, true},
		{"the database is there, the copy is torn", after, after, true, true},
		{"both", after, after, false, true},
	} {
		t.Run(cut.when, func(t *testing.T) {
			data := t.TempDir()
			writeTree(t, data, cut.copied)
			check(t, os.RemoveAll(filepath.Join(data, "store")))
			for path, b := range cut.database {
				if strings.HasPrefix(path, "store/") {
					writeTree(t, data, map[string][]byte{path: b})
				}
			}
			if cut.torn {
				check(t, halve(copiesOf(filepath.Join(data, "store"))[4%2]))
			}
			for range 2 { // and another one comes while it opens
				s := open(t, filepath.Join(data, "store"))
				_, found, err := s.Load(name)
				i, _ := s.Installed(name)
				if err != nil || found != cut.done || i.Version != "2" || s.Damage() != (Damage{}) {
					t.Errorf("written %v, %v; installed %+v; damage %+v", found, err, i, s.Damage())
				}
				check(t, s.Close())
			}
		})
	}
}

// openDefaults opens a database twice with badger's own options.
func openDefaults(dir string) error {
	for range 2 {
		db, err := badger.Open(badger.DefaultOptions(dir).WithLogger(nil))
		if err != nil {
			return err
		}
		if err := db.Close(); err != nil {
			return err
		}
	}
	return nil
}

func FuzzDecode(f *testing.F) {
	b, _ := image{Serial: 1}.encode()
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte(checksum([]byte("null")) + "\nnull"))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = decode(b) })
}

func TestLogIsQuietOnAWholeStore(t *testing.T) {
	var out bytes.Buffer
	s, err := Open(filepath.Join(t.TempDir(), "db"), slog.New(slog.NewTextHandler(&out, nil)))
	check(t, err)
	check(t, s.Close())
	if out.Len() > 0 {
		t.Error(out.String())
	}
}
