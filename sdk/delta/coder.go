package delta

import (
	"bufio"
	"fmt"
	"io"
	"math"
)

// A chance is how probable it is that a bit is 1: at first one half. It learns from
// each bit, from the first ones quickly.
type chance struct {
	lean uint16 // 65536ths more than half; fewer as two's complement
	seen uint8
}

// steady is the number of bits after which each moves a chance by 1/32 of what is left.
const steady = 5

func (c *chance) one() uint16 { return c.lean + 1<<15 }

func (c *chance) saw(bit int) {
	c.seen = min(c.seen+1, steady)
	one := c.one()
	if bit == 1 {
		one += (math.MaxUint16 - one) >> c.seen
	} else {
		one -= one >> c.seen
	}
	c.lean = one - 1<<15
}

// A coder writes the bit that it is told, or reads one; it returns it. What is likely
// takes little of a bit (arithmetic coding).
type coder interface {
	bit(c *chance, bit int) int
}

// An interval is what the bits until now have left of all numbers of 32 bits.
type interval struct{ low, high uint32 }

var everything = interval{0, 1<<32 - 1}

// split is the last number that means 1.
func (i interval) split(c *chance) uint32 {
	return i.low + uint32(uint64(i.high-i.low)*uint64(c.one())>>16)
}

func (i *interval) narrow(c *chance, bit int, split uint32) {
	if bit == 1 {
		i.high = split
	} else {
		i.low = split + 1
	}
	c.saw(bit)
}

// settled reports whether the first byte is known, which shift drops.
func (i *interval) settled() bool { return (i.low^i.high)>>24 == 0 }

func (i *interval) shift() { i.low, i.high = i.low<<8, i.high<<8|0xff }

// An encoder is the coder that writes.
type encoder struct {
	interval
	w *bufio.Writer
}

func newEncoder(w io.Writer) *encoder { return &encoder{everything, bufio.NewWriter(w)} }

func (e *encoder) bit(c *chance, bit int) int {
	e.narrow(c, bit, e.split(c))
	for e.settled() {
		e.w.WriteByte(byte(e.high >> 24)) // Flush has the error
		e.shift()
	}
	return bit
}

// Close writes what is left.
func (e *encoder) Close() error {
	for shift := 24; shift >= 0; shift -= 8 {
		e.w.WriteByte(byte(e.low >> shift))
	}
	return e.w.Flush()
}

// A decoder is the coder that reads.
type decoder struct {
	interval
	r      *bufio.Reader
	number uint32
	err    error // the first
}

func newDecoder(r io.Reader) *decoder {
	d := &decoder{interval: everything, r: bufio.NewReader(r)}
	for range 4 {
		d.next()
	}
	return d
}

func (d *decoder) next() {
	b, err := d.r.ReadByte()
	if err != nil && d.err == nil {
		d.err = fmt.Errorf("%w: a section is damaged: %w", ErrFormat, err)
	}
	d.number = d.number<<8 | uint32(b)
}

func (d *decoder) bit(c *chance, _ int) int {
	split, bit := d.split(c), 0
	if d.number <= split {
		bit = 1
	}
	d.narrow(c, bit, split)
	for d.settled() {
		d.shift()
		d.next()
	}
	return bit
}
