// Package wat translates WebAssembly text, as far as tests of transforms need it.
package wat

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Numbers of sections.
const (
	sectionType = 1 + iota
	sectionImport
	sectionFunction
	sectionTable
	sectionMemory
	_
	sectionExport
	sectionStart
	_
	sectionCode
	sectionData
)

// Assemble translates one instruction after the other, not folded; functions,
// locals and labels are named. What it takes, wat2wasm takes as well.
func Assemble(t testing.TB, text string) []byte {
	t.Helper()
	top, rest := parseText(tokenize(text))
	if len(rest) > 0 || top.head() != "module" {
		t.Fatal("the text is no module")
	}
	a := assembly{TB: t, functions: map[string]int{}}
	for _, field := range top.list[1:] {
		if field.head() == "import" {
			a.function(field.list[3].list)
		}
	}
	for _, field := range top.list[1:] {
		if field.head() == "func" {
			a.function(field.list)
		}
	}
	for _, field := range top.list[1:] {
		a.field(field)
	}
	return a.module()
}

// A node is an atom or a list.
type sexpr struct {
	atom string
	list []sexpr
}

func (n sexpr) head() string {
	if len(n.list) == 0 {
		return ""
	}
	return n.list[0].atom
}

func tokenize(text string) []string {
	var tokens []string
	for len(text) > 0 {
		end := 1
		switch c := text[0]; {
		case c == ';':
			_, text, _ = strings.Cut(text, "\n")
			continue
		case strings.IndexByte(" \t\r\n", c) >= 0:
			text = text[1:]
			continue
		case c == '"':
			for ; text[end] != '"'; end++ {
				if text[end] == '\\' {
					end++
				}
			}
			end++
		case c != '(' && c != ')':
			if end = strings.IndexAny(text, " \t\r\n();\""); end < 0 {
				end = len(text)
			}
		}
		tokens, text = append(tokens, text[:end]), text[end:]
	}
	return tokens
}

func parseText(tokens []string) (sexpr, []string) {
	if tokens[0] != "(" {
		return sexpr{atom: tokens[0]}, tokens[1:]
	}
	var n sexpr
	for tokens = tokens[1:]; tokens[0] != ")"; {
		var child sexpr
		child, tokens = parseText(tokens)
		n.list = append(n.list, child)
	}
	return n, tokens[1:]
}

// An assembly collects the entries of each section.
type assembly struct {
	testing.TB
	functions map[string]int // by name
	imported  int
	sections  [13][][]byte
}

func (a *assembly) add(section int, entry ...[]byte) {
	a.sections[section] = append(a.sections[section], slices.Concat(entry...))
}

// function gives a function its number, and a type of its own.
func (a *assembly) function(list []sexpr) {
	params, results := []byte{}, []byte{}
	name := strconv.Itoa(len(a.functions))
	for _, part := range list[1:] {
		switch part.head() {
		case "param":
			params = append(params, valueTypesOf(part)...)
		case "result":
			results = append(results, valueTypesOf(part)...)
		}
	}
	if len(list) > 1 && strings.HasPrefix(list[1].atom, "$") {
		name = list[1].atom
	}
	a.functions[name] = len(a.functions)
	a.add(sectionType, []byte{0x60}, leb(uint64(len(params))), params, leb(uint64(len(results))), results)
}

var valueTypeBytes = map[string]byte{"i32": 0x7f, "i64": 0x7e, "f32": 0x7d, "f64": 0x7c, "v128": 0x7b}

func valueTypesOf(n sexpr) (types []byte) {
	for _, t := range n.list[1:] {
		if b, ok := valueTypeBytes[t.atom]; ok {
			types = append(types, b)
		}
	}
	return types
}

// leb is an unsigned LEB128 number.
func leb(n uint64) []byte { return binary.AppendUvarint(nil, n) }

func str(s string) []byte { return append(leb(uint64(len(s))), s...) }

// unquote knows the escapes of the text format.
func unquote(s string) string {
	var b strings.Builder
	for s = s[1 : len(s)-1]; s != ""; s = s[1:] {
		if s[0] != '\\' {
			b.WriteByte(s[0])
			continue
		}
		if i := strings.IndexByte(`n"\t`, s[1]); i >= 0 {
			b.WriteByte("\n\"\\\t"[i])
			s = s[1:]
			continue
		}
		v, _ := strconv.ParseUint(s[1:3], 16, 8)
		b.WriteByte(byte(v))
		s = s[2:]
	}
	return b.String()
}

func (a *assembly) number(s string) int64 {
	s = strings.ReplaceAll(s, "_", "")
	if n, err := strconv.ParseInt(s, 0, 64); err == nil {
		return n
	}
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		a.Fatalf("%q is no number", s)
	}
	return int64(n)
}

func (a *assembly) field(f sexpr) {
	l := f.list
	switch f.head() {
	case "import":
		a.add(sectionImport, str(unquote(l[1].atom)), str(unquote(l[2].atom)), []byte{0}, leb(uint64(a.imported)))
		a.imported++
	case "memory":
		a.add(sectionExport, str("memory"), []byte{2, 0})
		a.add(sectionMemory, []byte{0}, leb(uint64(a.number(l[2].atom))))
	case "table":
		a.add(sectionTable, []byte{0x70, 0}, leb(uint64(a.number(l[1].atom))))
	case "data":
		a.add(sectionData, []byte{0, 0x41}, signed(a.number(l[1].list[1].atom)), []byte{0x0b}, str(unquote(l[2].atom)))
	case "start":
		a.add(sectionStart, leb(uint64(a.functions[l[1].atom])))
	case "func":
		a.add(sectionFunction, leb(uint64(a.imported+len(a.sections[sectionFunction]))))
		a.body(l)
	default:
		a.Fatalf("unknown field %s", f.head())
	}
}

