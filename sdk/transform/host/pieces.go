package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tranquil-iot/tranquil/sdk/fingerprint"
)

// SplitLines is the split of a step whose result for a file is that of its
// lines, joined: f(a+b) = f(a)+f(b) for whole lines a and b.
const SplitLines = "lines"

// A digest is a SHA-256.
type digest [sha256.Size]byte

// MarshalText writes d in hexadecimal.
func (d digest) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText reads what MarshalText writes.
func (d *digest) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(d)) {
		return errors.New("no SHA-256 in hexadecimal")
	}
	_, err := hex.Decode(d[:], text)
	return err
}

func sum(h hash.Hash) (d digest) {
	h.Sum(d[:0])
	return d
}

// A piece is some lines of a file and what became of them.
type piece struct {
	In, Out  digest
	Print    fingerprint.Print `json:",omitzero"` // of the input; zero where the processor has no fast one
	Size     int64             // of the input, bytes
	Made     int64             // size of the output
	at       int64             // where it begins in the input
	from, to int64             // where its output begins: in the old result or in fresh, and in the result
	known    bool              // its output is in the old result
	Ends     bool              `json:",omitempty"` // the output is whole lines, or nothing; an index of former versions does not tell
}

// A split is a file that is transformed piece by piece.
type split struct {
	entry
	in     *os.File
	now    identity // of in, before it was cut
	pieces []piece
	todo   int
	old    *os.File // the result that the index is about; nil if there is none
	index  index    // of old

	key     fingerprint.Key
	printer *fingerprint.Printer // with that key; nil where digests are as fast

	mu    sync.Mutex
	fresh *os.File // outputs of new pieces
	end   int64    // of fresh
}

// splits reports whether a file is worth dividing.
func (s *stage) splits(e entry) bool { return s.Split == SplitLines && e.size > minPiece }

