package transformtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// Grow returns a file of at least size bytes of the same kind: the elements of
// the longest list of a JSON document are repeated, or the documents of a file
// with several, or the lines of other text. Binary files stay as they are.
func Grow(content string, size int) string {
	if len(content) >= size || !isText(content) {
		return content
	}
	docs, err := parseDocuments(content)
	switch {
	case err != nil || len(docs) == 0:
		return strings.Repeat(strings.TrimSuffix(content, "\n")+"\n", 1+size/len(content))
	case len(docs) > 1:
		return strings.Repeat(format(docs, "\n"), 1+size/len(content))
	}
	var longest *document
	docs[0].walk(func(d *document) {
		if d.kind == '[' && len(d.values) > 0 && (longest == nil || len(d.values) > len(longest.values)) {
			longest = d
		}
	})
	if longest == nil {
		return content
	}
	one := format([]*document{longest}, "")
	longest.values = slices.Repeat(longest.values, 1+size/(len(one)-1))
	return format(docs, content)
}

// A Rate tells how fast one edge is in one engine.
type Rate struct {
	Input  int64         // bytes
	CPU    time.Duration // of the module alone
	Start  time.Duration // of a sandbox with the module compiled, and a run on a small state
	Memory int64         // bytes of linear memory
	// Small says why no larger file could be measured; "" if one was. The rate
	// is then of many small ones, or of one, and means little.
	Small string
}

// PerSecond returns bytes of input per second.
func (r Rate) PerSecond() float64 { return float64(r.Input) / r.CPU.Seconds() }

// Per returns what a state of n bytes takes.
func (r Rate) Per(n int64) time.Duration {
	return r.Start + time.Duration(float64(n)/r.PerSecond()*float64(time.Second))
}

// Bench measures an edge on a state that is made to have about size bytes, within
// the limits of the edge and of the host. The module must be in the cache of the
// host already. A transform may not know a state that was blown up, or have no
// room for it: then the state itself has to do. progress gets the work done and the
// total of what takes long, and may be nil.
func Bench(ctx context.Context, h *host.Host, e Edge, state State, size int, progress func(done, total int64)) (Rate, error) {
	dir, err := os.MkdirTemp("", "transformbench-")
	if err != nil {
		return Rate{}, fmt.Errorf("cannot make room for the benchmark: %w", err)
	}
	defer os.RemoveAll(dir)
	small, err := benchOnce(ctx, h, e, state, filepath.Join(dir, "small"), nil)
	if err != nil {
		return Rate{}, err
	}
	why, measured := "nothing in it can be repeated", small
	for i, large := range []State{e.grow(state, size), e.copies(state, size)} {
		if large.Size() <= state.Size() {
			continue
		}
		report, err := benchOnce(ctx, h, e, large, filepath.Join(dir, strconv.Itoa(i)), progress)
		wrong, ok := errors.AsType[*host.Error](err)
		switch {
		case err == nil && i == 0:
			return rateOf(small, report), nil
		case err == nil:
			measured = report
		case !ok || !refuses(wrong) && !slices.Contains(limits, wrong.Class):
			return Rate{}, err
		case i == 0:
			why = wrong.Error()
		}
	}
	rate := rateOf(small, measured)
	rate.Small = why
	return rate, nil
}

func rateOf(small, large host.Report) Rate {
	return Rate{Input: large.In, CPU: max(large.TotalCPU, time.Microsecond), Start: small.Wall, Memory: large.Memory}
}

func benchOnce(ctx context.Context, h *host.Host, e Edge, state State, dir string, progress func(done, total int64)) (host.Report, error) {
	in := filepath.Join(dir, "in")
	if err := state.Write(in); err != nil {
		return host.Report{}, err
	}
	return h.Run(ctx, steps(e), in, filepath.Join(dir, "out"), progress)
}

// Size returns the bytes of the files of a state that an edge is about.
func (e Edge) Size(state State) (n int64) {
	for _, name := range e.about(state) {
		n += int64(len(state[name]))
	}
	return n
}

// Unused returns the patterns of an edge that are like no file of the cases that
// it begins with; none if there is no such case.
func (e Edge) Unused(cases []Case) []string {
	var names []string
	for _, c := range cases {
		names = slices.AppendSeq(names, maps.Keys(c.States[e.From]))
	}
	if len(names) == 0 {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(e.Files), func(pattern string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return matches(pattern, name) })
	})
}

func matches(pattern, name string) bool {
	ok, _ := path.Match(pattern, name)
	return ok
}

// about returns the names of the files that an edge is about.
func (e Edge) about(state State) []string {
	var names []string
	for name := range state {
		if len(e.Files) == 0 || slices.ContainsFunc(e.Files, func(pattern string) bool { return matches(pattern, name) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// grow makes the largest of the files larger.
func (e Edge) grow(state State, size int) State {
	names := e.about(state)
	large := State{}
	for name, content := range state {
		large[name] = content
	}
	if len(names) > 0 {
		name := slices.MaxFunc(names, func(a, b string) int { return len(state[a]) - len(state[b]) })
		large[name] = Grow(state[name], size)
	}
	return large
}

// maxCopies bounds the files of a state made of copies.
const maxCopies = 200

// copies adds copies of the largest file beside it, with names that the edge
// is still about.
func (e Edge) copies(state State, size int) State {
	large := e.grow(state, 0)
	names := e.about(state)
	if len(names) == 0 {
		return large
	}
	name := slices.MaxFunc(names, func(a, b string) int { return len(state[a]) - len(state[b]) })
	for i := range min(size/max(len(state[name]), 1), maxCopies) {
		another := path.Join(path.Dir(name), strconv.Itoa(1_000_000+i)+path.Ext(name))
		if len(e.about(State{another: ""})) == 1 {
			large[another] = state[name]
		}
	}
	return large
}
