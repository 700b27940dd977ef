package store

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"syscall"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// Damage is what was wrong with a store when it was opened. The zero value
// says: nothing.
type Damage struct {
	Found    error  // what was found
	Kept     string // where the damaged database lies now, for inspection
	Lost     bool   // no copy was whole either, or all are gone: the store begins empty
	Volatile bool   // the disk takes nothing: what is written now is lost with the process
}

// Open opens or creates the database in dir, whose parent, the data
// directory, can be used by one agent only. A damaged one is set aside, and
// made anew from the newest copy. If the disk takes no new one either, the
// store works in memory, so that the agent can tell of it; the journal then
// cannot be written.
func Open(dir string, log *slog.Logger) (*Store, error) {
	s := &Store{copies: copiesOf(dir)}
	var err error
	if s.lock, err = claim(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	if err := s.open(dir, log); err != nil {
		s.lock.Close()
		return nil, fmt.Errorf("cannot open store %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) open(dir string, log *slog.Logger) (err error) {
	newest, faults := s.copies.newest()
	if tried := attempts(dir); tried >= maxAttempts && newest.Serial > 0 || tried >= maxHopeless {
		err = fmt.Errorf("the agent ended %d times while it opened the store", tried)
	} else {
		s.db, s.now, err = load(dir, log)
	}
	if err == nil && s.now.Serial+1 == newest.Serial {
		err = s.finish(newest)
	}
	if err == nil && s.now.Serial < newest.Serial {
		err = fmt.Errorf("the store is at write %d, but its copy is at %d: it has lost some", s.now.Serial, newest.Serial)
		err = errors.Join(err, s.db.Close())
	}
	if err != nil {
		s.damage = Damage{Found: err, Lost: newest.Serial == 0}
		err = s.anew(dir, newest, log)
	}
	if err != nil || s.damage.Volatile {
		return err
	}
	if trace := traces(filepath.Dir(dir)); s.damage.Found == nil && s.now.Serial == 0 && newest.Serial == 0 && trace != "" {
		s.damage = Damage{Found: fmt.Errorf("the store and its copies are gone, but %s is there", trace), Lost: true}
	}
	if faults != nil { // a power cut may do that to one of them
		log.Warn("copies of the store are written anew", "cause", faults)
	}
	if s.now.Serial == 0 || faults == nil && s.damage.Found == nil && s.now.Serial == newest.Serial {
		return nil
	}
	return s.heal()
}

// finish brings into the database the last write, which a power cut has left in
// the copy alone. Nobody was told that it is done, unless the database has lost
// it afterwards; either way it is whole.
func (s *Store) finish(last image) error {
	if err := errors.Join(replace(s.db, s.now, last), s.db.Sync()); err != nil {
		return errors.Join(fmt.Errorf("cannot finish write %d: %w", last.Serial, err), s.db.Close())
	}
	s.now = last
	return nil
}

// traces returns something in the data directory that only an update leaves,
// after it has written its journal: a store that knows of none was lost.
func traces(data string) string {
	for _, pattern := range []string{"state/*/*/*", "content/sha256/*"} {
		if found, err := filepath.Glob(filepath.Join(data, pattern)); err == nil && len(found) > 0 {
			return found[0]
		}
	}
	return ""
}

// ErrInUse says that another agent works in the same data directory.
var ErrInUse = errors.New("another agent works there: end it, or give this one a directory of its own")

// claim locks a directory for this process, until the file is closed.
func claim(dir string) (*os.File, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot use data directory: %w", err)
	}
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		d.Close()
		return nil, fmt.Errorf("cannot use data directory %s: %w", dir, ErrInUse)
	}
	return d, nil
}

// Free returns [ErrInUse] if another agent works with the store of dir.
func Free(dir string) error {
	d, err := claim(filepath.Dir(dir))
	if errors.Is(err, ErrInUse) {
		return err
	}
	if err == nil {
		d.Close()
	}
	return nil // whoever opens it says what else is wrong
}

// heal writes both copies anew.
func (s *Store) heal() error {
	for range s.copies {
		if err := s.write(); err != nil {
			return err
		}
	}
	return nil
}

// anew begins a database with what a copy holds. First it proves that the
// disk takes one: otherwise the old one is not what is broken.
func (s *Store) anew(dir string, content image, log *slog.Logger) error {
	fresh := dir + ".new"
	err := os.RemoveAll(fresh)
	if err == nil {
		s.db, s.now, err = load(fresh, log)
	}
	if err == nil {
		err = errors.Join(replace(s.db, s.now, content), s.db.Close())
	}
	if err == nil {
		s.damage.Kept, err = setAside(dir)
	}
	if err == nil {
		err = os.Rename(fresh, dir)
	}
	if err == nil {
		os.Remove(attemptsFile(dir))
		s.db, s.now, err = load(dir, log)
	}
	if err == nil {
		return nil
	}
	s.damage.Found, s.damage.Volatile = errors.Join(s.damage.Found, fmt.Errorf("cannot begin a new store: %w", err)), true
	s.db, err = badger.Open(small("").WithInMemory(true).WithLogger(logger{log}))
	if err != nil {
		return err
	}
	s.now = content
	if s.now.Content == nil {
		s.now.Content = map[string]json.RawMessage{}
	}
	return replace(s.db, image{}, content)
}

// maxKept is how many damaged stores are kept for inspection.
const maxKept = 3

// setAside renames a damaged database; the oldest of too many is removed.
func setAside(dir string) (kept string, err error) {
	if _, err := os.Lstat(dir); err != nil {
		return "", nil
	}
	if kept, err = rotate(dir); err != nil {
		return "", err
	}
	return kept, os.Rename(dir, kept)
}

// rotate makes room for one more thing to be kept, and returns its path.
func rotate(dir string) (path string, err error) {
	name := func(n int) string { return dir + ".damaged-" + strconv.Itoa(n) }
	if err := os.RemoveAll(name(maxKept)); err != nil {
		return "", err
	}
	for n := range slices.Backward(make([]struct{}, maxKept-1)) {
		if err := os.Rename(name(n+1), name(n+2)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	return name(1), nil
}

// Damage can be of a kind that makes badger end the process. So the attempts
// to open it are counted in a file, one byte each, that is removed when one
// has succeeded.
const (
	maxAttempts = 2 // if there is a copy to go on from
	maxHopeless = 4 // if not
)

func attemptsFile(dir string) string { return dir + ".opening" }

func attempts(dir string) int {
	info, err := os.Stat(attemptsFile(dir))
	if err != nil {
		return 0
	}
	return int(info.Size())
}

// count notes an attempt; on a full disk it cannot, and need not.
func count(dir string) {
	f, err := os.OpenFile(attemptsFile(dir), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err == nil {
		_, _ = f.WriteString(".")
		f.Close()
	}
}

// load opens a database and reads all of it.
func load(dir string, log *slog.Logger) (db *badger.DB, all image, err error) {
	count(dir)
	defer os.Remove(attemptsFile(dir))
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // badger maps its files
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("badger cannot read it: %v", p)
		}
	}()
	if err := checkTables(dir); err != nil {
		return nil, all, err
	}
	if db, err = badger.Open(small(dir).WithLogger(logger{log})); err != nil {
		return nil, all, err
	}
	if all, err = read(db); err != nil {
		return nil, all, errors.Join(err, db.Close())
	}
	return db, all, nil
}

// checkTables looks at the one thing that badger believes unseen, in a
// goroutine where a panic cannot be caught: the two lengths at the end of a
// table (table.go, initIndex). All else in a table has a checksum. A table
// that is not in the manifest was being written when the process was killed:
// badger removes it, and what it was made of is still there.
func checkTables(dir string) error {
	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	listed := listedTables(dir)
	for _, path := range tables {
		if listed != nil && !listed[filepath.Base(path)] {
			continue
		}
		b, err := os.ReadFile(path) // at most a few megabytes
		if err != nil {
			return err
		}
		rest := b
		for range 2 { // the checksum of the index, and the index
			if len(rest) < 4 {
				return fmt.Errorf("table %s is cut off", filepath.Base(path))
			}
			end := len(rest) - 4
			n := int64(binary.BigEndian.Uint32(rest[end:]))
			if n == 0 || n > int64(end) {
				return fmt.Errorf("table %s is garbage", filepath.Base(path))
			}
			rest = rest[:end-int(n)]
		}
	}
	return err
}

// listedTables returns the names of the tables in the manifest, nil if that
// cannot be read: badger then says why.
func listedTables(dir string) map[string]bool {
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if err != nil {
		return nil
	}
	defer f.Close()
	m, _, err := badger.ReplayManifestFile(f, 0, small(dir).WithLogger(nil))
	if err != nil {
		return nil
	}
	listed := make(map[string]bool, len(m.Tables))
	for id := range m.Tables {
		listed[fmt.Sprintf("%06d.sst", id)] = true
	}
	return listed
}

// small keeps badger within a few megabytes, and its memory maps within a
// 32-bit address space: the defaults fail to open a database a second time
// there.
func small(dir string) badger.Options {
	return badger.DefaultOptions(dir).
		WithSyncWrites(false). // Store.write syncs, with the copy
		WithMemTableSize(1 << 20).WithNumMemtables(1).
		WithNumCompactors(0).WithNumLevelZeroTablesStall(stallFresh). // see compact
		WithBaseTableSize(1 << 20).WithBaseLevelSize(2 << 20).
		WithValueLogFileSize(4 << 20).WithValueThreshold(32 << 10).
		WithBlockCacheSize(0).WithIndexCacheSize(0). // a cache has a clock, which wakes the device up
		WithCompression(options.None).WithMetricsEnabled(false).
		WithVerifyValueChecksum(true).WithChecksumVerificationMode(options.OnTableAndBlockRead)
}

// read returns all that a database holds, if it makes sense.
func read(db *badger.DB) (image, error) {
	all := image{Content: map[string]json.RawMessage{}}
	err := db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			key := string(it.Item().Key())
			b, err := it.Item().ValueCopy(nil)
			if err != nil {
				return fmt.Errorf("cannot read %s: %w", key, err)
			}
			if !json.Valid(b) {
				return fmt.Errorf("cannot read %s: it is no JSON", key)
			}
			all.Content[key] = b
		}
		return nil
	})
	if err == nil && len(all.Content) > 0 {
		err = json.Unmarshal(all.Content[serialKey], &all.Serial)
		delete(all.Content, serialKey)
	}
	return all, err
}

// replace turns a database that holds old into one that holds next, at once.
func replace(db *badger.DB, old, next image) error {
	return db.Update(func(txn *badger.Txn) error {
		for key := range old.Content {
			if _, stays := next.Content[key]; stays {
				continue
			}
			if err := txn.Delete([]byte(key)); err != nil {
				return err
			}
		}
		for key, value := range next.Content {
			if string(old.Content[key]) == string(value) {
				continue
			}
			if err := txn.Set([]byte(key), value); err != nil {
				return err
			}
		}
		return txn.Set([]byte(serialKey), strconv.AppendUint(nil, next.Serial, 10))
	})
}
