package state

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/fingerprint"
	"github.com/tranquil-iot/tranquil/sdk/replica"
	"golang.org/x/sys/unix"
)

// A book knows the digests of files that were read before, so that a file
// which has not changed since need not be read again. Like git's index it goes
// by what the file system says of a file, but by inode rather than by name: so
// it knows a file again behind every hard link and in a renamed directory.
//
// A change always gives a file a new change time, with two exceptions, and
// both are seen to. A change within the same tick of the clock as the one
// before: a file that was read so early is read again ([record.Early]). And
// memory that is mapped, which gives a change time with the first write after
// the page was brought to the disk, but not with those that follow. So while a
// component runs, files are brought to the disk before they are read
// ([book.scanLive]), and one that has changed since, or just before, is read again,
// on the file systems that do so ([faithful]).
type book struct {
	records  map[inode]*record
	marked   map[string]inode // by path: where a file with marks was seen last; what lies there now may be alike
	observed time.Time        // begin of the sync after which what is written is seen; zero if nobody writes

	key     fingerprint.Key
	printer *fingerprint.Printer // with that key; nil where digests are as fast
}

func newBook() *book {
	b := &book{records: map[inode]*record{}, marked: map[string]inode{}}
	b.use(fingerprint.NewKey())
	return b
}

func (b *book) use(key fingerprint.Key) { b.key, b.printer = key, fingerprint.New(key) }

type inode struct{ Dev, Number uint64 }

// An identity is what tells one content of an inode from another.
type identity struct {
	Size, Modified, Changed int64 // bytes; ns since 1970
}

type record struct {
	inode
	identity
	Digest string
	Early  bool   // read too early after the last change: what followed it cannot be seen
	Marks  []mark `json:",omitempty"` // of a large file, see [mark]
	Path   string `json:",omitempty"` // of a file with marks

	head head
	// settled means that the component has stopped and the file has not
	// changed until then: a hard link, which changes the change time, does
	// not count any more.
	settled bool
	calm    int64 // Changed when it was settled
}

// A head is how much of a file's begin is as it was in an earlier content.
type head struct {
	inode
	identity // of the earlier content
	size     int64
}

func identify(info fs.FileInfo) (inode, identity) {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{}, identity{}
	}
	return inode{uint64(s.Dev), uint64(s.Ino)}, identity{info.Size(), s.Mtim.Nano(), s.Ctim.Nano()}
}

// knows reports whether the record tells the digest of what is there now.
func (r *record) knows(now identity) bool {
	if r.settled && r.Size == now.Size && r.Modified == now.Modified {
		return true
	}
	return !r.Early && r.identity == now
}

// digest returns the digest of a file below a directory.
func (b *book) digest(ctx context.Context, root, path string, at inode, now identity) (string, error) {
	old := b.records[at]
	if old != nil && old.knows(now) {
		if old.identity != now { // a settled one
			old.identity, old.Early = now, early(now, time.Now())
		}
		return old.Digest, nil
	}
	if old == nil { // perhaps it was replaced, or this is a copy
		old = b.records[b.marked[path]]
	}
	if old == nil {
		old = &record{}
	}
	r, err := b.read(ctx, filepath.Join(root, path), *old)
	if err != nil {
		return "", err
	}
	r.Early = r.Early || b.writing(r.identity)
	if len(r.Marks) > 0 {
		r.Path = path
		b.marked[path] = r.inode
	}
	b.records[r.inode] = &r
	return r.Digest, nil
}

// unchanged reports whether a file has the same attributes as when a look at
// it gave this node: they have no time of their own, but a change of them is
// one of the file.
func (b *book) unchanged(before, now *node) bool {
	if before.at != now.at || before.now.Size != now.now.Size || before.now.Modified != now.now.Modified {
		return false
	}
	r := b.records[now.at]
	return r != nil && (before.now == now.now && !r.Early || r.settled && r.calm == before.now.Changed)
}

// keep has a file known again that this process has just touched, and that
// still has the digest.
func (b *book) keep(name, digest string) (n node, err error) {
	info, err := os.Lstat(name)
	if err != nil {
		return n, err
	}
	n.at, n.now = identify(info)
	n.links = links(info)
	r := b.records[n.at]
	if r == nil || r.Digest != digest {
		r = &record{inode: n.at, Digest: digest}
		b.records[n.at] = r
	}
	r.identity, r.Early, r.settled = n.now, false, false
	return n, nil
}

// own is digest for a file that this process has just made, or of which it
// has left so many bytes as they were and written the rest, where nobody else
// writes: nothing follows in the tick of its last change, which need not be
// waited for.
func (b *book) own(ctx context.Context, name string, kept int64) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	r, err := stat(f)
	if err != nil {
		return "", err
	}
	var marks []mark
	if old := b.records[r.inode]; old != nil {
		marks = old.Marks
	}
	r.Digest, r.Marks, err = digestFrom(until{ctx, f}, marks[:min(kept/markSpan, int64(len(marks)))], b.printer)
	if err != nil {
		return "", err
	}
	r.Early = false
	b.records[r.inode] = &r
	return r.Digest, nil
}

// observe brings to the disk what a component has written. A write that begins
// from the returned time on is seen. One that has begun before, and has its
// time, may still wait for the disk, for as long as that takes to write: so it
// is given that time, and then the file is brought to the disk again.
func observe(root string) (time.Time, error) {
	first := time.Now()
	if err := syncFileSystem(root); err != nil {
		return first, err
	}
	time.Sleep(time.Since(first))
	begin := time.Now()
	return begin, syncFileSystem(root)
}

