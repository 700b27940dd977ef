package delta

import (
	"encoding/binary"
	"math"
	"slices"
)

// Where a program has moved, what refers to it has changed by as much: addresses,
// offsets in tables, distances of calls. A guesser foretells by how much a word of the
// base has changed: as others did that refer to the same region. It knows no
// instructions, but sees which way of guessing is right for words that look alike.
//
// A word is four bytes in little-endian order, fewer where a run ends. Both sides make
// the same guesses, so they are part of the format (SPEC.md of sdk/pack, section 10).
type guesser struct {
	coder
	moved  [places][1 << 16]uint32 // by what is referred to in this way: how far it has moved
	last   [kinds]uint32           // the last change of a kind
	right  [kinds][ways]uint16     // how often a way was, lately
	hits   [kinds][ways][2][ways]chance
	digits [4][3][256]chance
}

// The ways of guessing.
const (
	absolute = iota // the word tells where something lies, from any fixed place
	branch          // its low 24 bits tell how many words further, as in ARM's branches
	relative        // it tells how many bytes further, as in those of x86
	places
	again = iota - 1 // it has changed as the last one of its kind
	still            // it has not changed
	ways
)

const (
	region = 12       // bits: what lies within has moved alike, mostly
	kinds  = 256 << 2 // of words: by the highest byte, and where it lies in four
)

func newGuesser(c coder) *guesser { return &guesser{coder: c} }

// run makes of a run of the base, which begins there, one of the target, which begins
// so much later. Who encodes says what it becomes.
func (g *guesser) run(b []byte, at, later int64, become []byte) {
	for i := 0; i < len(b); {
		n := min(4, len(b)-i)
		old, change := word(b[i:i+n]), uint32(0)
		if become != nil && (become[i] != b[i] || (at+int64(i))&3 == 0) {
			change = word(become[i:i+n]) - old
		}
		change = g.word(old, uint32(at)+uint32(i), uint32(later), n, change)
		if change == 0 {
			i++
			continue
		}
		var now [4]byte
		binary.LittleEndian.PutUint32(now[:], old+change)
		i += copy(b[i:i+n], now[:])
	}
}

func word(b []byte) uint32 {
	var w [4]byte
	copy(w[:], b)
	return binary.LittleEndian.Uint32(w[:])
}

// A clue is what is known of a word before its change is.
type clue struct {
	kind, later uint32
	moved       [places]*uint32
	guess       [ways]uint32
}

// word codes by how much a word of n bytes has changed.
func (g *guesser) word(old, at, later uint32, n int, change uint32) uint32 {
	whole := uint32(math.MaxUint32) >> (32 - 8*n)
	c := g.look(old, at, later, whole)
	change = g.code(&c, change&whole, n)
	g.learn(&c, change)
	return change
}

func (g *guesser) look(old, at, later, whole uint32) clue {
	c := clue{kind: old>>24<<2 | at&3, later: later}
	for way, place := range [places]uint32{old, at + 8 + uint32(int32(old<<8)>>6), at + 4 + old} {
		c.moved[way] = &g.moved[way][(place>>region<<2|at&3)*0x9e3779b1>>16]
	}
	c.guess[absolute] = *c.moved[absolute] & whole
	if by := *c.moved[branch]; by != 0 {
		c.guess[branch] = uint32(int32(by-later)>>2) & whole
	}
	if by := *c.moved[relative]; by != 0 {
		c.guess[relative] = (by - later) & whole
	}
	c.guess[again] = g.last[c.kind] & whole
	return c
}

// code tries the ways, that one first which was right most often, and spells what none
// has guessed.
func (g *guesser) code(c *clue, change uint32, n int) uint32 {
	best := 0
	for way, right := range g.right[c.kind] {
		if right > g.right[c.kind][best] {
			best = way
		}
	}
	var tried [ways]uint32
	nth := 0
	for i := range ways {
		way := (best + i) % ways
		guess := c.guess[way]
		if slices.Contains(tried[:nth], guess) {
			continue
		}
		if g.bit(&g.hits[c.kind][way][truth(guess == 0)][nth], truth(guess == change)) == 1 {
			return guess
		}
		tried[nth] = guess
		nth++
	}
	return g.spell(change, n)
}

func truth(is bool) int {
	if is {
		return 1
	}
	return 0
}

// spell codes a change byte by byte.
func (g *guesser) spell(change uint32, n int) (spelt uint32) {
	before := 0 // whether the byte before was 0 or 255
	for i := range n {
		node := 1
		for shift := 8*i + 7; shift >= 8*i; shift-- {
			node = node<<1 | g.bit(&g.digits[i][before][node], int(change>>shift)&1)
		}
		b := uint32(node) & 0xff
		before = truth(b == 0) + 2*truth(b == 0xff)
		spelt |= b << (8 * i)
	}
	return spelt
}

func (g *guesser) learn(c *clue, change uint32) {
	for way := range ways {
		if right := &g.right[c.kind][way]; c.guess[way] == change {
			*right += (math.MaxUint16 - *right) >> 4
		} else {
			*right -= *right >> 4
		}
	}
	for way, by := range [places]uint32{change, change<<2 + c.later, change + c.later} {
		if change != 0 || *c.moved[way] != 0 {
			*c.moved[way] = by
		}
	}
	if change != 0 {
		g.last[c.kind] = change
	}
}