// cut divides a file and finds the pieces that need not be transformed.
func (s *stage) cut(ctx context.Context, e entry) (*split, error) {
	p := &split{entry: e}
	var err error
	if p.in, err = s.in.Open(e.path); err != nil {
		return nil, err
	}
	if p.now, err = identify(p.in); err == nil {
		err = s.recall(p)
	}
	if p.key = p.index.Key; p.key == (fingerprint.Key{}) {
		p.key = fingerprint.NewKey()
	}
	p.printer = fingerprint.New(p.key)
	if err == nil && !p.unchanged() {
		err = p.divide(ctx)
	}
	if err == nil {
		err = s.reuse(ctx, p)
	}
	if err == nil && p.todo > 0 {
		p.fresh, err = s.archive("fresh")
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// unchanged takes over the pieces of a file that is what it was.
func (p *split) unchanged() bool {
	if p.old == nil || !p.index.Input.settled() || !p.index.Input.same(p.now) {
		return false
	}
	var at int64
	for _, known := range p.index.Pieces {
		p.pieces = append(p.pieces, piece{In: known.In, Print: known.Print, Size: known.Size, at: at})
		at += known.Size
	}
	return at == p.size
}

// divide reads the file once. As far as the pieces of before are there still
// they are taken over, so that nothing needs to be cut anew.
func (p *split) divide(ctx context.Context) error {
	p.pieces = nil
	if p.old != nil && len(p.index.Pieces) > 0 {
		at := int64(0)
		for _, known := range p.index.Pieces[:len(p.index.Pieces)-1] { // the last ends where the file ended
			p.pieces = append(p.pieces, piece{In: known.In, Print: known.Print, Size: known.Size, at: at})
			at += known.Size
		}
		p.pieces = p.pieces[:p.alike(ctx)]
	}
	if err := p.cutRest(ctx); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// alike returns how many of the pieces are as they were.
func (p *split) alike(ctx context.Context) int {
	var head int64
	if p.index.Input.Inode != 0 && p.index.Input.Identity == p.given.Was {
		head = p.given.Head
	}
	var changed atomic.Int64
	changed.Store(int64(len(p.pieces)))
	each(len(p.pieces), func(i int) {
		q := p.pieces[i]
		if int64(i) > changed.Load() || q.at+q.Size <= head || ctx.Err() == nil && p.has(q) {
			return
		}
		for first := changed.Load(); int64(i) < first && !changed.CompareAndSwap(first, int64(i)); first = changed.Load() {
		}
	})
	return int(changed.Load())
}

// has reports whether a piece is where it was.
func (p *split) has(q piece) bool {
	if p.printer == nil || q.Print == (fingerprint.Print{}) {
		in, _ := digestOf(p.in, q.at, q.Size, nil)
		return in == q.In
	}
	got, err := p.printer.Of(p.in, q.at, q.Size)
	return err == nil && got == q.Print
}

// cutRest cuts what follows the pieces that are there.
func (p *split) cutRest(ctx context.Context) error {
	at, fresh := int64(0), len(p.pieces)
	if fresh > 0 {
		at = p.pieces[fresh-1].at + p.pieces[fresh-1].Size
	}
	c := newCutter(io.NewSectionReader(p.in, at, p.size-at))
	for ctx.Err() == nil {
		next := piece{at: at}
		err := c.next(func(part []byte) error {
			next.Size += int64(len(part))
			return nil
		})
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("cannot read state: %w", err)
		}
		p.pieces = append(p.pieces, next)
		at += next.Size
	}
	rest := p.pieces[fresh:]
	each(len(rest), func(i int) {
		if ctx.Err() == nil {
			rest[i].In, rest[i].Print = digestOf(p.in, rest[i].at, rest[i].Size, p.printer)
		}
	})
	return nil
}

// each calls f with all numbers below n, on all processors.
func each(n int, f func(int)) {
	var group sync.WaitGroup
	var taken atomic.Int64
	for range min(n, runtime.GOMAXPROCS(0)) {
		group.Go(func() {
			for i := taken.Add(1) - 1; i < int64(n); i = taken.Add(1) - 1 {
				f(int(i))
			}
		})
	}
	group.Wait()
}

// reuse finds the pieces in the old result: where they were, rather than their
// like elsewhere, so that they can stay there.
func (s *stage) reuse(ctx context.Context, p *split) error {
	there, err := p.earlier(ctx)
	if err != nil {
		return err
	}
	have := map[digest]piece{}
	for _, known := range there {
		if known.known {
			have[known.In] = known
		}
	}
	for i := range p.pieces {
		q := &p.pieces[i]
		known := have[q.In]
		if i < len(there) && there[i].In == q.In && there[i].known {
			known = there[i]
		}
		if known.known && known.Size == q.Size && (known.Ends || s.endsAnyhow(i == len(p.pieces)-1)) {
			q.Out, q.Made, q.Ends, q.from, q.known = known.Out, known.Made, known.Ends, known.from, true
		} else {
			p.todo++
		}
	}
	return nil
}

// earlier returns the pieces of the old result. If that is not just as the
// index says, every part of it is looked at.
func (p *split) earlier(ctx context.Context) ([]piece, error) {
	if p.old == nil {
		return nil, nil
	}
	now, err := identify(p.old)
	if err != nil {
		return nil, err
	}
	trusted := p.given.Whole || p.index.Output.same(now) // nobody else writes there, and extend sees to it that its own writes show
	there := slices.Clone(p.index.Pieces)
	var at int64
	for i := range there {
		q := &there[i]
		q.from = at
		at += q.Made
		q.known = trusted
		if !trusted {
			out, _ := digestOf(p.old, q.from, q.Made, nil)
			q.known = out == q.Out
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return there, nil
}

// digestOf returns zero for a part that cannot be read. With a printer it takes
// the fingerprint as well.
func digestOf(f *os.File, at, size int64, printer *fingerprint.Printer) (in digest, print fingerprint.Print) {
	h, buffer := sha256.New(), buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	// Not io.Copy, which would take a buffer of its own each time.
	for size > 0 {
		block := (*buffer)[:min(size, fingerprint.BlockSize)]
		if n, _ := f.ReadAt(block, at); n < len(block) {
			return digest{}, fingerprint.Print{}
		}
		h.Write(block)
		if printer != nil {
			print = printer.Add(print, block)
		}
		at += int64(len(block))
		size -= int64(len(block))
	}
	return sum(h), print
}

var buffers = sync.Pool{New: func() any { b := make([]byte, fingerprint.BlockSize); return &b }}

// steady forgets the identity of an input that has changed while it was read:
// the pieces together are nobody's content then.
func (p *split) steady() error {
	now, err := identify(p.in)
	if !p.now.same(now) {
		p.now = identity{}
	}
	return err
}

func (p *split) close() {
	for _, f := range []*os.File{p.in, p.old, p.fresh} {
		if f != nil {
			f.Close()
		}
	}
}

// A bench is what one sandbox works on: the piece in hand and its result, in
// files of which it sees nothing else.
type bench struct{ in, out *os.File }

func (s *stage) newBench() (*bench, error) {
	in, err := s.archive("piece")
	if err != nil {
		return nil, err
	}
	out, err := s.archive("result")
	if err != nil {
		in.Close()
		return nil, err
	}
	return &bench{in, out}, nil
}

func (b *bench) close() {
	b.in.Close()
	b.out.Close()
}

// piece transforms one piece of a file and keeps the result in fresh.
func (s *stage) piece(ctx context.Context, w *worker, b *bench, p *split, i int) error {
	q := &p.pieces[i]
	// That the input is the one whose digest was taken makes a memo of it
	// true, whatever a living component writes.
	release, err := s.take(ctx, q.Size, 0)
	if err != nil {
		return err
	}
	got, err := b.put(io.NewSectionReader(p.in, q.at, q.Size))
	release()
	if err != nil {
		return fmt.Errorf("cannot read state: %w", err)
	}
	if got != q.In {
		return errors.New("the state changed while it was read")
	}
	if err := s.transform(ctx, w, b.in, b.out, p.path, q.Size); err != nil {
		return err
	}
	return s.keep(ctx, b, p, q, i == len(p.pieces)-1)
}

// put lays something before the sandbox and returns its digest.
func (b *bench) put(r io.Reader) (digest, error) {
	for _, f := range []*os.File{b.in, b.out} {
		if err := errors.Join(f.Truncate(0), rewind(f)); err != nil {
			return digest{}, err
		}
	}
	h := sha256.New()
	if _, err := io.Copy(io.MultiWriter(b.in, h), r); err != nil {
		return digest{}, err
	}
	return sum(h), rewind(b.in)
}

func rewind(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

// keep checks a piece's result and puts it aside.
func (s *stage) keep(ctx context.Context, b *bench, p *split, q *piece, last bool) error {
	if err := validate(ctx, s.Format, b.out); err != nil {
		return err
	}
	if err := s.hold(ctx, b.out, p.path); err != nil {
		return err
	}
	size, ends, err := endsLine(b.out)
	if err != nil {
		return err
	}
	if !ends && !s.endsAnyhow(last) {
		return &Error{Class: Invalid, Reason: "it is not ndjson: the last line has no end, and split = \"lines\" joins results"}
	}
	if err := rewind(b.out); err != nil {
		return err
	}
	release, err := s.take(ctx, size, 0)
	if err != nil {
		return err
	}
	defer release()
	h := sha256.New()
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := io.Copy(io.MultiWriter(io.NewOffsetWriter(p.fresh, p.end), h), b.out)
	q.Out, q.Made, q.Ends, q.from = sum(h), n, ends, p.end
	p.end += n
	return err
}

// endsAnyhow reports whether the result of a piece need not be whole lines, or
// nothing: who reads ndjson would take the last line and what follows for one.
func (s *stage) endsAnyhow(last bool) bool { return last || s.Format != "ndjson" }

// endsLine returns the size of a file, and whether its last line has an end.
func endsLine(f *os.File) (size int64, ends bool, err error) {
	size, err = f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return size, true, err
	}
	var last [1]byte
	_, err = f.ReadAt(last[:], size-1)
	return size, last[0] == '\n', err
}
