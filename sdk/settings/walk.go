package settings

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// A walk compares a text with the type that it will be decoded into, which the
// decoder does too, but in words for who wrote the type.
type walk struct {
	*File
	unstable.Parser
	root   reflect.Type
	counts map[string]int // elements so far of the lists of tables
	errs   []error
}

// A place is a table in the file and what it becomes.
type place struct {
	key string
	typ reflect.Type // nil: anything goes
}

func (f *File) walk(text []byte, into any) error {
	w := &walk{File: f, root: reflect.TypeOf(into).Elem(), counts: map[string]int{}}
	w.Reset(text)
	table := place{typ: w.root}
	for w.NextExpression() {
		switch e := w.Expression(); e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = w.table(e)
		case unstable.KeyValue:
			w.keyValue(table, e)
		}
	}
	var wrong *unstable.ParserError
	if err := w.Parser.Error(); errors.As(err, &wrong) {
		w.errs = append(w.errs, w.syntax(text, wrong))
	} else if err != nil {
		w.errs = append(w.errs, f.at(0, err))
	}
	return errors.Join(w.errs...)
}

// fail notes what is wrong under a key.
func (w *walk) fail(line int, key, format string, args ...any) {
	err := fmt.Errorf(format, args...)
	if key != "" {
		err = In(key, err)
	}
	w.errs = append(w.errs, w.at(line, err))
}

// table goes to the table of a header, from the top of the file.
func (w *walk) table(e *unstable.Node) place {
	at := place{typ: w.root}
	keys := e.Key()
	for keys.Next() {
		line := w.lineOf(keys.Node())
		at = w.child(at, keys.Node(), line)
		if at.typ == nil {
			continue
		}
		if keys.IsLast() {
			w.header(at, e.Kind == unstable.ArrayTable, line)
		}
		if at.typ.Kind() == reflect.Slice {
			at = place{join(at.key, strconv.Itoa(max(w.counts[at.key], 1))), plain(at.typ.Elem())}
			w.mark(at.key, line)
		}
	}
	return at
}

// header wants a header to have as many brackets as its table takes.
func (w *walk) header(at place, list bool, line int) {
	name := strings.ReplaceAll(at.key, " ", ".")
	kind, many := at.typ.Kind(), at.typ.Kind() == reflect.Slice
	if many {
		w.counts[at.key]++
		if elem := plain(at.typ.Elem()); elem != nil {
			kind = elem.Kind()
		}
	}
	switch {
	case kind != reflect.Struct && kind != reflect.Map:
		w.fail(line, at.key, "is no table: it takes %s", words(at.typ))
	case many && !list:
		w.fail(line, at.key, "write [[%s]], in double brackets: there may be several", name)
	case list && !many:
		w.fail(line, at.key, "write [%s], in single brackets: there is one", name)
	}
}

// keyValue goes to the value of a key, which may be dotted.
func (w *walk) keyValue(at place, e *unstable.Node) {
	keys, line := e.Key(), 0
	for keys.Next() {
		line = w.lineOf(keys.Node())
		at = w.child(at, keys.Node(), line)
	}
	w.value(at, e.Value(), line)
}

// child goes to a key of a table.
func (w *walk) child(at place, key *unstable.Node, line int) place {
	name := string(key.Data)
	if at.typ != nil && at.typ.Kind() == reflect.Struct {
		if field, known := fieldOf(at.typ, name); known {
			name = keyOf(field) // whatever its case
		}
	}
	next := place{key: join(at.key, name)}
	w.mark(next.key, line)
	if at.typ == nil {
		return next
	}
	switch at.typ.Kind() {
	case reflect.Struct:
		field, known := fieldOf(at.typ, name)
		if !known {
			w.fail(line, at.key, "unknown key %q: %s", name, w.suggest(at, name))
			return next
		}
		next.typ = plain(field.Type)
	case reflect.Map:
		next.typ = plain(at.typ.Elem())
	case reflect.Interface:
	default:
		w.fail(line, at.key, "is no table: it takes %s", words(at.typ))
	}
	return next
}

// mark notes where a key is first.
func (w *walk) mark(key string, line int) {
	if w.lines[key] == 0 {
		w.lines[key] = line
	}
}

func (w *walk) lineOf(n *unstable.Node) int { return w.Shape(n.Raw).Start.Line }

// plain returns what pointers lead to; nil if anything goes.
func plain(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Interface {
		return nil
	}
	return t
}

var textType = reflect.TypeFor[encoding.TextUnmarshaler]()

func isText(t reflect.Type) bool { return reflect.PointerTo(t).Implements(textType) }

// value holds a value against the type that it becomes.
func (w *walk) value(at place, n *unstable.Node, line int) {
	if at.typ == nil {
		return
	}
	switch {
	case isText(at.typ):
		if n.Kind != unstable.String {
			break
		}
		if err := reflect.New(at.typ).Interface().(encoding.TextUnmarshaler).UnmarshalText(n.Data); err != nil {
			w.fail(line, at.key, "%w", err)
		}
		return
	case fits(at.typ.Kind(), n.Kind):
		w.inside(at, n, line)
		return
	}
	w.fail(line, at.key, "%s; it takes %s", shown(n), words(at.typ))
}

func fits(kind reflect.Kind, n unstable.Kind) bool {
	switch n {
	case unstable.String:
		return kind == reflect.String
	case unstable.Bool:
		return kind == reflect.Bool
	case unstable.Integer:
		return kind >= reflect.Int && kind <= reflect.Float64
	case unstable.Float:
		return kind == reflect.Float32 || kind == reflect.Float64
	case unstable.Array:
		return kind == reflect.Slice
	case unstable.InlineTable:
		return kind == reflect.Map || kind == reflect.Struct
	}
	return false
}

// inside looks at what a list or a table in one line holds.
func (w *walk) inside(at place, n *unstable.Node, line int) {
	if n.Kind != unstable.Array && n.Kind != unstable.InlineTable {
		return
	}
	children := n.Children()
	for i := 1; children.Next(); i++ {
		child := children.Node()
		if n.Kind == unstable.InlineTable {
			w.keyValue(at, child)
			continue
		}
		element := place{join(at.key, strconv.Itoa(i)), plain(at.typ.Elem())}
		w.mark(element.key, line)
		w.value(element, child, line)
	}
}

// fieldOf returns the field of a key, which the decoder finds whatever its case.
func fieldOf(t reflect.Type, key string) (reflect.StructField, bool) {
	for field := range t.Fields() {
		if name := keyOf(field); name != "" && strings.EqualFold(name, key) {
			return field, true
		}
	}
	return reflect.StructField{}, false
}

// keyOf returns the key of a field; "" if it has none.
func keyOf(field reflect.StructField) string {
	name, _, _ := strings.Cut(field.Tag.Get("toml"), ",")
	if name == "-" || !field.IsExported() {
		return ""
	}
	return name
}
