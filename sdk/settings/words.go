package settings

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// words say what a type takes.
func words(t reflect.Type) string {
	switch kind := t.Kind(); {
	case t == reflect.TypeFor[Duration]():
		return `a duration in quotes, with its units, as in "500ms", "2s" or "1m30s"`
	case kind == reflect.String || isText(t):
		return `text in quotes, as in "abc"`
	case kind == reflect.Bool:
		return "true or false"
	case kind == reflect.Float32 || kind == reflect.Float64:
		return "a number"
	case kind >= reflect.Int && kind <= reflect.Uint64:
		return "a whole number"
	case kind == reflect.Slice && plain(t.Elem()) != nil && plain(t.Elem()).Kind() != reflect.Struct:
		return fmt.Sprintf("a list in square brackets, each %s", words(plain(t.Elem())))
	case kind == reflect.Slice:
		return "tables in double brackets, as in [[key]]"
	}
	return "a table, as in { key = … }"
}

// shown says what stands in the file.
func shown(n *unstable.Node) string {
	const most = 40
	text := string(n.Data)
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	switch n.Kind {
	case unstable.String:
		return fmt.Sprintf("%q is text", text)
	case unstable.Bool:
		return text + " is no text, number or list"
	case unstable.Integer:
		return text + " is a whole number"
	case unstable.Float:
		return text + " is a number that is not whole"
	case unstable.Array:
		return "this is a list"
	case unstable.InlineTable:
		return "this is a table"
	}
	return text + " is a date or time"
}

// suggest says what may have been meant by a key that is not known.
func (w *walk) suggest(at place, key string) string {
	known := keysOf(at.typ)
	best, least := "", 1+max(1, len(key)/3)
	for _, name := range known {
		if d := distance(strings.ToLower(key), strings.ToLower(name)); d < least {
			best, least = name, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	if _, top := fieldOf(w.root, key); top {
		return "it belongs at the top of the file, before the first line in brackets"
	}
	if elsewhere := find(w.root, "", key); elsewhere != "" {
		return fmt.Sprintf("it belongs in %s", elsewhere)
	}
	return "there are " + strings.Join(known, ", ")
}

// keysOf lists the keys of a table, in the order of its type.
func keysOf(t reflect.Type) []string {
	var keys []string
	for field := range t.Fields() {
		if key := keyOf(field); key != "" {
			keys = append(keys, key)
		}
	}
	return keys
}

// find returns the table that has a key, as one writes its header; "" if none
// has.
func find(t reflect.Type, header, key string) string {
	for field := range t.Fields() {
		name, typ, list := keyOf(field), plain(field.Type), false
		if name == "" || typ == nil {
			continue
		}
		if list = typ.Kind() == reflect.Slice; list {
			typ = plain(typ.Elem())
		}
		if typ == nil || typ.Kind() != reflect.Struct || isText(typ) {
			continue
		}
		inside := strings.TrimPrefix(header+"."+name, ".")
		if _, has := fieldOf(typ, key); has && list {
			return "[[" + inside + "]]"
		} else if has {
			return "[" + inside + "]"
		}
		if found := find(typ, inside, key); found != "" {
			return found
		}
	}
	return ""
}

// distance is that of Damerau and Levenshtein: how many letters have to be
// added, dropped, changed or swapped with the next to make b of a.
func distance(a, b string) int {
	before, above := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := range len(a) {
		row := []int{i + 1}
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			d := min(above[j+1]+1, row[j]+1, above[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				d = min(d, before[j-1]+1)
			}
			row = append(row, d)
		}
		before, above = above, row
	}
	return above[len(b)]
}

var (
	codePoint = regexp.MustCompile(`U\+[0-9A-F]{4,6} `)
	noEnd     = regexp.MustCompile(`^(basic|literal) strings cannot have new lines|unterminated (basic|literal) string$`)
	bareValue = regexp.MustCompile(`^\s*([A-Za-z0-9_.-]+)\s*=\s*([^\s"'\[{#][^#]*?)\s*(#.*)?$`)
)

// syntax tells where the text is no TOML. Mostly it is text without quotes.
func (w *walk) syntax(text []byte, e *unstable.ParserError) error {
	at := w.Shape(w.Range(e.Highlight)).Start
	message := noEnd.ReplaceAllString(codePoint.ReplaceAllString(e.Message, ""), "the closing quote is missing")
	lines := strings.Split(string(text), "\n")
	if at.Line > len(lines) || len(e.Highlight) == 0 && at.Line > 1 && strings.TrimSpace(lines[at.Line-1]) == "" {
		at.Line-- // it ended before this line did begin
	}
	line := strings.TrimSuffix(lines[min(at.Line, len(lines))-1], "\r")
	if bare := bareValue.FindStringSubmatch(line); bare != nil && !slices.Contains([]string{"true", "false"}, bare[2]) {
		return w.at(at.Line, fmt.Errorf("%s: if %s is text, put it in quotes: %s = %q", message, bare[2], bare[1], bare[2]))
	}
	return fmt.Errorf("%s, line %d, column %d: %s", w.path, at.Line, at.Column, message)
}
