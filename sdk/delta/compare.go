package delta

import (
	"encoding/binary"
	"io"
)

const (
	// wide is how much of a file is compared at once, with twice as much of the base:
	// half of that lies before it and after it.
	wide = 32 << 20

	seed   = 8   // bytes that have to be the same to look any further
	stride = 4   // of the base: the seeds that are remembered begin at multiples of it
	alike  = 512 // bytes that are the same and worth an operation, among some that are not
	gain   = 8   // bytes more that have to be the same than where the base is read already

	// What a byte that is the same says for two pieces belonging together, and another
	// one against it: a third of the bytes is enough. In tables of addresses, such as
	// Go's of functions, half of each entry changes, everywhere by the same.
	counts  = 2
	against = 1
)

// compare writes what makes to of from, span by span.
func compare(w *writer, from, to content, span int64) error {
	s := newShelf(from)
	for _, p := range to.parts {
		was, same := s.before(p)
		if same {
			w.copy(was.from, p.size())
			continue
		}
		for at := int64(0); at < p.size(); at += span {
			begin, end := min(max(0, at-span/2), was.size()), min(at+span+span/2, was.size())
			old, err := read(from, was.from+begin, was.from+end)
			if err != nil {
				return err
			}
			now, err := read(to, p.from+at, min(p.from+at+span, p.to))
			if err != nil {
				return err
			}
			d := differ{w: w, old: old, now: now, origin: was.from + begin}
			d.run(int(min(at, was.size()) - begin))
		}
		if w.err != nil {
			return w.err
		}
	}
	return w.err
}

func read(c content, from, to int64) ([]byte, error) {
	b := make([]byte, to-from)
	_, err := io.ReadFull(io.NewSectionReader(c, from, to-from), b)
	return b, err
}

// A differ compares as bsdiff does (Percival 2003): what is the same is prolonged
// both ways as long as enough of the bytes are; there changes are written of
// words, which are the same for many that refer to what has moved. Where bsdiff sorts the suffixes of the base, this
// remembers a hash of some of them: it finds a little less, in a tenth of the memory
// and a small part of the time.
type differ struct {
	w        *writer
	old, now []byte
	origin   int64 // of old in the base
	seeds    []uint32
	shift    uint

	done int // of now is written
	lag  int // how much further back a byte of old is than the same of now
}

// run compares all; at the beginning the two are read side by side from there in
// old.
func (d *differ) run(begin int) {
	d.remember()
	d.lag = -begin
	for at := 0; at < len(d.now); {
		if same := d.sameAt(at, at-d.lag); same >= 2*seed {
			at += same
			continue
		}
		from, n := d.find(at)
		switch agree := d.agree(at, n); {
		case n == 0:
			at++
		case n <= agree+gain:
			at += n
		default:
			d.turn(at, from)
			at += n
		}
	}
	d.turn(len(d.now), -1)
}

// remember fills the table of seeds.
func (d *differ) remember() {
	bits := uint(10)
	for bits < 26 && 1<<bits < len(d.old)/stride*2 {
		bits++
	}
	d.shift = 64 - bits
	d.seeds = make([]uint32, 1<<bits)
	for i := (len(d.old) - seed) / stride * stride; i >= 0 && len(d.old) >= seed; i -= stride { // the first of equal ones stays
		d.seeds[d.hash(d.old[i:])] = uint32(i) + 1
	}
}

func (d *differ) hash(b []byte) uint64 {
	return binary.LittleEndian.Uint64(b) * 0x9e3779b97f4a7c15 >> d.shift
}

// find returns where in old the bytes at a place of now are, and how many.
func (d *differ) find(at int) (from, n int) {
	if at+seed > len(d.now) {
		return 0, 0
	}
	i := d.seeds[d.hash(d.now[at:])]
	if i == 0 {
		return 0, 0
	}
	from = int(i) - 1
	if n = d.sameAt(at, from); n < seed {
		return 0, 0
	}
	return from, n
}

// sameAt counts the bytes from there on that are the same.
func (d *differ) sameAt(at, from int) (n int) {
	if from < 0 || from >= len(d.old) {
		return 0
	}
	a, b := d.now[at:], d.old[from:]
	most := min(len(a), len(b))
	for n+8 <= most && binary.LittleEndian.Uint64(a[n:]) == binary.LittleEndian.Uint64(b[n:]) {
		n += 8
	}
	for n < most && a[n] == b[n] {
		n++
	}
	return n
}

// agree counts of n bytes those that are the same where old is read already.
func (d *differ) agree(at, n int) (same int) {
	for i := at; i < at+n; i++ {
		if from := i - d.lag; from >= 0 && from < len(d.old) && d.old[from] == d.now[i] {
			same++
		}
	}
	return same
}

// turn writes all before a place of now, and reads on elsewhere in old; -1 is the
// end.
func (d *differ) turn(at, from int) {
	forth := d.forth(at)
	back := 0
	if from >= 0 {
		back = d.back(at, from)
	}
	if over := d.done + forth - (at - back); over > 0 {
		keep := d.split(at-back, over, at-from)
		forth += keep - over
		back -= keep
	}
	d.near(d.done, d.done+forth)
	d.w.data(d.now[d.done+forth : at-back])
	d.done, d.lag = at-back, at-from
}

// forth is how far what is read now is worth it.
func (d *differ) forth(to int) (best int) {
	score, top := 0, 0
	for i := d.done; d.done >= d.lag && i < to && i-d.lag < len(d.old); i++ {
		if d.old[i-d.lag] == d.now[i] {
			score += counts
		} else {
			score -= against
		}
		if score > top {
			top, best = score, i+1-d.done
		}
	}
	return best
}

// back is how far before a place what is read next is worth it.
func (d *differ) back(at, from int) (best int) {
	score, top := 0, 0
	for i := 1; at-i >= d.done && from-i >= 0; i++ {
		if d.old[from-i] == d.now[at-i] {
			score += counts
		} else {
			score -= against
		}
		if score > top {
			top, best = score, i
		}
	}
	return best
}

// split is how much of n bytes belongs to what was read until now, rather than to
// what is read then.
func (d *differ) split(at, n, then int) (best int) {
	score, top := 0, 0
	for i := range n {
		if d.old[at+i-d.lag] == d.now[at+i] {
			score++
		}
		if d.old[at+i-then] == d.now[at+i] {
			score--
		}
		if score > top {
			top, best = score, i+1
		}
	}
	return best
}

// near writes what is the same, or nearly.
func (d *differ) near(at, to int) {
	for at < to {
		same := d.sameUntil(at, to)
		if same >= alike || same == to-at {
			d.w.copy(d.origin+int64(at-d.lag), int64(same))
			at += same
			continue
		}
		end := at + same
		for same = 0; end < to && same < alike; same = d.sameUntil(end, to) {
			end += max(same, 1)
		}
		d.w.change(d.origin+int64(at-d.lag), d.old[at-d.lag:end-d.lag], d.now[at:end])
		at = end
	}
}

func (d *differ) sameUntil(at, to int) int { return min(d.sameAt(at, at-d.lag), to-at) }
