package transformtest

import (
	"maps"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"
)

// Vary returns a state of the same shape with other values: in its JSON files,
// one or several documents each, numbers, strings, lengths of lists and the order
// of members change, but no member comes or goes. In other text, numbers and
// words change and lines are repeated, dropped and swapped. Binary files stay as
// they are.
func Vary(r *rand.Rand, state State) State {
	names := state.text()
	if len(names) == 0 {
		return state
	}
	varied := maps.Clone(state)
	for range 1 + r.IntN(3) {
		name := names[r.IntN(len(names))]
		kinds := values(varied[name])
		for _, i := range r.Perm(len(kinds)) {
			if next := kinds[i](r, varied[name]); next != varied[name] {
				varied[name] = next
				break
			}
		}
	}
	return varied
}

// A kind is one way to change a file.
type kind func(*rand.Rand, string) string

// A twist changes one file of a state in one way.
type twist struct {
	file string
	kind kind
}

// twists lists the ways in which some files of a state vary that change
// something, the files taking turns, so that few variations try many kinds.
func twists(r *rand.Rand, state State, names []string) []twist {
	var all []twist
	for i, more := 0, true; more; i++ {
		more = false
		for _, name := range names {
			kinds := kindsOf(state[name])
			if i >= len(kinds) || !isText(state[name]) {
				continue
			}
			more = true
			if kinds[i](r, state[name]) != state[name] {
				all = append(all, twist{name, kinds[i]})
			}
		}
	}
	return all
}

// vary returns the n-th variation for a [Suite]: one twist, those of form
// included; when all had their turn, several at a time.
func vary(r *rand.Rand, state State, all []twist, n int) State {
	if len(all) == 0 {
		return state
	}
	t := all[n%len(all)]
	varied := maps.Clone(state)
	varied[t.file] = t.kind(r, varied[t.file])
	if n >= len(all) {
		return Vary(r, varied)
	}
	return varied
}

// text returns the names of the files that vary.
func (s State) text() []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if isText(s[name]) {
			names = append(names, name)
		}
	}
	return names
}

// binary reports whether there is something that [Vary] leaves as it is.
func (s State) binary() bool {
	for _, content := range s {
		if content != "" && !isText(content) {
			return true
		}
	}
	return false
}

// kindsOf lists the ways in which a file varies: by turns in what it says and in
// how it is written.
func kindsOf(content string) []kind {
	var all []kind
	for i, value := range values(content) {
		all = append(all, value)
		if i < len(forms) {
			all = append(all, forms[i])
		}
	}
	return all
}

// values lists the ways in which what a file says varies, those that authors
// overlook most first.
func values(content string) []kind {
	if docs, err := parseDocuments(content); err == nil && len(docs) > 0 {
		return documentValues
	}
	return textValues
}

// ofDocuments applies a change of documents to a file of them.
func ofDocuments(change func(*rand.Rand, []*document) []*document) kind {
	return func(r *rand.Rand, content string) string {
		docs, err := parseDocuments(content) // a copy
		if err != nil || len(docs) == 0 {
			return content
		}
		return format(change(r, docs), content)
	}
}

// documentValues change JSON documents.
var documentValues = []kind{
	ofDocuments(func(_ *rand.Rand, docs []*document) []*document { return shift(docs, 1) }),
	ofDocuments(numbersTo("9007199254740993")), // 2⁵³ + 1
	ofDocuments(func(r *rand.Rand, docs []*document) []*document { return one(r, docs, 's', varyString) }),
	ofDocuments(reorder),
	ofDocuments(func(r *rand.Rand, docs []*document) []*document { return one(r, docs, 'n', varyNumber) }),
	ofDocuments(func(r *rand.Rand, docs []*document) []*document { return one(r, docs, '[', varyList) }),
	ofDocuments(numbersTo("9223372036854775808")), // 2⁶³
	ofDocuments(func(_ *rand.Rand, docs []*document) []*document { return shift(docs, -1) }),
	ofDocuments(numbersTo("1e308")),
	ofDocuments(func(r *rand.Rand, docs []*document) []*document { return one(r, docs, 'c', varyConstant) }),
	ofDocuments(varyDocuments),
	ofDocuments(numbersTo("-0")),
	ofDocuments(func(r *rand.Rand, docs []*document) []*document {
		return one(r, docs, 's', func(_ *rand.Rand, d *document) { d.text = strings.Repeat("long ", longLine/5) })
	}),
	ofDocuments(numbersTo("0")),
	ofDocuments(func(r *rand.Rand, docs []*document) []*document { return one(r, docs, 'n', enlarge) }),
}

// forms change how a file is written: what a component may well do, and who
// writes a transform does not think of.
var forms = []kind{
	lastEnd, returns, empty, blankLine,
	func(_ *rand.Rand, content string) string { return pretty(content) },
}

