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
		varied[name] = twist(r, varied[name], r.IntN(1000), false)
	}
	return varied
}

// vary returns the n-th variation for a [Suite]. The first ones have one twist
// each, those of form included, so that few of them try each kind; in later ones
// several come together.
func vary(r *rand.Rand, state State, n int) State {
	names := state.text()
	if len(names) == 0 {
		return state
	}
	const kinds = 12 // about as many as a file has
	name := names[(n+n/kinds)%len(names)]
	varied := maps.Clone(state)
	varied[name] = twist(r, varied[name], n, true)
	if n >= kinds*len(names) {
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

// twist applies the n-th kind of change to a file, or the next one that changes
// something; form adds those of how a file is written.
func twist(r *rand.Rand, content string, n int, form bool) string {
	var kinds []func() string
	if docs, err := parseDocuments(content); err == nil && len(docs) > 0 {
		for _, change := range documentTwists {
			kinds = append(kinds, func() string {
				varied, err := parseDocuments(content) // a copy
				if err != nil {
					return content
				}
				return format(change(r, varied), content)
			})
		}
	} else {
		for _, change := range textTwists {
			kinds = append(kinds, func() string { return change(r, content) })
		}
	}
	if form {
		for _, change := range formTwists {
			kinds = append(kinds, func() string { return change(r, content) })
		}
	}
	for i := range kinds {
		if varied := kinds[(n+i)%len(kinds)](); varied != content {
			return varied
		}
	}
	return content
}

// formTwists change how a file is written: what a component may well do, and
// who writes a transform does not think of.
var formTwists = []func(*rand.Rand, string) string{
	func(_ *rand.Rand, content string) string { // the last line has no end, or has one
		if cut := strings.TrimSuffix(content, "\n"); cut != content && cut != "" {
			return cut
		}
		return content + "\n"
	},
	func(*rand.Rand, string) string { return "" },
	func(_ *rand.Rand, content string) string { return pretty(content) },
}

// documentTwists change JSON documents.
var documentTwists = []func(*rand.Rand, []*document) []*document{
	func(r *rand.Rand, docs []*document) []*document { return one(r, docs, 'n', varyNumber) },
	func(_ *rand.Rand, docs []*document) []*document { return shift(docs, 1) },
	func(r *rand.Rand, docs []*document) []*document { return one(r, docs, 's', varyString) },
	func(_ *rand.Rand, docs []*document) []*document { return shift(docs, -1) },
	reorder,
	func(r *rand.Rand, docs []*document) []*document { return one(r, docs, '[', varyList) },
	func(r *rand.Rand, docs []*document) []*document { return one(r, docs, 'n', enlarge) },
	func(r *rand.Rand, docs []*document) []*document { return one(r, docs, 'c', varyConstant) },
	varyDocuments,
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
