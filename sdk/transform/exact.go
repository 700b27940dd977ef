package transform

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
)

// Member returns the type that a member of a JSON object has in Go, if that is of a
// type; nil if it may be anything. encoding/json also takes a name for that of a field
// from which it differs by upper and lower case: that is an error here, since other
// readers do not, and since it would be written back under another name.
func Member(of reflect.Type, name string) (reflect.Type, error) {
	if of = reads(of); of == nil {
		return nil, nil
	}
	if of.Kind() != reflect.Struct {
		return Element(of), nil
	}
	known := fieldsOf(of)
	if t, is := known[name]; is {
		return t, nil
	}
	for field := range known {
		if strings.EqualFold(field, name) {
			return nil, fmt.Errorf("the member %q is not written %.80q", field, name)
		}
	}
	return nil, nil
}

// Element returns the type that the elements of a JSON array, or the members of a map,
// have in Go; nil if they may be anything.
func Element(of reflect.Type) reflect.Type {
	if of = reads(of); of == nil {
		return nil
	}
	switch of.Kind() {
	case reflect.Map, reflect.Slice, reflect.Array:
		return of.Elem()
	}
	return nil
}

var (
	jsonReader = reflect.TypeFor[json.Unmarshaler]()
	textReader = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// reads is the type behind pointers that encoding/json reads itself; nil if the type
// does, or is not known.
func reads(of reflect.Type) reflect.Type {
	for of != nil && of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if of == nil || of.Kind() == reflect.Interface || reflect.PointerTo(of).Implements(jsonReader) || reflect.PointerTo(of).Implements(textReader) {
		return nil
	}
	return of
}

var fields sync.Map // of structs: map[string]reflect.Type by name in JSON

func fieldsOf(of reflect.Type) map[string]reflect.Type {
	if known, is := fields.Load(of); is {
		return known.(map[string]reflect.Type)
	}
	known := map[string]reflect.Type{}
	addFields(known, of)
	fields.Store(of, known)
	return known
}

// addFields adds those of embedded structs after the others, which hide them.
func addFields(known map[string]reflect.Type, of reflect.Type) {
	var embedded []reflect.Type
	for i := range of.NumField() {
		f := of.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		under := f.Type
		if under.Kind() == reflect.Pointer {
			under = under.Elem()
		}
		switch {
		case f.Tag.Get("json") == "-":
		case f.Anonymous && name == "" && under.Kind() == reflect.Struct:
			embedded = append(embedded, under)
		case !f.IsExported():
		case name == "":
			name = f.Name
			fallthrough
		default:
			if _, hidden := known[name]; !hidden {
				known[name] = f.Type
			}
		}
	}
	for _, under := range embedded {
		if under != of {
			addFields(known, under)
		}
	}
}
