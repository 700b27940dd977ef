package api

import (
	"encoding"
	"encoding/json"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/accounts"
)

// A document is a part of the OpenAPI document, in JSON's form.
type document = map[string]any

// openAPI makes the OpenAPI document (3.1) of the routes.
func openAPI(*API, *http.Request) (document, error) {
	schemas := schemas{}
	paths := document{}
	for _, route := range Routes() {
		at := Base + strings.ReplaceAll(route.Path, "...", "") // a path of several segments cannot be said otherwise
		path, _ := paths[at].(document)
		if path == nil {
			path = document{}
			paths[at] = path
		}
		path[strings.ToLower(route.Method)] = route.describe(schemas)
	}
	return document{
		"openapi": "3.1.0",
		"info":    document{"title": "Tranquil", "version": "1", "description": "What an operator does with devices, updates and packages."},
		"paths":   paths,
		"components": document{
			"schemas":         schemas,
			"securitySchemes": document{"token": document{"type": "http", "scheme": "bearer"}},
		},
	}, nil
}

var inBraces = regexp.MustCompile(`\{([a-z]+)(?:\.\.\.)?\}`)

func (route Route) describe(s schemas) document {
	o := document{"summary": route.Summary, "operationId": route.id(), "responses": route.responses(s)}
	if route.Right != 0 {
		o["security"] = []any{document{"token": []any{}}}
		o["description"] = "Needs the right to " + route.Right.String() + "."
	}
	var parameters []any
	for _, m := range inBraces.FindAllStringSubmatch(route.Path, -1) {
		parameters = append(parameters, document{"name": m[1], "in": "path", "required": true, "schema": document{"type": "string"}})
	}
	for _, p := range route.query {
		parameters = append(parameters, document{"name": p.name, "in": "query", "description": p.about, "schema": document{"type": "string"}})
	}
	if parameters != nil {
		o["parameters"] = parameters
	}
	switch {
	case route.in != nil:
		o["requestBody"] = document{"required": true, "content": document{"application/json": document{"schema": s.of(route.in)}}}
	case route.inMedia != "":
		o["requestBody"] = document{"required": true, "content": document{route.inMedia: document{}}}
	}
	return o
}

// id is a name for generated clients: getDevicesIdTwin.
func (route Route) id() string {
	id := strings.ToLower(route.Method)
	for word := range strings.FieldsFuncSeq(route.Path, func(r rune) bool { return strings.ContainsRune("/{}.", r) }) {
		id += strings.ToUpper(word[:1]) + word[1:]
	}
	return id
}

func (route Route) responses(s schemas) document {
	responses := document{"default": document{
		"description": "It is refused.",
		"content":     document{"application/problem+json": document{"schema": s.of(reflect.TypeFor[Problem]())}},
	}}
	switch {
	case route.out != nil:
		responses["200"] = document{"description": "Done.", "content": document{"application/json": document{"schema": s.of(route.out)}}}
	case route.outMedia != "":
		responses["200"] = document{"description": "What is asked for.", "content": document{route.outMedia: document{}}}
	default:
		responses["204"] = document{"description": "Done."}
	}
	return responses
}

// schemas are those of named types, by name.
type schemas document

// of is the JSON Schema of a type as encoding/json writes it.
func (s schemas) of(t reflect.Type) any {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return document{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage](), t.Kind() == reflect.Interface:
		return true // anything
	case t == reflect.TypeFor[accounts.Right]():
		return document{"type": "array", "items": document{"type": "string", "enum": (accounts.Read | accounts.Operate | accounts.Publish | accounts.Administer).Names()}}
	case t.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return document{"type": "string"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Bool:
		return document{"type": "boolean"}
	case reflect.String:
		return document{"type": "string"}
	case reflect.Float64, reflect.Float32:
		return document{"type": "number"}
	case reflect.Slice:
		return document{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return document{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Struct:
		return s.named(t)
	}
	return document{"type": "integer"}
}

// named is a reference to the schema of a struct.
func (s schemas) named(t reflect.Type) document {
	if s[t.Name()] == nil {
		s[t.Name()] = true // it may refer to itself
		properties := document{}
		required := []string{}
		s.fields(t, properties, &required)
		s[t.Name()] = document{"type": "object", "properties": properties, "required": required}
	}
	return document{"$ref": "#/components/schemas/" + t.Name()}
}

func (s schemas) fields(t reflect.Type, properties document, required *[]string) {
	for i := range t.NumField() {
		field := t.Field(i)
		name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && name == "":
			inner := document{}
			s.fields(field.Type, inner, required)
			maps.Copy(properties, inner)
		case !field.IsExported() || name == "-" || name == "":
		default:
			properties[name] = s.of(field.Type)
			if !strings.Contains(options, "omit") {
				*required = append(*required, name)
			}
		}
	}
}
