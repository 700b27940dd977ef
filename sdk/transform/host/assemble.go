package host

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/replica"
)

// assemble makes the whole result of a file whose new pieces are all there.
func (s *stage) assemble(ctx context.Context, p *split) error {
	var at int64
	for i := range p.pieces {
		p.pieces[i].to = at
		at += p.pieces[i].Made
	}
	if p.size > 0 && at == 0 {
		return &Error{Class: Invalid, Reason: "it ended well but wrote nothing"}
	}
	if limit := s.module.limits.output(p.size); at > limit {
		return &Error{Class: OutputLimit, Reason: tooMuch(limit)}
	}
	kept := p.prefix()
	var more int64
	for _, q := range p.pieces[kept:] {
		more += q.Made
	}
	release, err := s.take(ctx, more, 1)
	if err != nil {
		return err
	}
	defer release()
	if kept == 0 {
		return s.compose(ctx, p)
	}
	return s.extend(ctx, p, kept)
}

// prefix returns how many pieces lie in the old result where they belong, if
// no piece behind them is wanted.
func (p *split) prefix() int {
	n, end := 0, int64(0)
	for n < len(p.pieces) && p.pieces[n].known && p.pieces[n].from == p.pieces[n].to {
		end += p.pieces[n].Made
		n++
	}
	for _, q := range p.pieces[n:] {
		if q.known && q.from+q.Made > end {
			return 0
		}
	}
	return n
}

// compose writes a new file.
func (s *stage) compose(ctx context.Context, p *split) error {
	out, err := create(s.out, p.path)
	if err != nil {
		return err
	}
	if err := p.write(ctx, out, p.pieces); err != nil {
		return errors.Join(err, out.Close())
	}
	return finish(out, p.mode, s.last)
}

// extend changes the old result, of which the first pieces stay: what was
// appended to gigabytes is not worth copying them. A crash leaves a result
// that fits no memo but has its good pieces still.
func (s *stage) extend(ctx context.Context, p *split, kept int) error {
	// So that it looks like no index says, however coarse the clock.
	if err := s.old.Chtimes(p.path, time.Time{}, time.Unix(1, 0)); err != nil {
		return err
	}
	last := p.pieces[kept-1]
	end := last.to + last.Made
	if err := p.old.Truncate(end); err != nil {
		return err
	}
	if _, err := p.old.Seek(end, io.SeekStart); err != nil {
		return err
	}
	if err := p.write(ctx, p.old, p.pieces[kept:]); err != nil {
		return err
	}
	s.report.Extended[p.path] = end
	out := p.old
	p.old = nil
	return finish(out, p.mode, s.last)
}

// write appends pieces, as many at a time as lie side by side.
func (p *split) write(ctx context.Context, out *os.File, pieces []piece) error {
	for len(pieces) > 0 {
		first, n := pieces[0], 1
		size := first.Made
		for n < len(pieces) && pieces[n].known == first.known && pieces[n].from == first.from+size {
			size += pieces[n].Made
			n++
		}
		source := p.fresh
		if first.known {
			source = p.old
		}
		if size > 0 {
			if err := transfer(ctx, out, source, first.from, size); err != nil {
				return err
			}
		}
		pieces = pieces[n:]
	}
	return nil
}

// transfer appends a part of a file to another, or to itself.
func transfer(ctx context.Context, out, source *os.File, at, size int64) error {
	if out == source {
		_, err := io.Copy(out, until{ctx, io.NewSectionReader(source, at, size)})
		return err
	}
	if _, err := source.Seek(at, io.SeekStart); err != nil {
		return err
	}
	n, err := replica.Bytes(ctx, out, source, size)
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	return err
}
