package host

import (
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

// A Native is the code of a module, compiled into this program: what it does
// must be what the module does. It is as confined as the module would be.
type Native func(in io.Reader, out io.Writer, e transform.Edge) error

// fused is 1 + 2⁻³⁰, of which the square loses its last bit unless a
// processor multiplies and adds in one.
var fused = 1 + 1.0/(1<<30)

// fuses reports whether this program's floating point differs from that of
// Wasm, which rounds each operation.
func fuses() bool { return fused*fused-(1+2.0/(1<<30)) != 0 }

// native returns the code for a module, if there is any to be used.
func (s setup) native(natives map[string]Native) Native {
	if s.Wasm || s.Interpret || fuses() {
		return nil
	}
	time.Local = time.UTC // a module has no other
	return natives[fmt.Sprintf("sha256:%x", s.SHA256)]
}

// runNative executes native code as run executes a module.
func (e *engine) runNative(j job, stdin io.Reader, stdout, stderr io.Writer) (result outcome) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(stderr, "panic: %v\n", r)
			result = outcome{Class: Exit, Code: 2}
		}
	}()
	code := transform.Exec(j.Args, j.Env, stdin, stdout, stderr, e.native)
	result = exited(code)
	result.Native = true
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	result.Memory = int64(memory.HeapSys)
	return result
}
