package transformtest

import (
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/transform/host"
)

// maxShrinks bounds the runs that are spent on a smaller example.
const maxShrinks = 200

// variation checks one edge on one variation, and shrinks it if it fails, but
// not at the price of a limit for each try.
func (r *suiteRun) variation(c Case, e Edge, state State) error {
	r.found.Checks++
	r.found.Variations++
	found, err := r.survives(e, state)
	if err != nil || found.kind == "" {
		if found.refused {
			r.found.Refused++
		}
		return err
	}
	if slices.ContainsFunc(r.found.Failures, func(f Failure) bool { return f.Case == c.Name && f.Check == found.check }) {
		return nil // one example is enough
	}
	if r.stopped() {
		r.found.Failures = append(r.found.Failures, Failure{Case: c.Name, Check: found.check, Detail: found.detail, Example: state})
		return nil
	}
	for tries := 0; ; {
		smaller, more, err := r.shrink(e, state, found.kind, &tries)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		state = smaller
	}
	if found, err = r.survives(e, state); err != nil {
		return err
	}
	r.found.Failures = append(r.found.Failures, Failure{Case: c.Name, Check: found.check, Detail: found.detail, Example: state})
	return nil
}

// shrink looks for one smaller state that fails in the same way.
func (r *suiteRun) shrink(e Edge, state State, kind string, tries *int) (State, bool, error) {
	for candidate := range smaller(state) {
		if *tries++; *tries > maxShrinks || r.stopped() {
			break
		}
		found, err := r.survives(e, candidate)
		if err != nil {
			return nil, false, err
		}
		if found.kind == kind {
			return candidate, true, nil
		}
	}
	return nil, false, nil
}

// A finding is what went wrong with a variation; kind "" if nothing did.
type finding struct {
	check, kind, detail string
	refused             bool
}

// survives wants an edge to refuse a state, or to transform it so that it can
// come back and is what the chain around the edge makes of it.
func (r *suiteRun) survives(e Edge, state State) (finding, error) {
	there, err := r.apply(state, e)
	if wrong, ok := errors.AsType[*host.Error](err); ok {
		if refuses(wrong) {
			return finding{refused: true}, nil
		}
		detail, _ := moduleFailure("", wrong)
		return finding{check: "variation " + way(e), kind: string(wrong.Class), detail: detail}, nil
	}
	if err != nil {
		return finding{}, err
	}
	if found, err := r.comesBack(e, state, there); err != nil || found.kind != "" {
		return found, err
	}
	return r.agrees(e, state, there)
}

// comesBack wants what an edge made of a state to come back, unless it is lossy.
func (r *suiteRun) comesBack(e Edge, state, there State) (finding, error) {
	back := r.chain(e.To, e.From, -1)
	if back == nil || e.Lossy {
		return finding{}, nil
	}
	name := "variation, round trip " + way(append([]Edge{e}, back...)...)
	again, err := r.apply(there, back...)
	if err != nil {
		detail, err := moduleFailure("", err)
		return finding{check: name, kind: "back", detail: detail}, err
	}
	if detail := Diff(state.canonical(r.Edges), again.canonical(r.Edges)); detail != "" {
		return finding{check: name, kind: "differs", detail: detail + toDo}, nil
	}
	return finding{}, nil
}

// toDo is for whoever meets a state that does not come back for the first time.
const toDo = "A transform refuses what the way back would lose (exit code 2), or its edge is lossy = true.\n"

// agrees wants the chain around an edge to refuse a state, which harms nobody,
// or to make the same of it.
func (r *suiteRun) agrees(e Edge, state, there State) (finding, error) {
	around := r.around(e)
	if around == nil {
		return finding{}, nil
	}
	name := "variation, " + way(around...) + " as " + way(e)
	detail, err := r.sameAs(there, state, around)
	if wrong, ok := errors.AsType[*host.Error](err); ok {
		if refuses(wrong) {
			return finding{}, nil
		}
		detail, _ := moduleFailure("", wrong)
		return finding{check: name, kind: "around " + string(wrong.Class), detail: detail}, nil
	}
	if err != nil || detail == "" {
		return finding{}, err
	}
	return finding{check: name, kind: "detour", detail: detail}, nil
}

// refuses reports whether a module ended because it did not want the state.
// Exit code 2 says so; other codes will do, but a crash of a program will not.
func refuses(e *host.Error) bool {
	return e.Class == host.Refused || e.Class == host.Exit &&
		!strings.HasPrefix(e.Reason, "panic: ") && !strings.HasPrefix(e.Reason, "fatal error: ")
}

// smaller lists states that have a little less in them, the boldest first.
func smaller(state State) iter.Seq[State] {
	return func(yield func(State) bool) {
		names := slices.Sorted(maps.Keys(state))
		for _, name := range names {
			if len(names) > 1 {
				less := maps.Clone(state)
				delete(less, name)
				if !yield(less) {
					return
				}
			}
		}
		for _, name := range names {
			for content := range smallerFile(state[name]) {
				less := maps.Clone(state)
				less[name] = content
				if !yield(less) {
					return
				}
			}
		}
	}
}

// smallerFile lists the file with less in it.
func smallerFile(content string) iter.Seq[string] {
	docs, err := parseDocuments(content)
	switch {
	case err == nil && len(docs) > 0:
		return smallerDocuments(docs, content)
	case isText(content):
		return smallerText(content)
	}
	return func(func(string) bool) {}
}

// smallerDocuments lists the documents without white space, half of them, or one value smaller.
func smallerDocuments(docs []*document, content string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if plain := format(docs, content); len(plain) < len(content) && !yield(plain) {
			return
		}
		if len(docs) > 1 {
			for _, half := range [][]*document{docs[:len(docs)/2], docs[len(docs)/2:]} {
				if !yield(format(half, content)) {
					return
				}
			}
		}
		var all []*document
		for _, doc := range docs {
			doc.walk(func(d *document) { all = append(all, d) })
		}
		for _, d := range all {
			before := *d
			for _, less := range smallerValues(d) {
				*d = less
				more := yield(format(docs, content))
				*d = before
				if !more {
					return
				}
			}
		}
	}
}

// smallerValues returns simpler values of the same kind.
func smallerValues(d *document) []document {
	var less []document
	switch d.kind {
	case '[':
		if n := len(d.values); n > 1 {
			less = append(less, document{kind: '[', values: d.values[:n/2]}, document{kind: '[', values: d.values[n/2:]})
		} else if n == 1 {
			less = append(less, document{kind: '['})
		}
	case 's':
		if n := len([]rune(d.text)); n > 0 {
			less = append(less, document{kind: 's'}, document{kind: 's', text: string([]rune(d.text)[:n/2])})
		}
	case 'n':
		for _, text := range []string{"0", "1", strings.TrimPrefix(d.text, "-"), half(d.text)} {
			if len(text) < len(d.text) || text < d.text && len(text) == len(d.text) {
				less = append(less, document{kind: 'n', text: text})
			}
		}
	}
	return less
}

// half returns the first half of the digits of a whole number, or all of it.
func half(number string) string {
	if len(number) < 2 || strings.Trim(number, "0123456789") != "" {
		return number
	}
	return number[:len(number)/2]
}
