package transformtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/sdk/pack"
	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// An Edge is one transform of a package.
type Edge struct {
	host.Step
	Lossy bool // something is forgotten that the way back would need
}

// A Suite tests the transforms of a package on examples: that each state comes
// out as the example says; that there and back is where it began, unless the
// edge is lossy; that a direct edge does what the chain around it does; that
// a run which was interrupted can be done again; and, on variations of the
// examples, that a transform refuses a state or does all this, but never fails
// in another way.
type Suite struct {
	Host       *host.Host
	Edges      []Edge
	Cases      []Case
	Variations int    // for each edge and example of its schema
	Seed       uint64 // of the variations; the same seed gives the same ones
	// Progress gets the checks done and the total, also in the middle of one that
	// takes many runs, and may be nil.
	Progress func(done, total int64)
}

// A Result tells what a suite found.
type Result struct {
	Checks     int
	Variations int // of the checks, those on variations
	Refused    int // of the variations, those that were refused, which is fine
	Failures   []Failure
	// Unchecked are the cases of which nothing tells what should come back
	// over edges that are lossy both ways: see [Case.Back].
	Unchecked []string
	// Alone are the cases with a state of one schema only, whose results are
	// compared with no wanted one.
	Alone []string
	// Binary reports that examples have files which do not vary, see [Vary].
	Binary bool
	// Skipped are the checks left undone after one that nothing can be said
	// after, and Stopped says why: the module is one that no device would run,
	// or it ran into a limit, where each of the others might take as long.
	Skipped int
	Stopped string
}

// Failed returns how many checks did.
func (r Result) Failed() int {
	n := len(r.Failures)
	for _, f := range r.Failures {
		n += len(f.Also)
	}
	return n
}

// A Failure is one check that failed.
type Failure struct {
	Case   string // "" if it is about no case
	Check  string // as in "1→2" or "round trip 1→2→1"; "" if no check is possible
	Detail string // of several lines: the error or the difference
	// Example is the smallest variation found that fails; nil if the
	// example itself does.
	Example State
	// Also are other checks of the case that fail in the same way.
	Also []string
}

func (f Failure) String() string {
	text := strings.TrimSpace(f.Detail)
	for _, about := range []string{f.Check, f.Case} {
		if about != "" {
			text = about + ": " + text
		}
	}
	if len(f.Also) > 0 {
		text += "\n(in the same way: " + strings.Join(f.Also, ", ") + ")"
	}
	if f.Example == nil {
		return text
	}
	text += "\nthe smallest state that does this:\n"
	for _, name := range slices.Sorted(maps.Keys(f.Example)) {
		text += fmt.Sprintf("-- %s --\n%s\n", name, visible(f.Example[name]))
	}
	return strings.TrimSpace(text)
}

// Run does all checks, up to the first that runs into a limit of the sandbox, or
// whose module is refused. An error is a failure of the host or of ctx, not of a
// transform.
func (s *Suite) Run(ctx context.Context) (Result, error) {
	dir, err := os.MkdirTemp("", "transformtest-")
	if err != nil {
		return Result{}, fmt.Errorf("cannot make room for the tests: %w", err)
	}
	defer os.RemoveAll(dir)
	defer s.Host.Keep()()
	known := *s
	known.Edges = withDigests(s.Edges)
	r := &suiteRun{Suite: &known, ctx: ctx, dir: dir}
	checks := r.plan()
	r.total = len(checks)
	for _, c := range checks {
		if err := r.do(c); err != nil {
			return r.found, err
		}
		r.done++
		if r.stopped() {
			r.found.Skipped = r.total - r.done
			break
		}
		r.progress()
	}
	return r.found, nil
}

// withDigests returns edges by which the host looks into each module once, and
// not for each run. Where there is no module, the host says so.
func withDigests(edges []Edge) []Edge {
	edges = slices.Clone(edges)
	for i, e := range edges {
		if data, err := os.ReadFile(e.Module); err == nil && e.Digest == "" {
			edges[i].Digest = fmt.Sprintf("sha256:%x", sha256.Sum256(data))
		}
	}
	return edges
}

