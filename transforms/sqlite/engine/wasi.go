// Package engine is SQLite and the transform around it, in C: sqlite.wasm, and
// the same code translated to Go (sqlite.wasm.go). See source/build.sh.
package engine

import (
	_ "embed"
	"encoding/binary"
	"io"
)

//go:generate source/translate.sh

// Wasm is what sqlite.wasm.go is the translation of.
//
//go:embed sqlite.wasm
var Wasm []byte

// Run does what Wasm does in a sandbox, with these arguments and this
// environment, and returns the exit code. Only what panics in in, out or log
// makes it panic.
func Run(args, env []string, in io.Reader, out, log io.Writer) (code int) {
	defer func() {
		if r := recover(); r != nil {
			e, ok := r.(exit)
			if !ok {
				panic(r)
			}
			code = int(e)
		}
	}()
	w := &wasi{args: args, env: env, in: in, out: out, log: log}
	m := New(w)
	w.memory = m.Xmemory().Slice()
	m.X_start()
	return 0
}

// exit is the panic that ends the program.
type exit int32

// Error numbers of WASI preview 1.
const (
	badFile = 8
	ioError = 29
)

// wasi is of WASI preview 1 what the program imports.
type wasi struct {
	memory    *[]byte
	args, env []string
	in        io.Reader
	out, log  io.Writer
}

func (w *wasi) Xargs_sizes_get(count, size int32) int32    { return w.sizes(w.args, count, size) }
func (w *wasi) Xargs_get(list, text int32) int32           { return w.strings(w.args, list, text) }
func (w *wasi) Xenviron_sizes_get(count, size int32) int32 { return w.sizes(w.env, count, size) }
func (w *wasi) Xenviron_get(list, text int32) int32        { return w.strings(w.env, list, text) }
func (w *wasi) Xproc_exit(code int32)                      { panic(exit(code)) }

func (w *wasi) put(at int32, value int) {
	binary.LittleEndian.PutUint32((*w.memory)[uint32(at):], uint32(value))
}

func (w *wasi) get(at int32) uint32 { return binary.LittleEndian.Uint32((*w.memory)[uint32(at):]) }

func (w *wasi) sizes(of []string, count, size int32) int32 {
	sum := 0
	for _, s := range of {
		sum += len(s) + 1
	}
	w.put(count, len(of))
	w.put(size, sum)
	return 0
}

func (w *wasi) strings(of []string, list, text int32) int32 {
	for _, s := range of {
		w.put(list, int(text))
		n := copy((*w.memory)[uint32(text):], s+"\x00")
		list, text = list+4, text+int32(n)
	}
	return 0
}

// Xfd_read fills the first buffer: programs may get less than they ask for.
func (w *wasi) Xfd_read(file, buffers, _, result int32) int32 {
	if file != 0 {
		return badFile
	}
	at, length := w.get(buffers), w.get(buffers+4)
	n, err := w.in.Read((*w.memory)[at:][:length])
	if err != nil && err != io.EOF {
		return ioError
	}
	w.put(result, n)
	return 0
}

// Xfd_seek is only for a database that is read where it lies.
func (w *wasi) Xfd_seek(file int32, offset int64, whence, result int32) int32 {
	s, ok := w.in.(io.Seeker)
	if file != 0 || !ok {
		return badFile
	}
	at, err := s.Seek(offset, int(whence))
	if err != nil {
		return ioError
	}
	binary.LittleEndian.PutUint64((*w.memory)[uint32(result):], uint64(at))
	return 0
}

func (w *wasi) Xfd_write(file, buffers, count, result int32) int32 {
	to := w.out
	switch file {
	case 1:
	case 2:
		to = w.log
	default:
		return badFile
	}
	sum := 0
	for ; count > 0; count-- {
		at, length := w.get(buffers), w.get(buffers+4)
		n, err := to.Write((*w.memory)[at:][:length])
		if err != nil {
			return ioError
		}
		sum, buffers = sum+n, buffers+8
	}
	w.put(result, sum)
	return 0
}
