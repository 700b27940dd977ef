package transformtest

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// A document is a JSON value whose members keep their order, and whose numbers
// keep their digits: transforms of other languages may care.
type document struct {
	kind   byte   // '{', '[', 's'tring, 'n'umber or 'c'onstant
	text   string // of a string its value, of a number or constant its JSON
	keys   []string
	values []*document
}

var errNoJSON = errors.New("no JSON")

// parseDocuments reads all documents of a file.
func parseDocuments(content string) ([]*document, error) {
	d := json.NewDecoder(strings.NewReader(content))
	d.UseNumber()
	var docs []*document
	for {
		doc, err := parseValue(d)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, err
		}
		docs = append(docs, doc)
	}
}

func parseValue(d *json.Decoder) (*document, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch token := token.(type) {
	case json.Delim:
		return parseNested(d, byte(token))
	case string:
		return &document{kind: 's', text: token}, nil
	case json.Number:
		return &document{kind: 'n', text: token.String()}, nil
	case bool:
		text := "false"
		if token {
			text = "true"
		}
		return &document{kind: 'c', text: text}, nil
	}
	return &document{kind: 'c', text: "null"}, nil
}

func parseNested(d *json.Decoder, kind byte) (*document, error) {
	doc := &document{kind: kind}
	for d.More() {
		if kind == '{' {
			key, err := d.Token()
			name, ok := key.(string)
			if err != nil || !ok {
				return nil, errNoJSON
			}
			doc.keys = append(doc.keys, name)
		}
		value, err := parseValue(d)
		if errors.Is(err, io.EOF) {
			return nil, errNoJSON
		}
		if err != nil {
			return nil, err
		}
		doc.values = append(doc.values, value)
	}
	if _, err := d.Token(); err != nil { // the closing bracket
		return nil, errNoJSON
	}
	return doc, nil
}

// write appends the JSON of d.
func (d *document) write(b *strings.Builder) {
	switch d.kind {
	case 's':
		b.WriteString(quote(d.text))
	case '{':
		b.WriteByte('{')
		for i, value := range d.values {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(quote(d.keys[i]) + ":")
			value.write(b)
		}
		b.WriteByte('}')
	case '[':
		b.WriteByte('[')
		for i, value := range d.values {
			if i > 0 {
				b.WriteByte(',')
			}
			value.write(b)
		}
		b.WriteByte(']')
	default:
		b.WriteString(d.text)
	}
}

func quote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.Encode(s) // a string always can be
	return strings.TrimSuffix(b.String(), "\n")
}

func (d *document) clone() *document {
	c := *d
	c.keys = append([]string(nil), d.keys...)
	c.values = make([]*document, len(d.values))
	for i, value := range d.values {
		c.values[i] = value.clone()
	}
	return &c
}

// walk calls f for d and everything in it.
func (d *document) walk(f func(*document)) {
	f(d)
	for _, value := range d.values {
		value.walk(f)
	}
}

// format writes documents as they were: one on each line if they were many.
func format(docs []*document, like string) string {
	var b strings.Builder
	for i, doc := range docs {
		if i > 0 {
			b.WriteByte('\n')
		}
		doc.write(&b)
	}
	if strings.HasSuffix(like, "\n") && len(docs) > 0 {
		b.WriteByte('\n')
	}
	return b.String()
}