type suiteRun struct {
	*Suite
	found Result
	ctx   context.Context
	dir   string
	runs  int

	done, total int // checks
}

// stopped reports whether the rest is left undone.
func (r *suiteRun) stopped() bool { return r.found.Stopped != "" }

func (r *suiteRun) progress() {
	if r.Progress != nil {
		r.Progress(int64(r.done), int64(r.total))
	}
}

// A check is one thing to do; it returns what is wrong, or "", or the failure
// of a module or of the host.
type check struct {
	in   string // case
	name string
	do   func() (string, error)
	vary func() error // instead of do
}

// plan lists all checks.
func (r *suiteRun) plan() []check {
	checks := r.idle()
	for i, c := range r.Cases {
		if c.Refused != "" {
			checks = append(checks, r.refusals(c)...)
			continue
		}
		checks = append(checks, r.golden(c)...)
		for _, schema := range slices.Sorted(maps.Keys(c.States)) {
			for _, e := range r.Edges {
				if e.From == schema {
					checks = append(checks, r.properties(c, e, c.States[schema], i*r.Variations)...)
				}
			}
		}
	}
	return checks
}

// idle are edges that no example is about: nothing of them would be tested.
func (r *suiteRun) idle() []check {
	var checks []check
	for _, e := range r.Edges {
		there, used := false, false
		for _, c := range r.Cases {
			state, ok := c.States[e.From]
			there, used = there || ok, used || len(e.about(state)) > 0
		}
		if there && !used {
			checks = append(checks, check{name: way(e), do: func() (string, error) {
				return fmt.Sprintf("no example has a file like its files, %q: nothing of it is tested", e.Files), nil
			}})
		}
	}
	return checks
}

func (r *suiteRun) do(c check) error {
	if c.vary != nil {
		return c.vary()
	}
	r.found.Checks++
	detail, err := c.do()
	if e, ok := errors.AsType[*host.Error](err); ok && e.Class == host.BadModule {
		r.found.Failures = append(r.found.Failures, Failure{Detail: e.Error()}) // whatever was to be checked
		return nil
	}
	if detail, err = moduleFailure(detail, err); err != nil {
		return err
	}
	if detail != "" {
		r.fail(Failure{Case: c.in, Check: c.name, Detail: detail})
	}
	return nil
}

// fail notes a failure, once for all checks of a case that find the same.
func (r *suiteRun) fail(f Failure) {
	for i := range r.found.Failures {
		if same := &r.found.Failures[i]; same.Case == f.Case && same.Detail == f.Detail && same.Example == nil {
			same.Also = append(same.Also, f.Check)
			return
		}
	}
	r.found.Failures = append(r.found.Failures, f)
}

// moduleFailure makes the failure of a module a finding like any other.
func moduleFailure(detail string, err error) (string, error) {
	if e, ok := errors.AsType[*host.Error](err); ok {
		detail, err = e.Error(), nil
		if log := e.MoreLog(); log != "" {
			detail += "\nits log:\n" + log
		}
	}
	return detail, err
}

// refusals wants a state refused by every edge that leads on from it.
func (r *suiteRun) refusals(c Case) []check {
	var checks []check
	for schema, state := range c.States {
		for _, e := range r.Edges {
			if e.From != schema {
				continue
			}
			checks = append(checks, check{in: c.Name, name: "refuses " + way(e), do: func() (string, error) {
				_, err := r.apply(state, e)
				wrong, ok := errors.AsType[*host.Error](err)
				switch {
				case err == nil:
					return "it was not refused", nil
				case !ok || wrong.Class == host.BadModule:
					return "", err
				case wrong.Class != host.Refused:
					return "it was not refused: " + wrong.Error(), nil
				case !strings.Contains(wrong.Reason, c.Refused):
					return fmt.Sprintf("the reason is %q, without %q", wrong.Reason, c.Refused), nil
				}
				return "", nil
			}})
		}
	}
	return checks
}

