package host

import (
	"bytes"
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"testing"
)

// leb is an unsigned LEB128 number.
func leb(n uint64) []byte { return binary.AppendUvarint(nil, n) }

const huge = 0xffffffff

// bombs are small modules that make engines allocate or compute without end,
// or ask for what no transform may have.
func bombs() map[string][]byte {
	good := assemble(idle)
	after := func(sections ...[]byte) []byte { return slices.Concat(append([][]byte{magic}, sections...)...) }
	types := section(sectionType, []byte{1, 0x60, 0, 0})
	imports := func(module, name string, kind ...byte) []byte {
		return after(types, section(sectionImport, []byte{1}, text(module), text(name), kind))
	}
	custom := func(content ...[]byte) []byte {
		return append(slices.Clone(good), section(sectionCustom, content...)...)
	}
	return map[string][]byte{
		"it is no WebAssembly":   {},
		"WebAssembly 1":          []byte("\x00asm\x02\x00\x00\x00"),
		"it is truncated":        good[:len(good)-1],
		"too many types":         after(section(sectionType, leb(huge))),
		"too many parameters":    after(section(sectionType, []byte{1, 0x60}, leb(huge))),
		"too many imports":       after(section(sectionImport, leb(huge))),
		"too many functions":     after(types, section(sectionFunction, leb(huge))),
		"too many tables":        after(section(sectionTable, leb(huge))),
		"its tables have":        after(section(sectionTable, []byte{1, 0x70, 0}, leb(huge))),
		"too many memories":      after(section(sectionMemory, []byte{2, 0, 1, 0, 1})),
		"starts above 4 GiB":     after(section(sectionMemory, []byte{1, 0}, leb(huge))),
		"shared or 64-bit":       after(section(sectionMemory, []byte{1, 3, 1, 1})),
		"too many globals":       after(section(sectionGlobal, leb(huge))),
		"too many exports":       after(section(sectionExport, leb(huge))),
		"start section":          after(types, section(sectionStart, []byte{0})),
		"too many element":       after(section(sectionElement, leb(huge))),
		"too many elements":      after(section(sectionElement, []byte{1, 0, 0x41, 0, 0x0b}, leb(huge))),
		"too many data":          after(section(sectionData, leb(huge))),
		"out of order":           after(section(sectionMemory, []byte{1, 0, 1}), types),
		"section 13":             after(section(13, []byte{0})),
		"bytes too many":         after(section(sectionType, []byte{0, 0})),
		"too many local":         body(leb(1), leb(huge), []byte{0x7f, 0x0b}),
		"too many locals":        body(leb(huge)),
		"too many custom":        append(slices.Clone(good), bytes.Repeat(section(sectionCustom, text("x")), maxCustom+1)...),
		"too many names":         custom(text("name"), []byte{1, 5}, leb(huge)),
		"too many names: 9":      custom(text("name"), []byte{2, 5, 1, 0}, []byte{9, 0, 0}),
		"nested blocks or loops": body(leb(0), bytes.Repeat([]byte{0x03, 0x40}, maxLoopDepth+1)),
		"too many jump targets":  body(leb(0), []byte{0x0e}, leb(huge)),
		"table.grow":             body(leb(0), []byte{0xfc, 15, 0}),
		"without -msimd128":      body(leb(0), []byte{0xfd, 0}),
		"of threads":             body(leb(0), []byte{0xfe, 0}),
		"instruction 0xff":       body(leb(0), []byte{0xff}),
		"tail calls":             body(leb(0), []byte{0x12, 0}),
		"a number is too long":   after(section(sectionType, bytes.Repeat([]byte{0xff}, 6))),
		"only functions of wasi": imports("env", "memory", 2, 0, 1),
		"no files and no":        imports(wasiModule, "path_open", 0, 0),
		"another type":           imports(wasiModule, "proc_exit", 0, 0),
		"export its one memory":  after(types),
		"does not export _start": bytes.Replace(good, []byte("_start"), []byte("_begin"), 1),
		"its _start is no":       bytes.Replace(good, append([]byte("_start"), 0, 2), append([]byte("_start"), 0, 0), 1),
		"has the code of 0":      after(types, section(sectionFunction, []byte{1, 0})),
	}
}

// body is a module with one function of the given code.
func body(code ...[]byte) []byte {
	all := slices.Concat(code...)
	return slices.Concat(magic, section(sectionCode, []byte{1}, leb(uint64(len(all))), all))
}

func TestCheckRefuses(t *testing.T) {
	for want, module := range bombs() {
		e := failed(t, Check(module))
		if e.Class != BadModule || !strings.Contains(e.Reason, want) {
			t.Errorf("got %q, want %q", e.Reason, want)
		}
	}
	if e := failed(t, Check(make([]byte, maxModule+1))); !strings.Contains(e.Reason, "more than") {
		t.Error(e)
	}
}

// What is refused is found with the tools of the toolchain: section, function
// and byte are those of wasm-objdump.
func TestCheckPlace(t *testing.T) {
	types := section(sectionType, []byte{1, 0x60, 0, 0})
	imports := section(sectionImport, []byte{1}, text(wasiModule), text("sched_yield"), []byte{0, 0})
	two := section(sectionCode, []byte{2}, []byte{2, 0, 0x0b}, []byte{4, 0, 0x01, 0xfd, 0x0b})
	for want, module := range map[string][]byte{
		"(section code, function 1, byte 0x11)": slices.Concat(magic, two),
		"(section type, byte 0xb)":              slices.Concat(magic, section(sectionType, []byte{1, 0x61, 0, 0})),
		"(section custom, byte 0x17)":           slices.Concat(magic, types, section(sectionCustom, text("name"), []byte{7, 9, 0})),
		"(section import, byte ":                slices.Concat(magic, types, imports),
	} {
		if e := failed(t, Check(module)); !strings.Contains(e.Reason, want) {
			t.Errorf("got %q, want %q", e.Reason, want)
		}
	}
}

func TestCheckAccepts(t *testing.T) {
	if err := Check(assemble(idle)); err != nil {
		t.Error(err)
	}
	if err := (&Host{}).Check(built("subject")); err != nil {
		t.Error(err)
	}
}

// Every cut module is refused, and nothing panics.
func TestCheckTruncated(t *testing.T) {
	module := assemble(flooding)
	for n := range module {
		// The module may be whole without its last section, the data.
		if err := Check(module[:n]); err == nil && module[n] != sectionData {
			t.Errorf("a module cut to %d of %d bytes is accepted", n, len(module))
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, module := range bombs() {
		f.Add(module)
	}
	f.Add(assemble(flooding))
	if module, err := os.ReadFile(built("subject")); err == nil {
		f.Add(module[:64<<10])
	}
	f.Fuzz(func(t *testing.T, module []byte) {
		err := Check(module)
		if e, ok := err.(*Error); err != nil && (!ok || e.Class != BadModule || strings.ContainsAny(e.Reason, "\n\x1b")) {
			t.Errorf("got %v", err)
		}
	})
}
