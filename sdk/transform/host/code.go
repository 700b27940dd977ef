package host

import "fmt"

// What the code of one function may contain at most. Deep loops and long jump
// tables make the compiler slow out of all proportion.
const (
	maxBlockDepth = 2_000
	maxLoopDepth  = 32
	maxTargets    = 4_000 // of br_table, over a function
)

// Two functions may be larger than that, as the one is that a compiler makes
// of a parser's tables. They cost less than many of the usual size may.
const (
	maxOutsize      = 2
	maxOutsizeBody  = 320 << 10
	maxOutsizeDepth = 3_200
)

func (c *checker) codeSection(r *reader) {
	c.bodies = r.count("functions", maxFunctions)
	for i := range c.bodies {
		size := r.u32()
		if size > maxOutsizeBody {
			r.fail("it has a function of %d bytes, more than %d", size, maxOutsizeBody)
			return
		}
		body := r.sub(size)
		body.place = fmt.Sprintf("%s, function %d", r.place, c.imported+i)
		c.localsOf(body)
		w := walker{reader: body}
		w.instructions()
		if size > maxBody || w.deepest > maxBlockDepth {
			c.outsize++
		}
		if c.outsize > maxOutsize {
			body.fail("it has more than %d functions of over %d bytes or %d nested blocks", maxOutsize, maxBody, maxBlockDepth)
		}
		r.err = body.err
		if r.err != nil {
			return
		}
	}
}

func (c *checker) localsOf(r *reader) {
	var sum uint64
	for range r.count("locals", maxLocals) {
		sum += r.u32()
		r.byte()
	}
	c.locals += sum
	if sum > maxLocals || c.locals > maxLocalsSum {
		r.fail("it has too many local variables")
	}
}

// A walker passes over the instructions of one function body.
type walker struct {
	*reader
	loops   []bool // open blocks: is it a loop?
	depth   int    // open loops
	deepest int    // open blocks at most
	targets int
}

//go:norace
func (w *walker) instructions() {
	for w.err == nil {
		op := w.byte()
		if op == 0x0b && len(w.loops) == 0 {
			break
		}
		w.instruction(op)
	}
	w.end("a function")
}

//go:norace
func (w *walker) instruction(op byte) {
	switch {
	case op == 0x02 || op == 0x03 || op == 0x04: // block, loop, if
		w.skipLEB()
		w.open(op == 0x03)
	case op == 0x0b: // end
		w.close()
	case op == 0x0e: // br_table
		w.jumpTable()
	case op == 0x11: // call_indirect
		w.skipLEB()
		w.skipLEB()
	case op >= 0x06 && op <= 0x0a, op >= 0x12 && op <= 0x19:
		w.fail("it uses tail calls or exceptions, which not every device can run")
	case op == 0x1c: // select with types
		w.take(uint64(w.count("types", 1)))
	case op == 0x0c, op == 0x0d, op == 0x10, op >= 0x20 && op <= 0x26, op == 0x41, op == 0x42, op == 0xd2:
		w.skipLEB()
	case op >= 0x28 && op <= 0x3e: // loads and stores: alignment, offset
		w.skipLEB()
		w.skipLEB()
	case op == 0x3f, op == 0x40, op == 0xd0: // memory.size, memory.grow, ref.null
		w.byte()
	case op == 0x43: // f32.const
		w.take(4)
	case op == 0x44: // f64.const
		w.take(8)
	case op == 0xfc:
		w.bulk()
	case op == 0xfd:
		w.fail("it uses SIMD, which not every device can run: build without -msimd128 or what else asks for it")
	case op == 0xfe:
		w.fail("it uses instructions of threads, which not every device can run: build without them")
	case op <= 0x0f, op == 0x1a, op == 0x1b, op >= 0x45 && op <= 0xc4, op == 0xd1: // no immediates
	default:
		w.fail("it uses the instruction %#x, which not every device can run", op)
	}
}

// bulk passes over the instructions with the prefix 0xfc.
func (w *walker) bulk() {
	switch op := w.u32(); op {
	case 0, 1, 2, 3, 4, 5, 6, 7: // saturating conversions
	case 8: // memory.init
		w.skipLEB()
		w.byte()
	case 9, 13, 16, 17: // data.drop, elem.drop, table.size, table.fill
		w.skipLEB()
	case 10: // memory.copy
		w.take(2)
	case 11: // memory.fill
		w.byte()
	case 12, 14: // table.init, table.copy
		w.skipLEB()
		w.skipLEB()
	case 15:
		w.fail("it uses table.grow, which no limit of memory would bound")
	default:
		w.fail("it uses the instruction 0xfc %d, which is unknown", op)
	}
}

func (w *walker) open(loop bool) {
	w.loops = append(w.loops, loop)
	if loop {
		w.depth++
	}
	w.deepest = max(w.deepest, len(w.loops))
	if len(w.loops) > maxOutsizeDepth || w.depth > maxLoopDepth {
		w.fail("it has a function with too deeply nested blocks or loops")
	}
}

func (w *walker) close() {
	last := len(w.loops) - 1
	if w.loops[last] {
		w.depth--
	}
	w.loops = w.loops[:last]
}

func (w *walker) jumpTable() {
	n := w.count("jump targets", maxTargets)
	w.targets += n
	if w.targets > maxTargets {
		w.fail("it has a function with too many jump targets")
		return
	}
	for range n + 1 {
		w.skipLEB()
	}
}
