package objects

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Bounds of what a device says of the dependants of a component.
const (
	maxDependants = 16
	maxTerm       = 128 // bytes of a name, and of what it may want
)

// moreDependants is in the place of those beyond [maxDependants].
const moreDependants = "more"

// EncodeDependants returns the text of resource ComponentDependants: a JSON
// object that says by name what each may want, as in
// {"application/reader": "stop"}. Of more than 16 the others are only counted.
func EncodeDependants(terms map[string]string) string {
	if len(terms) == 0 {
		return ""
	}
	names := slices.Sorted(maps.Keys(terms))
	told := map[string]string{}
	for _, name := range names[:min(len(names), maxDependants)] {
		told[name] = terms[name]
	}
	if len(names) > maxDependants {
		told[moreDependants] = fmt.Sprintf("%d in all", len(names))
	}
	b, _ := json.Marshal(told) // strings only
	return string(b)
}

// DecodeDependants reads the text of the resource; "" is none.
func DecodeDependants(text string) (terms map[string]string, err error) {
	if text == "" {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text), &terms); err != nil {
		return nil, fmt.Errorf("cannot read dependants: %w", err)
	}
	if len(terms) > maxDependants+1 {
		return nil, fmt.Errorf("cannot read dependants: there are %d, more than %d", len(terms), maxDependants)
	}
	for name, term := range terms {
		if len(name) > maxTerm || len(term) > maxTerm {
			return nil, fmt.Errorf("cannot read dependants: one has more than %d bytes", maxTerm)
		}
	}
	return terms, nil
}