// lastEnd takes the end of the last line, or adds one.
func lastEnd(_ *rand.Rand, content string) string {
	if cut := strings.TrimSuffix(content, "\n"); cut != content && cut != "" {
		return cut
	}
	return content + "\n"
}

func empty(*rand.Rand, string) string { return "" }

// returns ends lines as on Windows.
func returns(_ *rand.Rand, content string) string {
	if strings.Contains(content, "\r\n") {
		return content
	}
	return strings.ReplaceAll(content, "\n", "\r\n")
}

// longLine is more than what readers of lines have room for by default.
const longLine = 70_000

func blankLine(r *rand.Rand, content string) string {
	return reline(content, func(lines []string) []string { return slices.Insert(lines, r.IntN(len(lines)+1), "\n") })
}

// numbersTo makes some numbers, or all, a number at the border of what programs
// can count.
func numbersTo(border string) func(*rand.Rand, []*document) []*document {
	return func(r *rand.Rand, docs []*document) []*document {
		var all []*document
		for _, doc := range docs {
			doc.walk(func(d *document) {
				if d.kind == 'n' {
					all = append(all, d)
				}
			})
		}
		for _, i := range some(r, len(all)) {
			all[i].text = border
		}
		return docs
	}
}

// some picks one of n, about half of them, or all: one that is refused hides
// what is done to the others.
func some(r *rand.Rand, n int) []int {
	if n == 0 {
		return nil
	}
	order := r.Perm(n)
	return order[:[]int{1, (n + 1) / 2, n}[r.IntN(3)]]
}

// one changes one value of a kind.
func one(r *rand.Rand, docs []*document, kind byte, change func(*rand.Rand, *document)) []*document {
	var all []*document
	for _, doc := range docs {
		doc.walk(func(d *document) {
			if d.kind == kind {
				all = append(all, d)
			}
		})
	}
	if len(all) > 0 {
		change(r, all[r.IntN(len(all))])
	}
	return docs
}

// shift adds to all whole numbers: what goes wrong at a limit is off by one.
func shift(docs []*document, by int64) []*document {
	for _, doc := range docs {
		doc.walk(func(d *document) {
			if d.kind == 'n' {
				d.text = plus(d.text, by)
			}
		})
	}
	return docs
}

// plus adds to a whole number, and leaves others as they are.
func plus(number string, by int64) string {
	n, ok := new(big.Int).SetString(number, 10)
	if !ok {
		return number
	}
	return n.Add(n, big.NewInt(by)).String()
}

// reorder turns the members of all objects around: their order means nothing.
func reorder(_ *rand.Rand, docs []*document) []*document {
	for _, doc := range docs {
		doc.walk(func(d *document) {
			if d.kind == '{' {
				slices.Reverse(d.keys)
				slices.Reverse(d.values)
			}
		})
	}
	return docs
}

// varyDocuments repeats, drops or swaps documents, if there are several.
func varyDocuments(r *rand.Rand, docs []*document) []*document {
	list := &document{kind: '[', values: docs}
	if len(docs) > 1 {
		varyList(r, list)
	}
	if len(list.values) == 0 { // an empty file is another thing
		return docs
	}
	return list.values
}

var (
	strange = []string{"é漢😀", "", " ", "0", "a\"b\\c/d", "\u2028\u0007", "<&>", "null", strings.Repeat("long ", 200)}
	numbers = []string{
		"0", "-1", "1", "10", "0.1", "-0.5", "12.345", "1e3", "100000", "1e-7", "0.30000000000000004",
	}
	large = []string{
		"2147483648", "-2147483649", "9007199254740993", "9223372036854775808", "-18446744073709551617", "123456789012345678901234567890",
	}
)

func varyNumber(r *rand.Rand, d *document) { d.text = numbers[r.IntN(len(numbers))] }

func enlarge(r *rand.Rand, d *document) { d.text = large[r.IntN(len(large))] }

func varyString(r *rand.Rand, d *document) { d.text = strange[r.IntN(len(strange))] }

func varyConstant(_ *rand.Rand, d *document) {
	d.text = map[string]string{"true": "false", "false": "true", "null": "null"}[d.text]
}

// varyList repeats an element, or swaps, drops or empties.
func varyList(r *rand.Rand, d *document) {
	n := len(d.values)
	if n == 0 {
		return
	}
	i, j := r.IntN(n), r.IntN(n)
	switch r.IntN(4) {
	case 0:
		d.values = slices.Insert(d.values, i, d.values[i].clone())
	case 1:
		d.values[i], d.values[j] = d.values[j], d.values[i]
	case 2:
		d.values = slices.Delete(d.values, i, i+1)
	case 3:
		d.values = nil
	}
}
