// Package transform is what an author of a state transform writes against in
// Go. A transform is a program that maps the state of one schema to another:
// a pure function from the bytes on stdin to the bytes on stdout, compiled
// with GOOS=wasip1 GOARCH=wasm and run in a sandbox. Its whole main is
//
//	func main() {
//		transform.Filter(func(in io.Reader, out io.Writer, e transform.Edge) error {
//			switch e.Way() {
//			case "1→2":
//				return up(in, out)
//			case "2→1":
//				return down(in, out)
//			}
//			return e.Unknown()
//		})
//	}
//
// [Filter] changes files one by one, and [Tree] sees the whole state at once.
// [JSON] is a filter for files that are one JSON document, [Lines] for those with
// one on each line, and [Each] for a long list in a document: both need memory for
// one line or element only. What a transform prints to stdout is the new state;
// what it has to say goes to stderr, as by log.Print, and the last line of that is
// shown when it fails. ABI.md tells what programs in other languages have to do.
package transform

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"strings"
)

// bufferSize is where a host call costs next to nothing per byte.
const bufferSize = 64 << 10

// ErrRefused marks a state that the transform does not know. The process then
// exits with 2 instead of 1; the update turns back either way.
var ErrRefused = errors.New("state refused")

// An Edge says which transformation is asked for.
type Edge struct {
	From, To int               // state schemas, positive
	File     string            // slash path of the file inside the state; "" in tree mode
	Format   string            // of the result: "json", "ndjson", "sqlite", "tar", "bytes" or ""
	Params   map[string]string // of the edge; names in lower case
}

// Way returns the edge as in "1→2", to switch on.
func (e Edge) Way() string { return fmt.Sprintf("%d→%d", e.From, e.To) }

// Unknown returns the error of a transform that does not know the way.
func (e Edge) Unknown() error { return Refuse("this transform knows no way %s", e.Way()) }

// Refuse returns an error that wraps [ErrRefused], for a state that is not
// what the transform was written for.
func Refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

// Filter runs fn on one file and exits the process. fn must read in to its
// end, and what it writes is the new content of the file. Both are buffered.
func Filter(fn func(in io.Reader, out io.Writer, e Edge) error) {
	log.SetFlags(0) // there is no time
	os.Exit(Exec(os.Args, os.Environ(), os.Stdin, os.Stdout, os.Stderr, fn))
}

// Exec is [Filter] without the process around it: it returns the exit code. The
// sandbox runs transforms so that it has as native code.
func Exec(args, env []string, stdin io.Reader, stdout, stderr io.Writer, fn func(io.Reader, io.Writer, Edge) error) int {
	err := filter(args, env, stdin, stdout, fn)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, err)
	if errors.Is(err, ErrRefused) {
		return 2
	}
	return 1
}

func filter(args, env []string, stdin io.Reader, stdout io.Writer, fn func(io.Reader, io.Writer, Edge) error) error {
	edge, err := parseEdge(args, env)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(stdout, bufferSize)
	if err := fn(bufio.NewReaderSize(stdin, bufferSize), out, edge); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("cannot write the new state: %w", err)
	}
	return nil
}

// parseEdge reads the ABI's arguments and environment.
func parseEdge(args, env []string) (Edge, error) {
	if len(args) < 3 {
		return Edge{}, errors.New("usage: transform FROM TO [FILE] <old >new")
	}
	edge := Edge{Params: map[string]string{}}
	var err error
	if edge.From, err = strconv.Atoi(args[1]); err != nil {
		return Edge{}, fmt.Errorf("FROM is not a schema number: %w", err)
	}
	if edge.To, err = strconv.Atoi(args[2]); err != nil {
		return Edge{}, fmt.Errorf("TO is not a schema number: %w", err)
	}
	if len(args) > 3 {
		edge.File = args[3]
	}
	for _, pair := range env {
		name, value, _ := strings.Cut(pair, "=")
		if param, ok := strings.CutPrefix(name, "PARAM_"); ok {
			edge.Params[strings.ToLower(param)] = value
		} else if name == "STATE_FORMAT" {
			edge.Format = value
		}
	}
	return edge, nil
}
