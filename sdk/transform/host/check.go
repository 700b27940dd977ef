package host

import (
	"fmt"
	"os"
	"strings"
)

// What a module may contain at most. Honest modules of six toolchains stay
// well below; what lies above costs the engine gigabytes or minutes.
const (
	maxModule        = 16 << 20
	maxTypes         = 5_000
	maxTypeValues    = 1_000 // parameters or results of one function
	maxImports       = 100
	maxFunctions     = 50_000
	maxBody          = 256 << 10
	maxLocals        = 2_000
	maxLocalsSum     = 200_000
	maxTables        = 10
	maxTableEntries  = 1 << 20
	maxMemoryPages   = 1 << 16
	maxGlobals       = 10_000
	maxExports       = 1_000
	maxElements      = 100_000
	maxDataSegments  = 100_000
	maxCustom        = 1_000
	maxCustomBytes   = 4 << 20
	maxNameSubBlocks = 100
)

// Sections of a module, Wasm core specification 5.5.2.
const (
	sectionCustom = iota
	sectionType
	sectionImport
	sectionFunction
	sectionTable
	sectionMemory
	sectionGlobal
	sectionExport
	sectionStart
	sectionElement
	sectionCode
	sectionData
	sectionDataCount
)

// sectionOrder gives each section its place: the data count stands before the code.
var sectionOrder = [...]int{
	sectionType: 1, sectionImport: 2, sectionFunction: 3, sectionTable: 4, sectionMemory: 5, sectionGlobal: 6,
	sectionExport: 7, sectionStart: 8, sectionElement: 9, sectionDataCount: 10, sectionCode: 11, sectionData: 12,
}

// sectionNames are as in the specification's text.
var sectionNames = [...]string{
	"custom", "type", "import", "function", "table", "memory", "global", "export", "start", "element", "code", "data", "data count",
}

func sectionName(id byte) string {
	if int(id) < len(sectionNames) {
		return "section " + sectionNames[id]
	}
	return fmt.Sprintf("section %d", id)
}

// Check decides from its bytes alone whether a module may be handed to an
// engine: its size, that no count in it exceeds the bytes there are, that it
// imports nothing but harmless functions of WASI preview 1 and exports what a
// transform must. It takes time and memory in proportion to the module and
// returns an *[Error] of class [BadModule]. It does not validate the code,
// which is the engine's part.
func Check(module []byte) error { return CheckMemory(module, 0) }

// CheckMemory is [Check] for a module that may have so many bytes of linear
// memory: it must not begin with more. Zero is no limit.
func CheckMemory(module []byte, limit int64) error {
	if len(module) > maxModule {
		return badModule("it has %d bytes, more than %d", len(module), maxModule)
	}
	if !strings.HasPrefix(string(module[:min(len(module), 8)]), "\x00asm\x01\x00\x00\x00") {
		return badModule("it is no WebAssembly 1 module")
	}
	c := checker{}
	c.sections(&reader{data: module[8:], stop: len(module)})
	if c.err == nil {
		c.contract()
	}
	if c.err == nil && limit > 0 && c.memory > limit {
		c.err = badModule("it begins with %s of memory, more than the limit of %s", mebibytes(c.memory), mebibytes(limit))
	}
	if c.err != nil {
		return c.err
	}
	return nil
}

// Check reads a module and checks it, see the function [Check].
func (h *Host) Check(path string) error {
	_, err := readModule(path, 0)
	return err
}

// readModule reads a module that may have so much memory, see [CheckMemory].
func readModule(path string, memory int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read transform: %w", err)
	}
	if info.Size() > maxModule {
		return nil, badModule("it has %d bytes, more than %d", info.Size(), maxModule)
	}
	module, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read transform: %w", err)
	}
	return module, CheckMemory(module, memory)
}

// mebibytes writes an amount of memory as people set it.
func mebibytes(n int64) string { return fmt.Sprintf("%.4g MiB", float64(n)/(1<<20)) }

// A checker collects what later sections and the contract depend on.
type checker struct {
	err         *Error
	types       []string // as in wasi
	functions   []int    // type of each, imported ones first
	imported    int
	bodies      int
	outsize     int // functions larger than usual
	memories    int
	memory      int64 // bytes that it begins with
	start       int   // function exported as _start, -1 if none
	hasMemory   bool
	locals      uint64
	customs     int
	customBytes int
}

func (c *checker) sections(r *reader) {
	c.start = -1
	for last := 0; len(r.data) > 0 && r.err == nil; {
		id := r.byte()
		s := r.sub(r.u32())
		s.place = sectionName(id)
		if int(id) >= len(sectionOrder) {
			s.fail("it has a section %d, which is not allowed", id)
		} else if id != sectionCustom {
			if sectionOrder[id] <= last {
				s.fail("its section %d is out of order", id)
			}
			last = sectionOrder[id]
		}
		c.section(id, s)
		if r.err == nil {
			r.err = s.err
		}
	}
	c.err = r.err
}

func (c *checker) section(id byte, r *reader) {
	switch id {
	case sectionCustom:
		c.custom(r)
		return
	case sectionType:
		c.typeSection(r)
	case sectionImport:
		c.importSection(r)
	case sectionFunction:
		for range r.count("functions", maxFunctions) {
			c.functions = append(c.functions, c.typeIndex(r))
		}
	case sectionTable:
		c.tableSection(r)
	case sectionMemory:
		c.memorySection(r)
	case sectionGlobal:
		for range r.count("globals", maxGlobals) {
			r.take(2)
			skipExpression(r)
		}
	case sectionExport:
		c.exportSection(r)
	case sectionStart:
		r.fail("it has a start section: only _start may run")
	case sectionElement:
		for range r.count("element segments", maxElements) {
			element(r)
		}
	case sectionCode:
		c.codeSection(r)
	case sectionData:
		for range r.count("data segments", maxDataSegments) {
			dataSegment(r)
		}
	case sectionDataCount:
		if r.u32() > maxDataSegments {
			r.fail("it has too many data segments")
		}
	}
	r.end(fmt.Sprintf("section %d", id))
}

// contract checks what ABI 1 asks of the module as a whole.
func (c *checker) contract() {
	switch {
	case c.bodies != len(c.functions)-c.imported:
		c.err = badModule("it declares %d functions and has the code of %d", len(c.functions)-c.imported, c.bodies)
	case c.memories != 1 || !c.hasMemory:
		c.err = badModule("it must export its one memory as \"memory\"")
	case c.start < 0:
		c.err = badModule("it does not export _start: build it as a WASI command")
	case c.start >= len(c.functions) || c.types[c.functions[c.start]] != ":":
		c.err = badModule("its _start is no function without parameters and results")
	}
}
