package state

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// A label says of what an archive is the state. It is the comment of a global
// header (POSIX pax), which other programs pass over.
type label struct {
	Component string `json:"component"`
	Meta
	Digest string `json:"digest"` // of the files, see listing.digest
}

const (
	commentKey   = "comment"
	labelName    = "tranquil state "
	attributeKey = "SCHILY.xattr." // as GNU tar and star write them
)

// write begins an archive.
func (l label) write(archive *tar.Writer) error {
	text, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return archive.WriteHeader(&tar.Header{
		Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{commentKey: labelName + string(text)},
	})
}

// readLabel reads a global header; that of another program says nothing.
func readLabel(h *tar.Header) (l label, found bool, err error) {
	text, found := strings.CutPrefix(h.PAXRecords[commentKey], labelName)
	if !found {
		return l, false, nil
	}
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return l, false, fmt.Errorf("what the archive says of itself cannot be read: %w", err)
	}
	return l, true, nil
}

// belong writes into a header what belongs to a file.
func belong(h *tar.Header, name string) error {
	b, err := replica.Of(name)
	if err != nil {
		return err
	}
	h.Uid, h.Gid, h.ModTime = b.User, b.Group, b.Modified
	for key, value := range b.Attributes {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[attributeKey+key] = value
	}
	return nil
}

// belongingsOf reads them back. What it returns does not keep the header in
// memory.
func belongingsOf(h *tar.Header) replica.Belongings {
	b := replica.Belongings{User: h.Uid, Group: h.Gid, Mode: uint32(h.Mode & 0o7777), Modified: h.ModTime}
	for key, value := range h.PAXRecords {
		if name, is := strings.CutPrefix(key, attributeKey); is {
			if b.Attributes == nil {
				b.Attributes = map[string]string{}
			}
			b.Attributes[strings.Clone(name)] = strings.Clone(value)
		}
	}
	return b
}

// Bounds of what an archive may hold, besides the room that there is.
const (
	maxEntries    = 1 << 20
	maxDepth      = 64
	maxAttributes = 128 << 10 // bytes of a file's extended attributes: Linux takes half as much as one value, and as all names
	maxHeld       = 64 << 20  // bytes of names, and of directories' attributes: they stay in memory to the end
)

// errArchive is what an archive is refused for.
var errArchive = errors.New("this is no archive of a state")

// An unpacker makes the files of an archive that nobody vouches for: whatever
// is in it, nothing comes to lie outside the directory, nor more than there is
// room for. Symbolic links are made, and never followed.
type unpacker struct {
	dir     string
	room    int64                         // bytes that may still be written
	inodes  int64                         // entries that may still be made
	held    int64                         // bytes that stay in memory, see maxHeld
	outside bool                          // symbolic links may lead out of the state
	lending bool                          // files may be setuid, setgid or have capabilities
	kinds   map[string]byte               // by path: what was made there
	late    map[string]replica.Belongings // of directories, which are filled first
	label   label
	found   bool // the archive has a label
}

// unpack reads an archive to its end.
func (u *unpacker) unpack(r io.Reader) error {
	u.kinds = map[string]byte{".": tar.TypeDir}
	u.late = map[string]replica.Belongings{}
	end := &ending{from: r}
	archive := tar.NewReader(end)
	for n := 0; ; n++ {
		h, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF) && end.zeros < 2*blockSize:
			return fmt.Errorf("%w: it breaks off", errArchive)
		case errors.Is(err, io.EOF):
			return u.dress()
		case err != nil:
			return fmt.Errorf("%w: %w", errArchive, cutOff(err))
		case n > maxEntries:
			return fmt.Errorf("%w: it has more than %d entries", errArchive, maxEntries)
		}
		if err := u.entry(h, archive); err != nil {
			return fmt.Errorf("%w: %.200q: %w", errArchive, h.Name, cutOff(err))
		}
	}
}

func cutOff(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it breaks off")
	}
	return err
}

const blockSize = 512

// entryCost is what an entry takes of a disk beside its content, bytes.
const entryCost = 4 << 10

// An ending counts the zeros with which what was read ends: an archive ends
// with two blocks of them, and one that was cut off most likely does not.
type ending struct {
	from  io.Reader
	zeros int
}

func (e *ending) Read(p []byte) (int, error) {
	n, err := e.from.Read(p)
	i := n
	for i > 0 && p[i-1] == 0 {
		i--
	}
	if i > 0 {
		e.zeros = 0
	}
	e.zeros += n - i
	return n, err
}

