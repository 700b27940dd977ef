package host

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/fingerprint"
)

// An Identity is what the file system says of one content of a file.
type Identity struct {
	Device, Inode           uint64
	Size, Modified, Changed int64 // bytes; ns since 1970
}

// An identity is one, and when it was read.
type identity struct {
	Identity
	Seen int64 // ns since 1970
}

func identify(f *os.File) (identity, error) {
	begin := time.Now()
	info, err := f.Stat()
	if err != nil {
		return identity{}, err
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{}, errors.New("unknown file system")
	}
	return identity{Identity{uint64(s.Dev), uint64(s.Ino), info.Size(), s.Mtim.Nano(), s.Ctim.Nano()}, begin.UnixNano()}, nil
}

// coarse is longer than a tick of any file system's clock.
const coarse = 2 * time.Second

// settled reports whether a change after i was read would have been seen: one
// in the same tick of the clock is not.
func (i identity) settled() bool { return i.Seen-i.Changed > int64(coarse) }

// same reports whether a file that looked like i now looks like now.
func (i identity) same(now identity) bool {
	return i.Inode != 0 && i.Identity == now.Identity
}

// An index tells which piece of an input became which part of the result. It
// lies in the directory out+".pieces", one file per file of the state, and is
// lost or stale after a crash: then digests tell what of the result is still
// good. It can be lost but not be wrong.
type index struct {
	Step   string // see [Host.Key]
	File   string
	Boot   string // of the device: identities of another one prove nothing
	Input  identity
	Output identity
	Key    fingerprint.Key // of the fingerprints of pieces
	Pieces []piece
}

// maxIndex bounds what is read into memory: 100,000 pieces are 30 GB of state.
const maxIndex = 32 << 20

// parseIndex wants what formatIndex wrote.
func parseIndex(data []byte) (index, error) {
	digest, data, _ := bytes.Cut(data, []byte("\n"))
	if fmt.Sprintf("%x", sha256.Sum256(data)) != string(digest) {
		return index{}, errors.New("index is damaged")
	}
	var x index
	if err := json.Unmarshal(data, &x); err != nil {
		return index{}, err
	}
	for _, p := range x.Pieces {
		if p.Size <= 0 || p.Made < 0 {
			return index{}, errors.New("index has an impossible piece")
		}
	}
	return x, nil
}

func formatIndex(x index) ([]byte, error) {
	data, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, "%x\n%s", sha256.Sum256(data), data), nil
}

// indexPath is where the index of a file is.
func (s *stage) indexPath(file string) string {
	return filepath.Join(s.memo+".pieces", fmt.Sprintf("%x", sha256.Sum256([]byte(file))))
}

// Key is a digest of all that a result of the step depends on, beside its
// input. Where the module lies does not count, only its digest. Of the limits
// memory does: a module may see that there is no more, and do something else
// then. The others, and all that bound it from outside, end it without a result.
func (h *Host) Key(step Step) string {
	step.Module, step.Limits = "", Limits{Memory: h.limits(step.Limits).Memory}
	data, err := json.Marshal(step)
	if err != nil {
		return "" // strings, numbers and maps of strings do not fail
	}
	return fmt.Sprintf("%x", sha256.Sum256(data))
}

// key is the step's, with the digest that the module has.
func (s *stage) key() string {
	if s.keyed == "" { // a schema may be long, and the files many
		step := s.Step
		step.Digest = fmt.Sprintf("%x", s.module.sum)
		s.keyed = s.host.Key(step)
	}
	return s.keyed
}

// recall finds the old result of a file and its index, if there are both.
func (s *stage) recall(p *split) error {
	if s.memo == "" {
		return nil
	}
	name := s.indexPath(p.path)
	info, err := os.Stat(name)
	if err != nil || info.Size() > maxIndex {
		return nil // without an index everything is transformed
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil // as above
	}
	x, err := parseIndex(data)
	if err != nil || x.Step != s.key() || x.File != p.path {
		return nil // as above
	}
	if x.Boot == "" || x.Boot != boot() {
		x.Input, x.Output = identity{}, identity{}
	}
	p.old, err = s.old.OpenFile(p.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	p.index = x
	return err
}

// boot names the time since the device was started.
func boot() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

// remember writes the index of a file that is complete.
func (s *stage) remember(p *split) error {
	x := index{Step: s.key(), File: p.path, Boot: boot(), Input: p.now, Key: p.key, Pieces: p.pieces}
	out, err := os.Open(filepath.Join(s.memo, p.path))
	if err != nil {
		return err
	}
	defer out.Close()
	if x.Output, err = identify(out); err != nil {
		return err
	}
	data, err := formatIndex(x)
	if err != nil {
		return err
	}
	name := s.indexPath(p.path)
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