func (a *assembly) body(list []sexpr) {
	b := bodyText{assembly: a, locals: map[string]int{}}
	var kinds []byte
	params := 0
	at := 1
	for ; at < len(list); at++ {
		n := list[at]
		switch {
		case strings.HasPrefix(n.atom, "$"):
		case n.head() == "export":
			index := a.imported + len(a.sections[sectionFunction]) - 1
			a.add(sectionExport, str(unquote(n.list[1].atom)), []byte{0}, leb(uint64(index)))
		case n.head() == "param" || n.head() == "local":
			if strings.HasPrefix(n.list[1].atom, "$") {
				b.locals[n.list[1].atom] = params + len(kinds)
			}
			if n.head() == "param" {
				params += len(valueTypesOf(n))
			} else {
				kinds = append(kinds, valueTypesOf(n)...)
			}
		case n.head() == "result":
		default:
			goto code
		}
	}
code:
	out := leb(uint64(len(kinds)))
	for _, k := range kinds {
		out = append(out, 1, k)
	}
	out = append(append(out, b.code(list[at:])...), 0x0b)
	a.add(sectionCode, leb(uint64(len(out))), out)
}

// A bodyText is a function being translated.
type bodyText struct {
	*assembly
	locals map[string]int
	labels []string
}

// plain are instructions without immediates.
var plain = map[string]byte{
	"unreachable": 0x00, "nop": 0x01, "else": 0x05, "return": 0x0f, "drop": 0x1a, "select": 0x1b,
	"i32.eqz": 0x45, "i32.eq": 0x46, "i32.ne": 0x47, "i32.lt_s": 0x48, "i32.lt_u": 0x49, "i32.gt_u": 0x4b, "i32.ge_u": 0x4f,
	"i32.add": 0x6a, "i32.sub": 0x6b, "i32.mul": 0x6c, "i32.div_u": 0x6e, "i32.and": 0x71, "i32.or": 0x72, "i32.xor": 0x73, "i32.shl": 0x74,
	"i64.add": 0x7c, "i64.mul": 0x7e, "f64.sqrt": 0x9f, "f64.add": 0xa0, "f64.div": 0xa3, "i32.wrap_i64": 0xa7, "i32.trunc_f64_u": 0xab,
}

// loads have an alignment and an offset.
var loads = map[string][2]byte{
	"i32.load": {0x28, 2}, "i64.load": {0x29, 3}, "i32.load8_u": {0x2d, 0}, "i32.store": {0x36, 2}, "i64.store": {0x37, 3},
	"f64.store": {0x39, 3}, "i32.store8": {0x3a, 0},
}

func (b *bodyText) code(list []sexpr) (out []byte) {
	for i := 0; i < len(list); i++ {
		op := list[i].atom
		next := func() string { i++; return list[i].atom }
		if c, ok := plain[op]; ok {
			out = append(out, c)
			continue
		}
		if l, ok := loads[op]; ok {
			offset := int64(0)
			if i+1 < len(list) && strings.HasPrefix(list[i+1].atom, "offset=") {
				offset = b.number(next()[len("offset="):])
			}
			out = append(append(out, l[0], l[1]), leb(uint64(offset))...)
			continue
		}
		switch op {
		case "block", "loop", "if":
			label := ""
			if i+1 < len(list) && strings.HasPrefix(list[i+1].atom, "$") {
				label = next()
			}
			b.labels = append(b.labels, label)
			out = append(out, map[string]byte{"block": 2, "loop": 3, "if": 4}[op], 0x40)
		case "end":
			b.labels = b.labels[:len(b.labels)-1]
			out = append(out, 0x0b)
		case "br", "br_if":
			depth := len(b.labels) - 1 - slices.Index(b.labels, next())
			out = append(out, map[string]byte{"br": 0x0c, "br_if": 0x0d}[op], byte(depth))
		case "call":
			out = append(append(out, 0x10), leb(uint64(b.functions[next()]))...)
		case "local.get", "local.set", "local.tee":
			out = append(out, map[string]byte{"local.get": 0x20, "local.set": 0x21, "local.tee": 0x22}[op], byte(b.locals[next()]))
		case "i32.const":
			out = append(append(out, 0x41), signed(int64(int32(b.number(next()))))...)
		case "i64.const":
			out = append(append(out, 0x42), signed(b.number(next()))...)
		case "f64.const":
			v, err := strconv.ParseFloat(next(), 64)
			if err != nil {
				b.Fatal(err)
			}
			out = binary.LittleEndian.AppendUint64(append(out, 0x44), math.Float64bits(v))
		case "memory.size":
			out = append(out, 0x3f, 0)
		case "memory.grow":
			out = append(out, 0x40, 0)
		case "memory.fill":
			out = append(out, 0xfc, 11, 0)
		case "table.grow": // of table 0
			out = append(out, 0xfc, 15, 0)
		case "ref.null":
			next()
			out = append(out, 0xd0, 0x70)
		case "v128.load":
			out = append(out, 0xfd, 0, 4, 0)
		default:
			b.Fatalf("unknown instruction %q", op)
		}
	}
	return out
}

// signed is a signed LEB128 number.
func signed(n int64) (out []byte) {
	for {
		b := byte(n & 0x7f)
		n >>= 7
		if n == 0 && b&0x40 == 0 || n == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

func (a *assembly) module() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	for _, id := range []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11} {
		entries := a.sections[id]
		if len(entries) == 0 {
			continue
		}
		content := slices.Concat(entries...)
		if id != sectionStart {
			content = append(leb(uint64(len(entries))), content...)
		}
		out = append(append(append(out, byte(id)), leb(uint64(len(content)))...), content...)
	}
	return out
}
