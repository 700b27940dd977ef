package state

import (
	"context"
	"path/filepath"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// A lot is how many files a rehearsal has transformed at a time. What is made
// is noted after each, so neither a restart nor others who are let through
// cost more than that. It grows or shrinks until it takes about lotTime, since
// each needs sandboxes that have to start.
type lot struct {
	bytes int64 // of files, each of which counts as fileBytes more
}

const (
	firstLot  = 8 << 20
	fileBytes = 4 << 10
	lotTime   = 10 * time.Second
)

// of returns how many of the files, at least one, and how many bytes they weigh.
func (l *lot) of(files []host.File, in places) (n int, weight int64) {
	for n < len(files) && (n == 0 || weight < l.bytes) {
		weight += in.at(files[n].Path).size + fileBytes
		n++
	}
	return n, weight
}

// took has the next lot take closer to lotTime.
func (l *lot) took(d time.Duration) {
	switch {
	case d < lotTime/2:
		l.bytes *= 2
	case d > lotTime*2:
		l.bytes = max(l.bytes/2, fileBytes)
	}
}

// make has the changed files made, and notes from what.
func (p *pass) make(ctx context.Context, t *tree, step host.Step, from string, in, have places, changed []host.File, progress func(done, total int64)) error {
	var all, before int64
	for _, f := range changed {
		all += in.at(f.Path).size + fileBytes
	}
	for l := (lot{firstLot}); len(changed) > 0; {
		n, weight := len(changed), all
		if p.between != nil {
			n, weight = l.of(changed, in)
		}
		begin := time.Now()
		if err := p.makeLot(ctx, t, step, from, in, have, changed[:n], stretch(progress, before, weight, all)); err != nil {
			return err
		}
		l.took(time.Since(begin))
		changed, before = changed[n:], before+weight
		if p.between != nil {
			if err := p.between(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *pass) makeLot(ctx context.Context, t *tree, step host.Step, from string, in, have places, files []host.File, progress func(done, total int64)) error {
	report, err := p.transformer.Refresh(ctx, step, from, t.files(), files, progress)
	if err != nil {
		return err
	}
	p.add(report)
	t.trust(report.Unchecked)
	for _, f := range files {
		n := *in.at(f.Path)
		if err := p.noteOne(ctx, filepath.Join(t.files(), f.Path), &n, report.Extended[f.Path]); err != nil {
			return err
		}
		have[f.Path] = &n
		if !p.live || p.book.same(filepath.Join(from, f.Path)) {
			t.memo.Made[f.Path] = made{in.at(f.Path).digest, n.digest}
		}
	}
	return nil
}

// stretch makes the progress of a lot that of all.
func stretch(progress func(done, total int64), before, weight, all int64) func(done, total int64) {
	if progress == nil {
		return nil
	}
	return func(done, total int64) {
		progress(before+int64(float64(weight)*float64(done)/float64(max(total, 1))), all)
	}
}