// golden wants each state of a case from the one before, and back.
func (r *suiteRun) golden(c Case) []check {
	var checks []check
	schemas := slices.Sorted(maps.Keys(c.States))
	for i := 1; i < len(schemas); i++ {
		low, high := schemas[i-1], schemas[i]
		up, down := r.chain(low, high, -1), r.chain(high, low, -1)
		if up == nil {
			checks = append(checks, check{in: c.Name, name: fmt.Sprintf("%d→%d", low, high), do: func() (string, error) {
				return "no transform leads there", nil
			}})
			continue
		}
		checks = append(checks, r.wants(c, way(up...), c.States[low], c.States[high], up))
		if down != nil && !lossy(up) {
			checks = append(checks, r.returns(c, way(down...), c.States[high], c.States[low], down))
		}
	}
	low, high := schemas[0], schemas[len(schemas)-1]
	if low == high {
		r.found.Alone = append(r.found.Alone, c.Name)
	}
	both := slices.Concat(r.chain(low, high, -1), r.chain(high, low, -1))
	if c.Back != nil && len(both) > 1 {
		checks = append(checks, r.returns(c, "what comes back of "+way(both...), c.States[low], c.Back, both))
	}
	if c.Back == nil && lossy(r.chain(low, high, -1)) && lossy(r.chain(high, low, -1)) {
		r.found.Unchecked = append(r.found.Unchecked, c.Name)
		checks = append(checks, check{in: c.Name, name: "once more " + way(both...), do: func() (string, error) {
			return r.settles(c.States[low], both)
		}})
	}
	return checks
}

// settles wants nothing more to be lost when a state goes there and back again.
func (r *suiteRun) settles(state State, both []Edge) (string, error) {
	once, err := r.apply(state, both...)
	if err != nil {
		return "", err
	}
	twice, err := r.apply(once, both...)
	if err != nil {
		return "", err
	}
	return Diff(once.canonical(r.Edges), twice.canonical(r.Edges)), nil
}

func (r *suiteRun) wants(c Case, name string, from, want State, chain []Edge) check {
	return check{in: c.Name, name: name, do: func() (string, error) {
		got, err := r.apply(from, chain...)
		if err != nil {
			return "", err
		}
		return Diff(want, got), nil
	}}
}

// returns is wants for a way back: how JSON was written need not come back.
func (r *suiteRun) returns(c Case, name string, from, want State, chain []Edge) check {
	return check{in: c.Name, name: name, do: func() (string, error) {
		got, err := r.apply(from, chain...)
		if err != nil {
			return "", err
		}
		return Diff(want.canonical(r.Edges), got.canonical(r.Edges)), nil
	}}
}

// properties are the checks that need no wanted state. Each case begins its
// variations, by the number of the first, where the one before has ended.
func (r *suiteRun) properties(c Case, e Edge, state State, first int) []check {
	checks := []check{{in: c.Name, name: "again " + way(e), do: func() (string, error) { return r.again(state, e) }}}
	if back := r.chain(e.To, e.From, -1); back != nil && !e.Lossy {
		checks = append(checks, check{in: c.Name, name: "round trip " + way(append([]Edge{e}, back...)...), do: func() (string, error) {
			return r.roundTrip(state, e, back)
		}})
	}
	if around := r.around(e); around != nil {
		checks = append(checks, check{in: c.Name, name: way(around...) + " as " + way(e), do: func() (string, error) {
			direct, err := r.apply(state, e)
			if err != nil {
				return "", err
			}
			return r.sameAs(direct, state, around)
		}})
	}
	r.found.Binary = r.found.Binary || r.Variations > 0 && state.binary()
	all := twists(rand.New(rand.NewPCG(r.Seed, 0)), state, e.about(state))
	variations := r.Variations
	if len(all) == 0 {
		variations = 0
	}
	for i := range variations {
		seed, n := rand.New(rand.NewPCG(r.Seed, uint64(i))), i+first%max(len(all), 1)
		checks = append(checks, check{vary: func() error { return r.variation(c, e, vary(seed, state, all, n)) }})
	}
	return checks
}

