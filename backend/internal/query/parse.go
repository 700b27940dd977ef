package query

import (
	"slices"
	"strconv"
	"strings"
)

// Bounds of a query, so that nobody can ask what costs too much to understand.
const (
	maxLength = 16 << 10
	maxDepth  = 50
)

// Parse reads a query.
func Parse(query string) (*Query, error) {
	if len(query) > maxLength {
		return nil, &Error{maxLength, "the query is too long"}
	}
	p, err := newParser(query)
	if err != nil {
		return nil, err
	}
	q := p.query()
	return q, p.finish()
}

// ParseCondition reads what can follow WHERE; "*" is every document.
func ParseCondition(condition string) (*Query, error) {
	q := &Query{From: "devices"}
	if strings.TrimSpace(condition) == "*" {
		return q, nil
	}
	if len(condition) > maxLength {
		return nil, &Error{maxLength, "the condition is too long"}
	}
	p, err := newParser(condition)
	if err != nil {
		return nil, err
	}
	q.where = p.expression()
	return q, p.finish()
}

// parser goes through tokens; after the first error it reads no more.
type parser struct {
	tokens []token
	depth  int
	err    error
}

func newParser(query string) (*parser, error) {
	tokens, err := lex(query)
	return &parser{tokens: tokens}, err
}

func (p *parser) finish() error {
	if p.err == nil && p.peek().kind != end {
		p.fail("unexpected " + p.peek().text)
	}
	return p.err
}

func (p *parser) fail(text string) {
	if p.err == nil {
		p.err = &Error{p.peek().at, text}
		p.tokens = []token{{kind: end, at: p.peek().at}}
	}
}

func (p *parser) peek() token { return p.tokens[0] }

func (p *parser) take() token {
	t := p.tokens[0]
	if t.kind != end {
		p.tokens = p.tokens[1:]
	}
	return t
}

// accept takes a keyword or symbol if it comes next.
func (p *parser) accept(what string) bool {
	if p.peek().is(what) {
		p.take()
		return true
	}
	return false
}

func (p *parser) expect(what string) {
	if !p.accept(what) {
		p.fail(what + " is missing")
	}
}

func (p *parser) query() *Query {
	q := &Query{}
	p.expect("SELECT")
	if p.accept("TOP") {
		n, err := strconv.Atoi(p.take().text)
		if err != nil || n < 1 {
			p.fail("TOP needs a number above 0")
		}
		q.Top = n
	}
	if !p.accept("*") {
		q.columns = p.columns()
	}
	p.expect("FROM")
	q.From = p.source()
	if p.accept("WHERE") {
		q.where = p.expression()
	}
	if p.accept("GROUP") {
		p.expect("BY")
		for more := true; more; more = p.accept(",") {
			q.groups = append(q.groups, p.path())
		}
	}
	p.checkGroups(q)
	p.strip(q)
	return q
}

// checkGroups: beside aggregates stands only what the rows are grouped by.
func (p *parser) checkGroups(q *Query) {
	if p.err != nil || !q.Aggregates() {
		return
	}
	if q.Whole() {
		p.fail("GROUP BY does not go with *")
	}
	for _, c := range q.columns {
		own, isPath := c.value.(path)
		if c.aggregate == "" && !(isPath && slices.ContainsFunc(q.groups, func(g expression) bool { return slices.Equal(own, g.(path)) })) {
			p.fail(c.name + " is neither an aggregate nor in GROUP BY")
		}
	}
}

func (p *parser) columns() []column {
	var columns []column
	for more := true; more; more = p.accept(",") {
		c := p.column()
		named := p.accept("AS")
		if t := p.peek(); named || (t.kind == word || t.kind == quoted) && !t.is("FROM") {
			if t.kind != word && t.kind != quoted {
				p.fail("a name is missing")
			}
			c.name = p.take().text
		}
		if c.name == "" {
			c.name = columnName(c, len(columns)+1)
		}
		columns = append(columns, c)
	}
	return columns
}

var aggregates = []string{"COUNT", "AVG", "SUM", "MIN", "MAX"}

func (p *parser) column() column {
	function := strings.ToUpper(p.peek().text)
	if p.peek().kind != word || !slices.Contains(aggregates, function) || len(p.tokens) < 2 || !p.tokens[1].is("(") {
		return column{value: p.expression()}
	}
	p.take()
	p.take()
	c := column{aggregate: function}
	if function == "COUNT" {
		p.accept("*")
	} else {
		c.value = p.expression()
	}
	p.expect(")")
	return c
}

// source is what follows FROM.
func (p *parser) source() string {
	name := strings.ToLower(p.take().text)
	for p.accept(".") {
		name += "." + strings.ToLower(p.take().text)
	}
	switch name {
	case "devices", "devices.modules", "devices.jobs":
	default:
		p.fail("FROM needs devices, devices.modules or devices.jobs")
	}
	return name
}

// Expressions, from the loosest binding to the tightest.

