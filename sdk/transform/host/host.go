// Package host runs state transforms: WebAssembly modules that map the state
// of one schema to another (sdk/transform/ABI.md). It is used by the agent, by
// the command line tool and by the authors' test kit.
//
// A module is not trusted. Before any engine sees it, [Check] walks its
// sections and refuses what has no place in a transform. Then it is compiled
// and run in a child process, the sandbox: the program executes itself again,
// and [Main] turns that copy into the sandbox. It has an empty environment and
// limits of resources, sees no files but the cache of compiled modules, and
// gives up that as well, its user and nearly all system calls before the
// module runs; a layer that the system lacks is logged once. A module that exhausts memory, loops for ever or
// crashes the engine takes only the sandbox with it, and [Host.Run] returns an
// [Error] that says what happened.
//
// Every program that uses a Host, test binaries included, calls [Main] first:
//
//	func main() {
//		host.Main(nil)
//		…
//	}
//
// Nothing is ever transformed in place: Run reads one directory and makes
// another, which appears when it is complete.
package host

import (
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// A Host runs transforms below one ceiling of resources. Its methods may be
// called from several goroutines.
type Host struct {
	// Cache is a directory for compiled modules, made with mode 0700 if it
	// is missing. What lies there is executed: it must belong to the caller
	// alone. It comes to 256 MiB at most; what was not used for longest leaves.
	Cache string
	// Reserve is how much of the disk results and compiled modules must leave
	// free, in bytes, and as large a share of its inodes. All that is under way
	// keeps to it together.
	Reserve int64
	// Ceiling bounds what one module may use; zero fields mean the default.
	Ceiling Limits
	// Log gets what transforms write to stderr; nil discards it.
	Log *slog.Logger
	// Interpret uses the engine's interpreter although it has a compiler for
	// this processor, to see what a device without one will take.
	Interpret bool
	// Wasm runs each module as Wasm, also one for which the program knows
	// native code (see [Main]): as a device does whose agent is of another
	// release.
	Wasm bool
	// Program is executed as the sandbox; it must call [Main] first. Empty
	// means this program. Another one is better if this is built with the
	// race detector, which slows a sandbox down ten times.
	Program string

	lounge  lounge
	keeping atomic.Int32
	told    sync.Map // what was logged once
	natives sync.Map // digests of modules for which the sandbox has native code
	checked sync.Map // SHA-256 of modules, by what was [checked]
	ledger  ledger
	caching caching
	logs    logs
}

// Limits bounds one run of a module: that is one file in filter mode, or a piece
// of it if the step is split, and the whole state in tree mode.
type Limits struct {
	Memory  int64         // bytes of linear memory; default 128 MiB
	CPU     time.Duration // default 1 min
	Wall    time.Duration // default 5 min
	Compile time.Duration // wall and CPU time to compile a module; default 2 min
	Output  int64         // bytes of one result; default twice the input and 16 MiB
	Log     int64         // bytes of stderr that are kept, half head, half tail; default 64 KiB. Of runs that end well as many are logged in an hour
}

// Modes of a step.
const (
	Filter = "filter" // one file after the other; the default
	Tree   = "tree"   // the whole state as one tar stream
)

// A Step is one edge of a chain: a module that leads from one schema to another.
type Step struct {
	Module string            // path of the Wasm module
	Digest string            // "sha256:<hex>" that the module must have; "" if the caller knows it
	From   int               // schema of the input
	To     int               // schema of the output
	Mode   string            // Filter (or "") or Tree
	Files  []string          // path.Match patterns of slash paths in the state; none: every file
	Format string            // of the result: "json", "ndjson", "sqlite", "tar", "bytes" (or "")
	Split  string            // "lines" (SplitLines) if f(a+b) = f(a)+f(b) for whole lines: then only pieces that changed are transformed
	Schema []byte            // JSON Schema of the result, for json or of each line for ndjson; nil: any
	Params map[string]string // handed to the module; names of letters, digits and _
	Limits Limits            `json:",omitzero"` // of this module, below the ceiling; zero fields: the ceiling
}

// A Report tells what a run did.
type Report struct {
	Transformed int           // files written by modules
	Kept        int           // pieces of them that needed no module
	Carried     int           // files taken over unchanged, over all steps
	In, Out     int64         // bytes read and written by modules
	Memory      int64         // largest linear memory of a module, bytes
	Native      bool          // native code took the place of a module; Memory is then that of its process
	CPU         time.Duration // longest run of a module, CPU time
	TotalCPU    time.Duration // all runs of modules, CPU time
	Wall        time.Duration // whole run, with compilation

	// Unchecked are the databases that were accepted without SQLite's integrity
	// check, for want of time or memory.
	Unchecked []string

	// Extended are the files of which Refresh has kept so many bytes at the
	// begin of the earlier result, and written what follows.
	Extended map[string]int64
}