// again interrupts a run, does it again and wants what another run gives.
func (r *suiteRun) again(state State, e Edge) (string, error) {
	begin := time.Now()
	want, err := r.apply(state, e)
	if err != nil {
		return "", err
	}
	in, out := r.room()
	if err := state.Write(in); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(r.ctx, time.Since(begin)/2)
	defer cancel()
	if _, err := r.Host.Run(ctx, steps(e), in, out, nil); err == nil {
		if err := os.RemoveAll(out); err != nil { // it was too fast for us
			return "", err
		}
	}
	if _, err := r.Host.Run(r.ctx, steps(e), in, out, nil); err != nil {
		return "", err
	}
	got, err := ReadState(out)
	return Diff(want, got), err
}

func (r *suiteRun) roundTrip(state State, e Edge, back []Edge) (string, error) {
	there, err := r.apply(state, e)
	if err != nil {
		return "", err
	}
	again, err := r.apply(there, back...)
	if err != nil {
		return "", fmt.Errorf("the way back: %w", err)
	}
	return Diff(state.canonical(r.Edges), again.canonical(r.Edges)), nil
}

// sameAs wants of the chain around an edge what the edge made of a state.
func (r *suiteRun) sameAs(direct, state State, around []Edge) (string, error) {
	chained, err := r.apply(state, around...)
	if err != nil {
		return "", err
	}
	return Diff(direct.canonical(r.Edges), chained.canonical(r.Edges)), nil
}

// limits are the classes of failure that can take long, each time.
var limits = []host.Class{host.Deadline, host.OutputLimit, host.ResourceLimit}

// apply runs a chain of edges on a state.
func (r *suiteRun) apply(state State, chain ...Edge) (State, error) {
	in, out := r.room()
	defer os.RemoveAll(filepath.Dir(in))
	if err := state.Write(in); err != nil {
		return nil, err
	}
	_, err := r.Host.Run(r.ctx, steps(chain...), in, out, nil)
	if e, ok := errors.AsType[*host.Error](err); ok {
		switch {
		case e.Class == host.BadModule:
			r.found.Stopped = "no device would run the module"
		case slices.Contains(limits, e.Class):
			r.found.Stopped = "it ran into a limit"
		}
	}
	r.progress()
	if err != nil {
		return nil, err
	}
	return ReadState(out)
}

// room returns two directories that are still to be made.
func (r *suiteRun) room() (in, out string) {
	r.runs++
	dir := filepath.Join(r.dir, strconv.Itoa(r.runs))
	return filepath.Join(dir, "in"), filepath.Join(dir, "out")
}

func steps(chain ...Edge) []host.Step {
	var steps []host.Step
	for _, e := range chain {
		steps = append(steps, e.Step)
	}
	return steps
}

// chain returns the shortest way between two schemas that does not use the
// edge of the index without; nil if there is none.
func (r *suiteRun) chain(from, to, without int) []Edge {
	var all []pack.Transform
	for i, e := range r.Edges {
		if i != without {
			all = append(all, pack.Transform{From: e.From, To: e.To})
		}
	}
	found, err := pack.Chain(all, from, to)
	if err != nil {
		return nil
	}
	var chain []Edge
	for _, t := range found {
		chain = append(chain, r.Edges[slices.IndexFunc(r.Edges, func(e Edge) bool { return e.From == t.From && e.To == t.To })])
	}
	return chain
}

// around returns the chain that leads where an edge does; nil if there is none.
func (r *suiteRun) around(e Edge) []Edge {
	return r.chain(e.From, e.To, slices.IndexFunc(r.Edges, func(o Edge) bool { return o.From == e.From && o.To == e.To }))
}

func lossy(chain []Edge) bool {
	return slices.ContainsFunc(chain, func(e Edge) bool { return e.Lossy })
}

// way writes a chain as in "1→2→3".
func way(chain ...Edge) string {
	text := strconv.Itoa(chain[0].From)
	for _, e := range chain {
		text += "→" + strconv.Itoa(e.To)
	}
	return text
}