func (p *parser) expression() expression {
	if p.depth++; p.depth > maxDepth {
		p.fail("the query is nested too deep")
	}
	defer func() { p.depth-- }()
	left := p.conjunction()
	for p.accept("OR") {
		left = binary{"OR", left, p.conjunction()}
	}
	return left
}

func (p *parser) conjunction() expression {
	left := p.negation()
	for p.accept("AND") {
		left = binary{"AND", left, p.negation()}
	}
	return left
}

func (p *parser) negation() expression {
	negated := false
	for p.accept("NOT") {
		negated = !negated
	}
	e := p.comparison()
	if negated {
		return not{e}
	}
	return e
}

func (p *parser) comparison() expression {
	left := p.sum()
	for _, operator := range []string{"=", "!=", "<>", "<=", ">=", "<", ">"} {
		if p.accept(operator) {
			return binary{operator, left, p.sum()}
		}
	}
	negated := p.peek().is("NOT") && len(p.tokens) > 1 && p.tokens[1].is("IN")
	if negated {
		p.take()
	}
	switch {
	case p.accept("IN"):
	case p.accept("NIN"):
		negated = true
	default:
		return left
	}
	e := expression(in{left, p.list()})
	if negated {
		e = not{e}
	}
	return e
}

// list is what follows IN: between brackets, or parentheses.
func (p *parser) list() []expression {
	closing := ")"
	if p.accept("[") {
		closing = "]"
	} else {
		p.expect("(")
	}
	var list []expression
	for more := !p.peek().is(closing); more && p.err == nil; more = p.accept(",") {
		list = append(list, p.sum())
	}
	p.expect(closing)
	return list
}

func (p *parser) sum() expression {
	return p.chain([]string{"+", "-"}, func() expression { return p.chain([]string{"*", "/", "%"}, p.factor) })
}

func (p *parser) chain(operators []string, operand func() expression) expression {
	left := operand()
	for {
		operator := p.peek()
		if operator.kind != symbol || !slices.Contains(operators, operator.text) {
			return left
		}
		p.take()
		left = binary{operator.text, left, operand()}
	}
}

func (p *parser) factor() expression {
	minus := false
	for p.accept("-") {
		minus = !minus
	}
	e := p.primary()
	if minus {
		return binary{"-", literal{0.0}, e}
	}
	return e
}

func (p *parser) primary() expression {
	t := p.peek()
	switch {
	case p.accept("("):
		e := p.expression()
		p.expect(")")
		return e
	case t.kind == text:
		return literal{p.take().text}
	case t.kind == digits:
		n, err := strconv.ParseFloat(t.text, 64)
		if err != nil {
			p.fail(t.text + " is no number")
		}
		p.take()
		return literal{n}
	case t.kind == word && len(p.tokens) > 1 && p.tokens[1].is("("):
		return p.call()
	}
	for name, value := range map[string]any{"TRUE": true, "FALSE": false, "NULL": nil} {
		if t.kind == word && p.accept(name) {
			return literal{value}
		}
	}
	return p.path()
}

func (p *parser) call() expression {
	name := p.take()
	f, known := functions[strings.ToUpper(name.text)]
	if !known {
		p.err = &Error{name.at, "there is no function " + name.text}
		p.tokens = p.tokens[len(p.tokens)-1:]
		return literal{}
	}
	p.expect("(")
	var arguments []expression
	for more := !p.peek().is(")"); more && p.err == nil; more = p.accept(",") {
		arguments = append(arguments, p.expression())
	}
	if p.expect(")"); len(arguments) < f.least || len(arguments) > f.most {
		p.fail(name.text + " has the wrong number of arguments")
	}
	return call{f.apply, arguments}
}

// reserved words begin no path.
var reserved = []string{"SELECT", "FROM", "WHERE", "GROUP", "BY", "AND", "OR", "NOT", "IN", "NIN", "AS", "TOP"}

func (p *parser) path() expression {
	t := p.peek()
	if t.kind != word && t.kind != quoted || t.kind == word && slices.ContainsFunc(reserved, t.is) {
		p.fail("a property or value is missing")
		return path{""}
	}
	names := path{p.take().text}
	for p.accept(".") {
		t := p.peek()
		if t.kind != word && t.kind != quoted && t.kind != digits {
			p.fail("the name of a property is missing")
			break
		}
		names = append(names, strings.Split(p.take().text, ".")...)
	}
	return names
}

// strip takes the collection off the paths that begin with it, as in devices.jobs.deviceId.
func (p *parser) strip(q *Query) {
	prefix := strings.Split(q.From, ".")
	shorten := func(e expression) expression {
		if own, ok := e.(path); ok && len(own) > len(prefix) && slices.Equal(own[:len(prefix)], prefix) {
			return own[len(prefix):]
		}
		return e
	}
	for i := range q.columns {
		q.columns[i].value = rewrite(q.columns[i].value, shorten)
	}
	q.where = rewrite(q.where, shorten)
	for i := range q.groups {
		q.groups[i] = rewrite(q.groups[i], shorten)
	}
}
