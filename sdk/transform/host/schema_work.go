package host

import (
	"fmt"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxWork bounds how often parts of one document are held against schemas.
const maxWork = 50_000_000

// A toll counts, before a document is held against a schema, how often that will
// hold some part of it against one: references from the schemas of members can
// double that with each level of the document. It takes time in proportion to
// the document.
type toll struct {
	levels map[*jsonschema.Schema]times // of the same value
	sum    float64                      // no integer: it may be 2 to the power of thousands
}

// times says how often a value is held against each schema.
type times map[*jsonschema.Schema]float64

func (t times) add(n float64, schemas ...*jsonschema.Schema) {
	for _, s := range schemas {
		t[s] += n
	}
}

// boundWork refuses a document that would take too long.
func boundWork(schema *jsonschema.Schema, document any) error {
	t := &toll{levels: map[*jsonschema.Schema]times{}}
	return t.value(times{schema: 1}, document)
}

// level returns all that one schema holds its value against, itself included.
// There is an end to that, see boundSchema.
func (t *toll) level(s *jsonschema.Schema) times {
	if all, ok := t.levels[s]; ok {
		return all
	}
	all := times{s: 1}
	for _, next := range sameValue(s) {
		for deeper, n := range t.level(next) {
			all[deeper] += n
		}
	}
	t.levels[s] = all
	return all
}

func (t *toll) value(against times, value any) error {
	all := times{}
	for s, n := range against {
		for deeper, m := range t.level(s) {
			all[deeper] += n * m
			t.sum += n * m
		}
	}
	if t.sum > maxWork {
		return fmt.Errorf("its schema refers to itself so often that the document would be held against it more than %d times", maxWork)
	}
	switch value := value.(type) {
	case map[string]any:
		for name, member := range value {
			if err := t.value(all.ofMember(name), member); err != nil {
				return err
			}
		}
	case []any:
		for i, item := range value {
			if err := t.value(all.ofItem(i), item); err != nil {
				return err
			}
		}
	}
	return nil
}

// ofMember returns what a member is held against, at most.
func (t times) ofMember(name string) times {
	next := times{}
	for s, n := range t {
		named := false
		if p := s.Properties[name]; p != nil {
			next.add(n, p)
			named = true
		}
		for pattern, p := range s.PatternProperties {
			if pattern.MatchString(name) {
				next.add(n, p)
				named = true
			}
		}
		if !named {
			next.add(n, eitherSchemas(s.AdditionalProperties)...)
			next.add(n, present(s.UnevaluatedProperties)...)
		}
	}
	return next
}

// ofItem returns what an item of an array is held against, at most.
func (t times) ofItem(i int) times {
	next := times{}
	for s, n := range t {
		next.add(n, present(s.Contains, s.UnevaluatedItems)...)
		first := s.PrefixItems
		if list, ok := s.Items.([]*jsonschema.Schema); ok {
			first = slices.Concat(first, list)
		} else {
			next.add(n, eitherSchemas(s.Items)...)
		}
		if i < len(first) {
			next.add(n, first[i])
		} else {
			next.add(n, present(s.Items2020)...)
			next.add(n, eitherSchemas(s.AdditionalItems)...)
		}
	}
	return next
}
