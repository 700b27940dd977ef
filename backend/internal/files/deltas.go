package files

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/delta"
	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/space"
)

const (
	// worthwhile is what part of its target a delta may have at most.
	worthwhile = 2
	// leastDelta is the least size of a blob that has deltas, in bytes: below that the
	// question costs more than the answer saves.
	leastDelta = 4 << 10
	maxBases   = 8 // of a question
)

// A hint says that there is a delta. Nobody has signed it; what comes out is all
// that counts. Without a size there is none, and it need not be tried again.
type hint struct {
	Base    string `json:"base"`
	Digest  string `json:"digest"`
	Size    int64  `json:"size"`
	Memory  int64  `json:"memory"`  // bytes that applying it takes
	Scratch int64  `json:"scratch"` // bytes of the disk, likewise
	Format  int    `json:"format"`  // 0 is 1, of servers before there was another one
}

// deltas are made beside everything else, one at a time: from the packages before a
// package to it. Their blobs are among the others; the hints of a target are in a file.
type deltas struct {
	last int // packages before one; 0: no deltas
	wake chan struct{}

	mu    sync.Mutex
	due   []*pack.Package   // were published, or are the newest
	hints map[string][]hint // by target
}

func openDeltas(last int) *deltas {
	return &deltas{last: last, wake: make(chan struct{}, 1), hints: map[string][]hint{}}
}

func (c *catalog) deltaDir() string { return filepath.Join(c.dir, "deltas") }

func (c *catalog) hintPath(target string) string {
	return filepath.Join(c.deltaDir(), strings.TrimPrefix(target, "sha256:")+".json")
}

// readHints reads what was made before. What is damaged is made again.
func (c *catalog) readHints() error {
	if err := os.MkdirAll(c.deltaDir(), 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(c.deltaDir())
	if err != nil {
		return err
	}
	for _, e := range entries {
		target := "sha256:" + strings.TrimSuffix(e.Name(), ".json")
		b, err := os.ReadFile(filepath.Join(c.deltaDir(), e.Name()))
		if err != nil || pack.CheckDigest(target) != nil {
			continue
		}
		var all []hint
		if err := json.Unmarshal(b, &all); err != nil {
			c.log.Warn("hints of deltas are damaged and made again", "target", target, "err", err)
			continue
		}
		c.deltas.hints[target] = all
	}
	for _, versions := range c.versions {
		c.deltas.want(versions[0])
	}
	return nil
}

// want has the deltas to a package be made.
func (d *deltas) want(p *pack.Package) {
	if d.last == 0 {
		return
	}
	d.mu.Lock()
	d.due = append(d.due, p)
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// next is the package whose deltas are to be made, until it is done; nil if there is
// none.
func (d *deltas) next() *pack.Package {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.due) == 0 {
		return nil
	}
	return d.due[0]
}

func (d *deltas) done() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.due = d.due[1:]
}

// comes reports whether a delta to a blob may still be made.
func (d *deltas) comes(target string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.ContainsFunc(d.due, func(p *pack.Package) bool {
		return slices.ContainsFunc(p.Blobs(), func(b pack.Descriptor) bool { return b.Digest == target })
	})
}

// of lists the hints of a target.
func (d *deltas) of(target string) []hint {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hints[target]
}

// keepDeltas makes what is due, until ctx ends.
func (c *catalog) keepDeltas(ctx context.Context) error {
	for {
		for p := c.deltas.next(); p != nil && ctx.Err() == nil; p = c.deltas.next() {
			for _, pair := range c.pairs(p) {
				if ctx.Err() != nil {
					return nil
				}
				c.tryDelta(p, pair)
			}
			c.deltas.done()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.deltas.wake:
		}
	}
}

// tryDelta makes a delta to a package, if it can. One of the two may be gone by then.
func (c *catalog) tryDelta(p *pack.Package, of pair) {
	err := c.prepareDelta(p.Manifest.Component(), of)
	if err != nil && slices.Contains(c.pairs(p), of) {
		c.log.Error("cannot make delta", "component", p.Manifest.Component(), "version", p.Manifest.Version, "base", of.base.Digest, "err", err)
	}
}

// A pair of blobs, of which a device may have the one when it needs the other.
type pair struct{ base, target pack.Descriptor }

