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
// [Filter] changes files one by one, [Tree] sees the whole state at once, and
// [JSON] is a filter for files that are one JSON document. ABI.md tells what
// programs in other languages have to do.
package transform

import (
	"archive/tar"
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	Format   string            // of the result: "json", "ndjson", "bytes" or ""
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
	os.Exit(Exec(os.Args, os.Environ(), os.Stdin, os.Stdout, os.Stderr, fn))
}

// Tree runs fn on the whole state and exits the process. fn must read in to
// its end and write every file of the new state. Only directories and regular
// files are allowed, with relative names; times and owners are ignored.
func Tree(fn func(in *tar.Reader, out *tar.Writer, e Edge) error) { Filter(Archive(fn)) }

// Archive makes a function for [Filter] from one for [Tree].
func Archive(fn func(in *tar.Reader, out *tar.Writer, e Edge) error) func(in io.Reader, out io.Writer, e Edge) error {
	return func(in io.Reader, out io.Writer, e Edge) error {
		w := tar.NewWriter(out)
		if err := fn(tar.NewReader(in), w, e); err != nil {
			return err
		}
		return w.Close()
	}
}

// JSON is [Filter] for files that are one JSON document: it decodes the file
// into Old and writes what fn returns. Numbers in an any are json.Number, which
// keeps all their digits. Documents of many megabytes want a streaming Filter
// instead: in Wasm, encoding/json takes about 25 times their size in memory.
func JSON[Old, New any](fn func(Old, Edge) (New, error)) { Filter(document(fn)) }

// document makes a function for [Filter] from one for [JSON].
func document[Old, New any](fn func(Old, Edge) (New, error)) func(in io.Reader, out io.Writer, e Edge) error {
	return func(in io.Reader, out io.Writer, e Edge) error {
		d := json.NewDecoder(in)
		d.UseNumber() // a float64 would lose digits of what fn does not touch
		var old Old
		err := d.Decode(&old)
		if err == nil {
			if _, err = d.Token(); errors.Is(err, io.EOF) {
				err = nil
			} else {
				err = errors.New("something follows the document")
			}
		}
		if err != nil {
			return Refuse("%s is not the JSON of schema %d: %v", e.File, e.From, err)
		}
		result, err := fn(old, e)
		if err != nil {
			return err
		}
		return json.NewEncoder(out).Encode(result)
	}
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