// scanLive is scan for a state that somebody may write to, since observe.
func (b *book) scanLive(ctx context.Context, root string, observed time.Time) (listing, error) {
	b.observed = observed
	defer func() { b.observed = time.Time{} }()
	return b.scan(ctx, root)
}

// writing reports whether a file that was just read may get another content
// without another time: it was written since observe, by a write to a mapped page,
// perhaps, which further ones follow unseen; or so shortly before that this write
// may still be under way, since a write gives the time when it begins. If the wall
// clock was set meanwhile, nobody knows.
func (b *book) writing(i identity) bool {
	if b.observed.IsZero() {
		return false
	}
	now := time.Now()
	if set := now.Round(0).Sub(b.observed.Round(0)) - now.Sub(b.observed); set.Abs() > tick(i.Changed)/2 {
		return true
	}
	since := func(stamp int64, d time.Duration) bool {
		return stamp+int64(d) >= b.observed.UnixNano() && !ahead(stamp, now)
	}
	return since(i.Changed, tick(i.Changed)) || since(i.Modified, hot)
}

// stat begins the record of a file.
func stat(f *os.File) (r record, err error) {
	begin := time.Now()
	info, err := f.Stat()
	if err != nil {
		return record{}, err
	}
	r.inode, r.identity = identify(info)
	r.Early = early(r.identity, begin)
	return r, nil
}

// read reads a file, of which much may be as in an old record. If it
// changes meanwhile the record fits neither content, and its identity, from
// before, is not seen again.
func (b *book) read(ctx context.Context, name string, old record) (r record, err error) {
	f, err := os.Open(name)
	if err != nil {
		return record{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if r, err = stat(f); err != nil {
		return record{}, err
	}
	content := until{ctx, f}
	same := old.Marks[:alike(content, r.Size, old.Marks, b.printer)]
	if !old.Early {
		r.head = head{old.inode, old.identity, int64(len(same)) * markSpan}
	}
	r.Digest, r.Marks, err = digestFrom(content, same, b.printer)
	return r, err
}

// early reports whether a file could change at that time without a new change
// time.
func early(i identity, at time.Time) bool {
	return at.UnixNano() < i.Changed+int64(tick(i.Changed)) && !ahead(i.Changed, at)
}

// ahead reports whether a stamp is from before the clock was set back: it is
// so far in the future that what changes now gets another one. Without that
// the state would be read again in each update until the clock comes there.
func ahead(stamp int64, at time.Time) bool {
	return stamp-at.UnixNano() > int64(time.Hour)
}

// tick is longer than a step of the clock that the file system stamps with:
// a few milliseconds, or whole seconds where it keeps no more.
func tick(stamp int64) time.Duration {
	if stamp%int64(time.Second) == 0 {
		return 2 * time.Second
	}
	return 100 * time.Millisecond
}

// same reports whether a file is what it was when it was read.
func (b *book) same(name string) bool {
	info, err := os.Lstat(name)
	if err != nil {
		return false
	}
	at, now := identify(info)
	r := b.records[at]
	return r != nil && r.identity == now && (!r.Early || links(info) == 1)
}

// settle has the files below a directory count as known that have not changed
// since they were read, whatever hard links are made from now on. It returns
// what it has seen. Those files that have another name elsewhere, the
// component's, stay what they are, since nobody writes to them any more, and
// their inodes stay theirs.
func (b *book) settle(root string) (folders, error) {
	if !faithful(root) {
		return nil, nil
	}
	found, err := explore(context.Background(), root, nil)
	if err != nil {
		return nil, err
	}
	names := map[inode]uint64{} // below the directory
	_ = found.each(func(e *entry) error {
		at, now := e.identify()
		if r := b.records[at]; r != nil && !r.Early && r.identity == now {
			r.settled, r.calm = true, r.Changed
		}
		if e.regular() && e.stat.Nlink > 1 {
			names[at]++
		}
		return nil
	})
	if !replica.Numbered(root) {
		return nil, nil
	}
	return found, found.each(func(e *entry) error {
		at, _ := e.identify()
		e.still = names[at] > 0 && names[at] < uint64(e.stat.Nlink) //nolint:unconvert // other widths on other systems
		return nil
	})
}

// unsettle ends what settle began.
func (b *book) unsettle() {
	for _, r := range b.records {
		r.settled = false
	}
}

func links(info fs.FileInfo) uint64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(s.Nlink)
	}
	return 1
}

// faithful reports whether a file system stamps also what is written through
// mapped memory, once the file has been brought to the disk.
func faithful(dir string) bool {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return false
	}
	switch uint32(s.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, ubifsMagic:
		return true
	}
	return false
}

const ubifsMagic = 0x24051905

// A savedBook is a book on the disk. Inodes and times of another boot are not
// trusted: what was written before a power cut may be lost, and a device
// number may mean another disk.
type savedBook struct {
	Boot    string
	Key     fingerprint.Key // of the fingerprints of marks
	Records []record
}

func (b *book) write(name string) error {
	s := savedBook{Boot: boot(), Key: b.key}
	for _, r := range b.records {
		s.Records = append(s.Records, *r)
	}
	return writeChecked(name, s)
}

// readBook returns an empty book if there is none that can be trusted.
func readBook(name string) *book {
	b := newBook()
	var s savedBook
	if readChecked(name, &s) != nil || s.Boot == "" || s.Boot != boot() {
		return b
	}
	if s.Key != (fingerprint.Key{}) { // else an older agent wrote it, without fingerprints
		b.use(s.Key)
	}
	for _, r := range s.Records {
		b.records[r.inode] = &r
		if len(r.Marks) > 0 {
			b.marked[r.Path] = r.inode
		}
	}
	return b
}

func boot() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}
