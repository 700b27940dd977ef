package host

import (
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxVisits bounds how many schemas one value is held against, as references
// multiply them: 29 definitions that each refer twice to the next are 2²⁹.
const maxVisits = 10_000

// A schemaGraph knows how many schemas a value is held against with each
// schema; 0 while that is counted.
type schemaGraph map[*jsonschema.Schema]int

// boundSchema refuses a schema that refers to itself for the same value, which
// no document can be held against, and one that takes too long for any.
func boundSchema(root *jsonschema.Schema) error {
	g := schemaGraph{}
	seen := map[*jsonschema.Schema]bool{root: true}
	for pending := []*jsonschema.Schema{root}; len(pending) > 0; {
		s := pending[0]
		pending = pending[1:]
		if _, err := g.visits(s); err != nil {
			return err
		}
		for _, next := range append(sameValue(s), partsOfValue(s)...) {
			if !seen[next] {
				seen[next] = true
				pending = append(pending, next)
			}
		}
	}
	return nil
}

func (g schemaGraph) visits(s *jsonschema.Schema) (int, error) {
	place := strings.TrimPrefix(s.Location, "schema:")
	if n, ok := g[s]; ok && n == 0 {
		return 0, fmt.Errorf("schema refers from %s back to it for the same value, without end", place)
	} else if ok {
		return n, nil
	}
	g[s] = 0
	sum := 1
	for _, next := range sameValue(s) {
		n, err := g.visits(next)
		if err != nil {
			return 0, err
		}
		if sum += n; sum > maxVisits {
			return 0, fmt.Errorf("schema is too large: with its references a value at %s is held against more than %d schemas", place, maxVisits)
		}
	}
	g[s] = sum
	return sum, nil
}

// sameValue returns what s applies to the value that it is applied to itself.
func sameValue(s *jsonschema.Schema) []*jsonschema.Schema {
	all := present(s.Ref, s.RecursiveRef, s.Not, s.If, s.Then, s.Else)
	if s.DynamicRef != nil {
		all = append(all, present(s.DynamicRef.Ref)...)
	}
	all = append(all, s.AllOf...)
	all = append(all, s.AnyOf...)
	all = append(all, s.OneOf...)
	for _, d := range s.DependentSchemas {
		all = append(all, d)
	}
	for _, d := range s.Dependencies {
		all = append(all, eitherSchemas(d)...)
	}
	return all
}

// partsOfValue returns what s applies to members, names and items of its value.
func partsOfValue(s *jsonschema.Schema) []*jsonschema.Schema {
	all := present(s.PropertyNames, s.UnevaluatedProperties, s.Contains, s.Items2020, s.UnevaluatedItems, s.ContentSchema)
	all = append(all, s.PrefixItems...)
	for _, p := range s.Properties {
		all = append(all, p)
	}
	for _, p := range s.PatternProperties {
		all = append(all, p)
	}
	for _, v := range []any{s.AdditionalProperties, s.Items, s.AdditionalItems} {
		all = append(all, eitherSchemas(v)...)
	}
	return all
}

// eitherSchemas returns the schemas of a keyword that may have other values.
func eitherSchemas(v any) []*jsonschema.Schema {
	switch v := v.(type) {
	case *jsonschema.Schema:
		return present(v)
	case []*jsonschema.Schema:
		return v
	}
	return nil
}

func present(schemas ...*jsonschema.Schema) []*jsonschema.Schema {
	var all []*jsonschema.Schema
	for _, s := range schemas {
		if s != nil {
			all = append(all, s)
		}
	}
	return all
}