// entry makes one file.
func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		l, found, err := readLabel(h)
		if found {
			u.label, u.found = l, true
		}
		return err
	}
	name := strings.Clone(path.Clean(h.Name)) // without the header, which may be long
	b := belongingsOf(h)
	if err := u.count(h, name, b); err != nil {
		return err
	}
	if name == "." && h.Typeflag == tar.TypeDir {
		u.late[name] = b
		return nil
	}
	if err := u.check(h.Name, name); err != nil {
		return err
	}
	to := filepath.Join(u.dir, filepath.FromSlash(name))
	var err error
	switch h.Typeflag {
	case tar.TypeDir:
		u.late[name] = b
		err = os.Mkdir(to, 0o700)
	case tar.TypeReg:
		if err := u.lends(b); err != nil {
			return err
		}
		if err = writeContent(to, content, h.Size); err == nil {
			err = b.Set(to)
		}
	case tar.TypeSymlink:
		if err = u.leads(name, h.Linkname); err == nil {
			if err = os.Symlink(h.Linkname, to); err == nil {
				err = b.Set(to)
			}
		}
	case tar.TypeLink:
		other := path.Clean(h.Linkname)
		if u.kinds[other] != tar.TypeReg {
			return fmt.Errorf("it is a link to %.200q, which is no file that came before", h.Linkname)
		}
		err = os.Link(filepath.Join(u.dir, filepath.FromSlash(other)), to)
	default:
		return fmt.Errorf("it is of kind %q: a state has directories, files and links", h.Typeflag)
	}
	u.kinds[name] = h.Typeflag
	return err
}

// count takes an entry from the room, and bounds what stays of it in memory.
func (u *unpacker) count(h *tar.Header, name string, b replica.Belongings) error {
	attributes := int64(0)
	for key, value := range b.Attributes {
		attributes += int64(len(key) + len(value))
	}
	if u.held += int64(len(name)); h.Typeflag == tar.TypeDir {
		u.held += attributes
	}
	u.room -= entryCost + int64(len(name)) + attributes
	u.inodes--
	switch {
	case u.inodes < 0:
		return errors.New("it has more files and directories than the disk has inodes for")
	case h.Size < 0 || h.Size > u.room:
		return errors.New("it has more than the disk has room for")
	case attributes > maxAttributes:
		return fmt.Errorf("it has more than %d bytes of extended attributes", maxAttributes)
	case u.held > maxHeld:
		return fmt.Errorf("the names and the directories' extended attributes are more than %d bytes together", maxHeld)
	}
	u.room -= h.Size
	return nil
}

// check refuses a name that leads elsewhere, or is there already.
func (u *unpacker) check(given, name string) error {
	_, again := u.kinds[name]
	switch {
	case strings.ContainsRune(given, 0) || given == "":
		return errors.New("that is no name")
	case path.IsAbs(given) || !filepath.IsLocal(given):
		return errors.New("the name leads out of the state")
	case strings.Count(name, "/") >= maxDepth:
		return fmt.Errorf("it lies deeper than %d directories", maxDepth)
	case again:
		return errors.New("it comes twice")
	case u.kinds[path.Dir(name)] != tar.TypeDir:
		return errors.New("its directory does not come before it")
	}
	return nil
}

// leads refuses a symbolic link that leads out of the state, or could through
// other links: the way up from where they lead is not the way that they tell.
func (u *unpacker) leads(name, target string) error {
	switch {
	case u.outside:
		return nil
	case path.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(name), target)):
		return fmt.Errorf("it is a symbolic link to %.200q, out of the state: --outside lets such links be", target)
	case upAfterDown(target):
		return fmt.Errorf("it is a symbolic link to %.200q, with .. after a name, which may lead out of the state: --outside lets such links be", target)
	}
	return nil
}

// lends refuses a program that gives whoever starts it rights of others.
func (u *unpacker) lends(b replica.Belongings) error {
	_, capable := b.Attributes["security.capability"]
	switch {
	case u.lending:
		return nil
	case b.Mode&0o6000 != 0:
		return errors.New("it runs with the rights of its owner or group (setuid, setgid): --privileged lets such files be")
	case capable:
		return errors.New("it runs with capabilities: --privileged lets such files be")
	}
	return nil
}

// upAfterDown reports whether a path has .. after a name.
func upAfterDown(target string) bool {
	down := false
	for element := range strings.SplitSeq(target, "/") {
		switch element {
		case "", ".":
		case "..":
			if down {
				return true
			}
		default:
			down = true
		}
	}
	return false
}

// dress gives directories what belongs to them, the deepest first: one may not
// be entered any more then.
func (u *unpacker) dress() error {
	for _, name := range slices.Backward(slices.Sorted(maps.Keys(u.late))) {
		b := u.late[name]
		if err := b.Set(filepath.Join(u.dir, filepath.FromSlash(name))); err != nil {
			return err
		}
	}
	return nil
}

// writeContent writes a file; zeros become holes, so that the file takes no more
// room than it took before.
func writeContent(name string, content io.Reader, size int64) (err error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	block := make([]byte, 64<<10)
	var at int64
	for at < size {
		n, err := io.ReadFull(content, block[:min(int64(len(block)), size-at)])
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		if !allZero(block[:n]) {
			if _, err := f.WriteAt(block[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
	}
	return f.Truncate(size)
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