// pairs are those of a package and the packages of the last versions before it: its
// artifacts, each with that which the same device has, and its transforms.
func (c *catalog) pairs(p *pack.Package) (all []pair) {
	c.mu.RLock()
	versions := c.versions[p.Manifest.Component()]
	c.mu.RUnlock()
	at := slices.Index(versions, p)
	if at < 0 {
		return nil // it was deleted since
	}
	add := func(base, target pack.Descriptor) {
		if x := (pair{base, target}); base.Digest != target.Digest && target.Size >= leastDelta && !slices.Contains(all, x) {
			all = append(all, x)
		}
	}
	for _, before := range versions[at+1 : min(len(versions), at+1+c.deltas.last)] {
		for _, a := range p.Artifacts {
			for _, b := range before.Artifacts {
				if a.Platform() == b.Platform() && a.MediaType == b.MediaType {
					add(b.Descriptor, a.Descriptor)
				}
			}
		}
		for _, t := range p.Transforms {
			for _, b := range before.Transforms {
				if t.From == b.From && t.To == b.To {
					add(b.Descriptor, t.Descriptor)
				}
			}
		}
	}
	return all
}

// prepareDelta makes the delta of a pair, unless that was done.
func (c *catalog) prepareDelta(component string, p pair) error {
	done := func(h hint) bool {
		return h.isLike(hint{Base: p.base.Digest, Format: delta.Format}) && (h.Size == 0 || c.has(h.Digest))
	}
	if slices.ContainsFunc(c.deltas.of(p.target.Digest), done) {
		return nil
	}
	for _, d := range []pack.Descriptor{p.base, p.target} {
		if c.upstream != nil && !c.has(d.Digest) {
			if err := c.fetch(component, d); err != nil {
				return err
			}
		}
	}
	began := time.Now()
	f, err := os.CreateTemp(c.uploads(), "delta-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	h, err := c.makeDelta(f, p)
	switch {
	case errors.Is(err, errNoSpace):
		c.log.Warn("a blob has no delta now: the disk has too little free", "target", p.target.Digest, "base", p.base.Digest, "why", err)
		return nil
	case errors.Is(err, delta.ErrNone):
		c.log.Info("a blob has no delta", "target", p.target.Digest, "base", p.base.Digest, "why", err)
	case err != nil:
		return err
	}
	c.writes.Lock()
	defer c.writes.Unlock()
	if h.Size > 0 {
		if err := c.takeDelta(f, h); err != nil {
			return err
		}
		c.log.Info("delta made", "target", p.target.Digest, "base", p.base.Digest, "bytes", h.Size, "of", p.target.Size, "took", time.Since(began).Round(time.Millisecond))
	}
	return c.noteHint(p.target.Digest, h)
}

func (c *catalog) has(digest string) bool {
	_, err := os.Stat(c.blobPath(digest))
	return err == nil
}

// makeDelta writes the delta of a pair to f, and applies it: what is served has made
// the target here.
func (c *catalog) makeDelta(f *os.File, p pair) (hint, error) {
	h := hint{Base: p.base.Digest, Format: delta.Format}
	base, err := os.Open(c.blobPath(p.base.Digest))
	if err != nil {
		return h, err
	}
	defer base.Close()
	target, err := os.Open(c.blobPath(p.target.Digest))
	if err != nil {
		return h, err
	}
	defer target.Close()
	unpacked := int64(0)
	if p.target.MediaType == pack.MediaTypeArtifact {
		if unpacked, err = c.spareDisk(); err != nil {
			return h, err
		}
	}
	err = delta.Make(f, base, target, unpacked, c.scratch)
	if errors.Is(err, delta.ErrNone) && unpacked > 0 && unpacked < delta.MaxSize {
		err = fmt.Errorf("%w: %w", errNoSpace, err)
	}
	if err != nil {
		return h, err
	}
	made := sha256.New()
	if err := delta.Apply(made, f, base, c.scratch); err != nil {
		return h, err
	}
	if got := digestOf(made); got != p.target.Digest {
		return h, fmt.Errorf("it makes %s instead", got)
	}
	return h, h.describe(f, p.target.Size)
}

// describe notes what a delta is, if it is worthwhile.
func (h *hint) describe(f *os.File, target int64) error {
	sum := sha256.New()
	size, err := io.Copy(sum, io.NewSectionReader(f, 0, 1<<62))
	if err != nil || size > target/worthwhile {
		return err
	}
	h.Digest, h.Size, h.Memory = digestOf(sum), size, delta.Memory
	h.Scratch, err = delta.Needs(f)
	return err
}

func digestOf(sum hash.Hash) string { return "sha256:" + hex.EncodeToString(sum.Sum(nil)) }

// errNoSpace says that a delta takes more of the disk than it may.
var errNoSpace = errors.New("no room to make it")

// spareDisk is how many bytes one of the two layers of a delta may take of the disk
// while it is made: with what comes out they leave a quarter of what is free.
func (c *catalog) spareDisk() (int64, error) {
	room, err := space.Left(c.uploads(), space.Reserve)
	if err == nil && room.Bytes < 4 {
		err = errNoSpace
	}
	return min(room.Bytes/4, delta.MaxSize), err
}

// scratch makes a file that is gone when it is closed, or the process ends.
func (c *catalog) scratch(int64) (*os.File, error) {
	f, err := os.CreateTemp(c.uploads(), "scratch-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// takeDelta makes a delta a blob. writes are held.
func (c *catalog) takeDelta(f *os.File, h hint) error {
	if err := c.quota.take(h.Size); err != nil {
		return err
	}
	before, err := c.replace(h.Digest, func(path string) error { return settle(f, path) })
	if err != nil {
		before = h.Size
	}
	c.quota.give(before)
	return err
}

// isLike reports whether two hints are of deltas from the same base, in the same format.
func (h hint) isLike(o hint) bool {
	return h.Base == o.Base && max(h.Format, 1) == max(o.Format, 1)
}

// noteHint adds a hint to those of a target, in place of one like it.
// writes are held.
func (c *catalog) noteHint(target string, h hint) error {
	all := slices.DeleteFunc(slices.Clone(c.deltas.of(target)), func(o hint) bool { return o.isLike(h) })
	return c.setHints(target, append(all, h))
}

func (c *catalog) setHints(target string, all []hint) error {
	err := os.Remove(c.hintPath(target))
	if len(all) > 0 {
		err = c.writeJSON(c.hintPath(target), all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot note delta: %w", err)
	}
	c.deltas.mu.Lock()
	defer c.deltas.mu.Unlock()
	if c.deltas.hints[target] = all; len(all) == 0 {
		delete(c.deltas.hints, target)
	}
	return nil
}

// dropDeltas forgets the deltas from and to blobs that nothing names any more. Their
// blobs are swept away. writes are held.
func (c *catalog) dropDeltas() error {
	used, drop := c.inUse(), map[string][]hint{}
	c.deltas.mu.Lock()
	for target, all := range c.deltas.hints {
		left := slices.DeleteFunc(slices.Clone(all), func(h hint) bool { return !used[target] || !used[h.Base] })
		if len(left) < len(all) {
			drop[target] = left
		}
	}
	c.deltas.mu.Unlock()
	for target, left := range drop {
		if err := c.setHints(target, left); err != nil {
			return err
		}
	}
	return nil
}

// use marks the blobs of the deltas.
func (d *deltas) use(used map[string]bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, all := range d.hints {
		for _, h := range all {
			used[h.Digest] = true
		}
	}
}

// delta answers which delta to a blob is the smallest, from one of the bases that
// the client has, in the format that it knows. While it may still be made the client
// shall come again.
func (c *catalog) delta(component, target string, query url.Values) (*resource, error) {
	bases, format := query["base"], 1
	err := errors.Join(pack.CheckComponent(component), pack.CheckDigest(target))
	for _, b := range bases {
		err = errors.Join(err, pack.CheckDigest(b))
	}
	if asked := query.Get("format"); asked != "" && err == nil {
		format, err = strconv.Atoi(asked)
	}
	if err != nil || len(bases) > maxBases {
		return nil, refuse(http.StatusBadRequest, "DIGEST_INVALID", "want /deltas/TYPE/NAME/TARGET?format=NUMBER&base=DIGEST, up to %d bases: %w", maxBases, err)
	}
	var best *hint
	for _, h := range c.deltas.of(target) {
		if h.Size > 0 && max(h.Format, 1) == format && slices.Contains(bases, h.Base) && (best == nil || h.Size < best.Size) {
			best = &h
		}
	}
	switch {
	case best != nil:
		return jsonResource(best)
	case format == delta.Format && c.deltas.comes(target):
		return nil, refuse(http.StatusServiceUnavailable, "UNAVAILABLE", "the delta is being made")
	}
	return nil, refuse(http.StatusNotFound, "BLOB_UNKNOWN", "no delta to %s", target)
}
