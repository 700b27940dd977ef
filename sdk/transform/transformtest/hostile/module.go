package hostile

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// Sections of a module, Wasm core specification 5.5.2, as far as they are
// needed here.
const (
	sectionCustom   = 0
	sectionType     = 1
	sectionImport   = 2
	sectionFunction = 3
	sectionTable    = 4
	sectionMemory   = 5
	sectionExport   = 7
	sectionCode     = 10
)

var magic = []byte("\x00asm\x01\x00\x00\x00")

// idle is the body of a function that does nothing.
var idle = []byte{0, 0x0b}

// number is an unsigned LEB128 number.
func number(n uint64) []byte { return binary.AppendUvarint(nil, n) }

func section(id byte, content ...[]byte) []byte {
	all := slices.Concat(content...)
	return slices.Concat([]byte{id}, number(uint64(len(all))), all)
}

// module has one function for each body, of which the first is _start; they
// take and return nothing.
func module(bodies ...[]byte) []byte {
	n := number(uint64(len(bodies)))
	code := [][]byte{n}
	for _, b := range bodies {
		code = append(code, number(uint64(len(b))), b)
	}
	return slices.Concat(magic,
		section(sectionType, []byte{1, 0x60, 0, 0}),
		section(sectionFunction, n, make([]byte, len(bodies))),
		section(sectionMemory, []byte{1, 0, 2}),
		section(sectionExport, []byte("\x02\x06memory\x02\x00\x06_start\x00\x00")),
		section(sectionCode, code...))
}

// importing is a module that imports a function from a module of that name, and
// is nothing else.
func importing(name []byte) []byte {
	return slices.Concat(magic,
		section(sectionType, []byte{1, 0x60, 0, 0}),
		section(sectionImport, []byte{1}, number(uint64(len(name))), name, []byte("\x01f\x00\x00")))
}

// loops is a body of loops in each other that all use many locals: the compiler
// has to work out which of them each loop changes.
func loops(depth, locals int) []byte {
	b := slices.Concat([]byte{1}, number(uint64(locals)), []byte{0x7f}, bytes.Repeat([]byte{0x03, 0x40}, depth))
	for i := range locals {
		b = slices.Concat(b, []byte{0x20}, number(uint64(i)), []byte{0x41, 1, 0x6a, 0x21}, number(uint64((i+7)%locals)))
	}
	for range depth {
		b = append(b, 0x20, 0, 0x0d, 0, 0x0b)
	}
	return append(b, 0x0b)
}

// jumps is a body of one long jump table.
func jumps(targets int) []byte {
	return slices.Concat([]byte{0, 0x02, 0x40, 0x41, 0, 0x0e}, number(uint64(targets)), make([]byte, targets+1), []byte{0x0b, 0x0b})
}
