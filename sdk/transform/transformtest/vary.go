package transformtest

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
)

// Vary returns a state of the same shape with other values: in its JSON files,
// one or several documents each, numbers, strings and lengths of lists change,
// but no member comes or goes. In other text, numbers change and lines are
// repeated, dropped and swapped. Binary files stay as they are.
func Vary(r *rand.Rand, state State) State {
	varied := maps.Clone(state)
	var names []string
	for _, name := range slices.Sorted(maps.Keys(state)) {
		if isText(state[name]) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return varied
	}
	for range 1 + r.IntN(3) {
		name := names[r.IntN(len(names))]
		if docs, err := parseDocuments(varied[name]); err == nil && len(docs) > 0 {
			varied[name] = format(varyDocuments(r, docs), varied[name])
		} else {
			varied[name] = varyText(r, varied[name])
		}
	}
	return varied
}

// varies reports whether there is anything that [Vary] changes.
func (s State) varies() bool {
	for _, content := range s {
		if isText(content) {
			return true
		}
	}
	return false
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

func varyDocuments(r *rand.Rand, docs []*document) []*document {
	if len(docs) > 1 && r.IntN(4) == 0 {
		list := &document{kind: '[', values: docs}
		varyList(r, list)
		if len(list.values) > 0 { // an empty file is another thing
			docs = list.values
		}
	}
	var all []*document
	for _, doc := range docs {
		doc.walk(func(d *document) {
			if d.kind != '{' && d.text != "null" {
				all = append(all, d)
			}
		})
	}
	if len(all) > 0 {
		varyValue(r, all[r.IntN(len(all))])
	}
	return docs
}

var (
	strange = []string{"", " ", "0", "a\"b\\c/d", "é漢😀", "\u2028\u0007", "<&>", "null", strings.Repeat("long ", 200)}
	numbers = []string{
		"0", "-1", "1", "10", "0.1", "-0.5", "12.345", "1e3", "100000", "2147483648", "-2147483649",
		"9007199254740993", "1e-7", "0.30000000000000004",
	}
)

func varyValue(r *rand.Rand, d *document) {
	switch d.kind {
	case 'n':
		d.text = numbers[r.IntN(len(numbers))]
	case 's':
		d.text = strange[r.IntN(len(strange))]
	case '[':
		varyList(r, d)
	case 'c':
		d.text = map[string]string{"true": "false", "false": "true", "null": "null"}[d.text]
	}
}

// varyList empties a list, shortens it, or repeats or swaps elements.
func varyList(r *rand.Rand, d *document) {
	n := len(d.values)
	if n == 0 {
		return
	}
	i, j := r.IntN(n), r.IntN(n)
	switch r.IntN(4) {
	case 0:
		d.values = nil
	case 1:
		d.values = slices.Delete(d.values, i, i+1)
	case 2:
		d.values = slices.Insert(d.values, i, d.values[j].clone())
	case 3:
		d.values[i], d.values[j] = d.values[j], d.values[i]
	}
}
