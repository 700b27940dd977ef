package host

import "strings"

// typeSection reads function types into the notation of the table wasi.
func (c *checker) typeSection(r *reader) {
	for range r.count("types", maxTypes) {
		if r.byte() != 0x60 {
			r.fail("it has a type that is not a function's")
		}
		params := valueTypes(r)
		c.types = append(c.types, params+":"+valueTypes(r))
	}
}

func valueTypes(r *reader) string {
	var b strings.Builder
	values := r.take(uint64(r.count("parameters", maxTypeValues)))
	b.Grow(len(values))
	for _, t := range values {
		switch t {
		case 0x7f:
			b.WriteByte('i')
		case 0x7e:
			b.WriteByte('I')
		case 0x7d:
			b.WriteByte('f')
		case 0x7c:
			b.WriteByte('F')
		case 0x70, 0x6f:
			b.WriteByte('r')
		default:
			r.fail("it uses the value type %#x, which is not allowed", t)
		}
	}
	return b.String()
}

// excerptOf returns the begin of a name, which may be as long as the module.
func excerptOf(name []byte) string { return firstLine(printable(string(name[:min(len(name), 200)]))) }

func (c *checker) typeIndex(r *reader) int {
	index := r.u32()
	if index >= uint64(len(c.types)) {
		r.fail("it uses a type that it does not have")
		return 0
	}
	return int(index)
}

func (c *checker) importSection(r *reader) {
	for range r.count("imports", maxImports) {
		module, name := r.name(), r.name()
		if kind := r.byte(); string(module) != wasiModule || kind != 0 {
			r.fail("it imports %q from %q, and only functions of %s are allowed", excerptOf(name), excerptOf(module), wasiModule)
			return
		}
		index := c.typeIndex(r)
		want, ok := wasi[string(name)]
		if !ok {
			r.fail("it imports %q, which no transform may use: there are no files and no network", excerptOf(name))
			return
		}
		if r.err == nil && c.types[index] != want {
			r.fail("it imports %q with another type than WASI's", name)
			return
		}
		c.functions = append(c.functions, index)
		c.imported++
	}
}

func (c *checker) tableSection(r *reader) {
	var sum uint64
	for range r.count("tables", maxTables) {
		if kind := r.byte(); kind != 0x70 && kind != 0x6f {
			r.fail("it has a table of an unknown kind")
		}
		sum += limits(r)
	}
	if sum > maxTableEntries {
		r.fail("its tables have %d entries, more than %d", sum, maxTableEntries)
	}
}

func (c *checker) memorySection(r *reader) {
	c.memories = r.count("memories", 1)
	for range c.memories {
		pages := limits(r)
		if pages > maxMemoryPages {
			r.fail("its memory starts above 4 GiB")
		}
		c.memory = int64(pages) * pageSize
	}
}

// limits reads the limits of a table or memory and returns the minimum.
func limits(r *reader) uint64 {
	flag := r.byte()
	if flag > 1 {
		r.fail("it has shared or 64-bit memory or tables")
		return 0
	}
	lowest := r.u32()
	if flag == 1 && r.u32() < lowest {
		r.fail("it has limits with a maximum below the minimum")
	}
	return lowest
}

func (c *checker) exportSection(r *reader) {
	for range r.count("exports", maxExports) {
		name, kind, index := r.name(), r.byte(), r.u32()
		switch {
		case string(name) == "_start" && kind == 0:
			c.start = int(index)
		case string(name) == "memory" && kind == 2:
			c.hasMemory = true
		}
	}
}

// element reads one element segment, in any of its eight forms.
func element(r *reader) {
	form := r.u32()
	if form > 7 {
		r.fail("it has an unknown form of element segment")
		return
	}
	if form&1 == 0 {
		if form&2 != 0 {
			r.u32()
		}
		skipExpression(r)
	}
	if form&3 != 0 {
		r.byte()
	}
	for range r.count("elements", maxTableEntries) {
		if form&4 != 0 {
			skipExpression(r)
		} else {
			r.u32()
		}
	}
}

func dataSegment(r *reader) {
	form := r.u32()
	if form > 2 {
		r.fail("it has an unknown form of data segment")
		return
	}
	if form == 2 {
		r.u32()
	}
	if form != 1 {
		skipExpression(r)
	}
	r.take(r.u32())
}

// skipExpression passes over a constant expression.
func skipExpression(r *reader) {
	for r.err == nil {
		switch op := r.byte(); op {
		case 0x0b: // end
			return
		case 0x23, 0x41, 0x42, 0xd2: // global.get, i32.const, i64.const, ref.func
			r.skipLEB()
		case 0x43: // f32.const
			r.take(4)
		case 0x44: // f64.const
			r.take(8)
		case 0xd0: // ref.null
			r.byte()
		default:
			r.fail("it has a constant expression with the instruction %#x", op)
		}
	}
}

// custom reads a custom section. Only the one called "name" is decoded by the
// engine, so only there counts matter.
func (c *checker) custom(r *reader) {
	c.customs++
	c.customBytes += len(r.data)
	if c.customs > maxCustom || c.customBytes > maxCustomBytes {
		r.fail("it has too many custom sections: strip it")
		return
	}
	if string(r.name()) != "name" {
		return
	}
	for blocks := 0; len(r.data) > 0; blocks++ {
		if blocks == maxNameSubBlocks {
			r.fail("its name section is too fragmented")
			return
		}
		nameBlock(r.byte(), r)
	}
}

func nameBlock(id byte, r *reader) {
	s := r.sub(r.u32())
	switch id {
	case 0: // of the module
		s.name()
		s.end("its name section")
	case 1: // of functions
		nameMap(s)
		s.end("its name section")
	case 2: // of locals
		for range s.count("names", maxFunctions) {
			s.u32()
			nameMap(s)
		}
		s.end("its name section")
	}
	r.err = s.err
}

func nameMap(r *reader) {
	for range r.count("names", maxLocalsSum) {
		r.u32()
		r.name()
	}
}
