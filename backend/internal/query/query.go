// Package query is IoT Hub's query language: what SQL has for one collection of documents, as in
//
//	SELECT tags.site, COUNT() AS devices FROM devices WHERE properties.reported.state != 'online' GROUP BY tags.site
//
// Documents are objects as encoding/json has them. What a document does not have is undefined, and so is what is computed
// of it or of values of the wrong type; a row is selected if its condition is true, so what is undefined selects nothing.
package query

import (
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Document is one of those that are asked about.
type Document = map[string]any

// Query is one that was understood.
type Query struct {
	From string // devices, devices.modules or devices.jobs
	Top  int    // rows at most; 0 is all

	columns []column // none is the whole document
	where   expression
	groups  []expression
}

// column is a member of the rows.
type column struct {
	name      string
	value     expression
	aggregate string // name of the function over all rows of a group, "" if it is none
}

// Error says where and why a text is no query.
type Error struct {
	Position int // byte
	Text     string
}

// Error tells both.
func (e *Error) Error() string {
	return fmt.Sprintf("%s at position %d of the query", e.Text, e.Position+1)
}

// Whole tells whether rows are whole documents.
func (q *Query) Whole() bool { return len(q.columns) == 0 }

// Aggregates tells whether rows are made of all documents, by [Query.Groups], and not each of one, by [Query.Row].
func (q *Query) Aggregates() bool {
	return len(q.groups) > 0 || slices.ContainsFunc(q.columns, func(c column) bool { return c.aggregate != "" })
}

// Matches tells whether a document fulfils the condition.
func (q *Query) Matches(d Document) bool {
	return q.where == nil || q.where.eval(d) == true
}

// Row is what is selected of a document; ok tells whether it is selected at all.
func (q *Query) Row(d Document) (row Document, ok bool) {
	if !q.Matches(d) {
		return nil, false
	}
	if q.Whole() {
		return d, true
	}
	row = Document{}
	for _, c := range q.columns {
		put(row, c.name, c.value.eval(d))
	}
	return row, true
}

func put(row Document, name string, value any) {
	if value != undefined {
		row[name] = value
	}
}

// Groups are the rows of a query that aggregates, in the order of what they are grouped by.
func (q *Query) Groups(documents iter.Seq2[Document, error]) ([]Document, error) {
	type group struct {
		first   Document
		columns []accumulator
	}
	groups := map[string]*group{}
	if len(q.groups) == 0 { // one row, even of nothing
		groups[""] = &group{first: Document{}, columns: make([]accumulator, len(q.columns))}
	}
	for d, err := range documents {
		if err != nil {
			return nil, err
		}
		if !q.Matches(d) {
			continue
		}
		key := q.groupKey(d)
		g := groups[key]
		if g == nil {
			g = &group{first: d, columns: make([]accumulator, len(q.columns))}
			groups[key] = g
		}
		for i, c := range q.columns {
			if c.aggregate != "" {
				g.columns[i].add(c.value, d)
			}
		}
	}
	var rows []Document
	for _, key := range slices.Sorted(keys(groups)) {
		g, row := groups[key], Document{}
		for i, c := range q.columns {
			if c.aggregate == "" {
				put(row, c.name, c.value.eval(g.first))
			} else {
				put(row, c.name, g.columns[i].result(c.aggregate))
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func keys[V any](m map[string]V) iter.Seq[string] {
	return func(yield func(string) bool) {
		for key := range m {
			if !yield(key) {
				return
			}
		}
	}
}

func (q *Query) groupKey(d Document) string {
	var key strings.Builder
	for _, g := range q.groups {
		value := g.eval(d)
		if n, ok := number(value); ok {
			value = n
		}
		text := fmt.Sprintf("%T %v", value, value)
		fmt.Fprintf(&key, "%d:%s", len(text), text)
	}
	return key.String()
}

// accumulator computes all aggregates of one column at once.
type accumulator struct {
	rows, numbers int
	sum, min, max float64
}

func (a *accumulator) add(value expression, d Document) {
	a.rows++
	if value == nil { // COUNT()
		return
	}
	n, ok := number(value.eval(d))
	if !ok {
		return
	}
	if a.numbers == 0 {
		a.min, a.max = n, n
	}
	a.numbers++
	a.sum, a.min, a.max = a.sum+n, math.Min(a.min, n), math.Max(a.max, n)
}

func (a *accumulator) result(function string) any {
	switch {
	case function == "COUNT":
		return a.rows
	case a.numbers == 0:
		return undefined
	case function == "SUM":
		return finite(a.sum)
	case function == "AVG":
		return finite(a.sum / float64(a.numbers))
	case function == "MIN":
		return a.min
	}
	return a.max
}

// finite is a number that JSON has, or undefined.
func finite(n float64) any {
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return undefined
	}
	return n
}

// columnName is what a column is called that has no name of its own: the last part of a path, or its place.
func columnName(c column, place int) string {
	if p, ok := c.value.(path); ok && c.aggregate == "" {
		return p[len(p)-1]
	}
	return "$" + strconv.Itoa(place)
}
