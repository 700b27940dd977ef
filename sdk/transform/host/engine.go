package host

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
)

const pageSize = 64 << 10

// epoch is when every transform believes to run, in seconds: 2022-01-01T00:00:00Z.
const epoch = 1640995200

// An engine holds one compiled module, in the sandbox.
type engine struct {
	native  Native // used instead of the rest, if not nil
	runtime wazero.Runtime
	module  wazero.CompiledModule
	memory  *linear
}

// compile reads and compiles the module that the host has checked. A cache that
// cannot be used only costs time.
func compile(s setup, file io.Reader, cache string) (e *engine, result outcome) {
	defer func() {
		if r := recover(); r != nil {
			result = outcome{Class: BadModule, Reason: fmt.Sprintf("the compiler failed: %v", r)}
		}
	}()
	module, err := io.ReadAll(io.LimitReader(file, maxModule))
	if err != nil {
		return nil, outcome{Class: Crash, Reason: err.Error()}
	}
	if sha256.Sum256(module) != s.SHA256 {
		return nil, outcome{Class: BadModule, Reason: "it changed after it was checked"}
	}
	if !s.Interpret { // of which nothing is kept
		if e, err = cachedEngine(module, s, filepath.Join(cache, entryName(s.SHA256))); err != nil {
			result.Uncached = firstLine(printable(err.Error()))
		}
		if e != nil {
			return e, result
		}
	}
	e, err = newEngine(module, s, nil)
	if err != nil {
		return nil, outcome{Class: BadModule, Reason: firstLine(printable(err.Error()))}
	}
	return e, result
}

// newEngine leaves the limit of memory to [linear], which then knows that it was
// met. It uses wazero's compiler where there is one for the processor, its
// interpreter elsewhere. The code runs without checks for cancellation, which
// would make it several times slower: whoever wants it to stop kills the process.
func newEngine(module []byte, s setup, cache wazero.CompilationCache) (e *engine, err error) {
	ctx := context.Background()
	config := wazero.NewRuntimeConfig()
	if s.Interpret {
		config = wazero.NewRuntimeConfigInterpreter()
	}
	if cache != nil {
		config = config.WithCompilationCache(cache)
	}
	r := wazero.NewRuntimeWithConfig(ctx, config.
		WithCoreFeatures(api.CoreFeaturesV2&^api.CoreFeatureSIMD).
		WithDebugInfoEnabled(false))
	defer func() {
		if e == nil {
			err = errors.Join(err, r.Close(ctx))
		}
	}()
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return nil, err
	}
	compiled, err := r.CompileModule(ctx, module)
	if err != nil {
		return nil, err
	}
	memory, err := newLinear(s.Memory)
	if err != nil {
		return nil, err
	}
	return &engine{runtime: r, module: compiled, memory: memory}, nil
}

// run executes the module once, with a memory of its own. Everything it can
// see is in the job, so equal jobs have equal results.
func (e *engine) run(j job, stdin io.Reader, stdout, stderr io.Writer) (result outcome) {
	if e.native != nil {
		return e.runNative(j, stdin, stdout, stderr)
	}
	defer func() {
		if r := recover(); r != nil {
			result = outcome{Class: Crash, Reason: fmt.Sprintf("the engine failed: %v", r)}
		}
	}()
	e.memory.Free() // whatever a run before has left
	e.memory.refused = false
	ctx := experimental.WithMemoryAllocator(context.Background(), e.memory)
	// Wrapped, so that wazero sees plain streams and not files it could poll.
	config := withClock(wazero.NewModuleConfig()).WithName("").WithArgs(j.Args...).WithStartFunctions().
		WithStdin(struct{ io.Reader }{stdin}).WithStdout(stdout).WithStderr(struct{ io.Writer }{stderr})
	for _, pair := range j.Env {
		name, value, _ := strings.Cut(pair, "=")
		config = config.WithEnv(name, value)
	}
	module, err := e.runtime.InstantiateModule(ctx, e.module, config)
	if err != nil {
		return classify(err)
	}
	defer module.Close(ctx)
	memory := module.Memory()
	_, err = module.ExportedFunction("_start").Call(ctx)
	result = classify(err)
	result.Memory = int64(memory.Size())
	return e.wanting(result)
}

// wanting says of a module that failed whether it had too little memory. A
// program has other words for that: it aborts, or exits with 1.
func (e *engine) wanting(o outcome) outcome {
	memory := e.module.ExportedMemories()["memory"]
	most, own := memory.Max()
	switch {
	case e.memory.refused && (o.Class == Trap || o.Class == Exit):
		o.Class, o.Reason = ResourceLimit, outOfMemory
	case e.memory.refused:
		o.Note = "it was refused memory"
	case own && most > memory.Min() && o.Memory == int64(most)*pageSize:
		o.Note = "it had all the memory that it declares as its maximum"
	}
	return o
}

// withClock gives the module a clock that ticks one microsecond per look and
// jumps over sleeps. wazero's own ticks a millisecond, which upsets the
// garbage collector of Go modules.
func withClock(config wazero.ModuleConfig) wazero.ModuleConfig {
	var now int64
	tick := func() int64 { now += 1000; return now }
	return config.
		WithNanotime(tick, 1000).
		WithWalltime(func() (int64, int32) {
			t := tick()
			return epoch + t/1e9, int32(t % 1e9)
		}, 1000).
		WithNanosleep(func(ns int64) { now += max(ns, 0) })
}

func classify(err error) outcome {
	var exit *sys.ExitError
	switch {
	case err == nil:
		return outcome{}
	case !errors.As(err, &exit):
		reason := strings.TrimPrefix(firstLine(printable(err.Error())), "wasm error: ")
		if strings.HasPrefix(reason, "stack overflow") {
			return outcome{Class: StackOverflow}
		}
		return outcome{Class: Trap, Reason: reason}
	}
	return exited(int(exit.ExitCode()))
}

// exited makes an exit code an outcome.
func exited(code int) outcome {
	switch code {
	case 0:
		return outcome{}
	case 2:
		return outcome{Class: Refused, Code: 2}
	}
	return outcome{Class: Exit, Code: code}
}
