package query

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
)

// undefined is the value of what a document does not have.
var undefined any = missing{}

type missing struct{}

// expression computes a value of a document.
type expression interface {
	eval(d Document) any
}

type literal struct{ value any }

func (l literal) eval(Document) any { return l.value }

// path is the names of properties, each in that before.
type path []string

func (p path) eval(d Document) any {
	var value any = d
	for _, name := range p {
		object, ok := value.(Document)
		if !ok {
			return undefined
		}
		if value, ok = object[name]; !ok {
			return undefined
		}
	}
	return value
}

type not struct{ of expression }

func (n not) eval(d Document) any {
	if value, ok := n.of.eval(d).(bool); ok {
		return !value
	}
	return undefined
}

type in struct {
	value expression
	list  []expression
}

func (i in) eval(d Document) any {
	value := i.value.eval(d)
	if value == undefined {
		return undefined
	}
	for _, e := range i.list {
		if compare("=", value, e.eval(d)) == true {
			return true
		}
	}
	return false
}

type call struct {
	apply     func(arguments []any) any
	arguments []expression
}

func (c call) eval(d Document) any {
	arguments := make([]any, len(c.arguments))
	for i, e := range c.arguments {
		arguments[i] = e.eval(d)
	}
	return c.apply(arguments)
}

type binary struct {
	operator    string
	left, right expression
}

func (b binary) eval(d Document) any {
	switch b.operator {
	case "AND":
		return both(b.left.eval(d), b.right.eval(d), false)
	case "OR":
		return both(b.left.eval(d), b.right.eval(d), true)
	case "+", "-", "*", "/", "%":
		return compute(b.operator, b.left.eval(d), b.right.eval(d))
	}
	return compare(b.operator, b.left.eval(d), b.right.eval(d))
}

// both is AND and OR over three values: decisive is what decides alone.
func both(left, right any, decisive bool) any {
	if left == decisive || right == decisive {
		return decisive
	}
	if left == !decisive && right == !decisive {
		return !decisive
	}
	return undefined
}

func compute(operator string, left, right any) any {
	a, ok := number(left)
	b, too := number(right)
	if !ok || !too {
		return undefined
	}
	switch operator {
	case "+":
		return finite(a + b)
	case "-":
		return finite(a - b)
	case "*":
		return finite(a * b)
	case "/":
		return finite(a / b)
	}
	return finite(math.Mod(a, b))
}

// compare compares values of one type; null is like nothing else.
func compare(operator string, left, right any) any {
	equal := operator == "=" || operator == "!=" || operator == "<>"
	if left == undefined || right == undefined {
		return undefined
	}
	if left == nil || right == nil {
		if !equal {
			return undefined
		}
		return (left == nil && right == nil) == (operator == "=")
	}
	order, ok := ordered(left, right)
	if a, isBool := left.(bool); isBool && equal {
		b, too := right.(bool)
		ok = too
		if a != b {
			order = 1
		}
	}
	if !ok {
		return undefined
	}
	switch operator {
	case "=":
		return order == 0
	case "!=", "<>":
		return order != 0
	case "<":
		return order < 0
	case "<=":
		return order <= 0
	case ">":
		return order > 0
	}
	return order >= 0
}

// ordered compares two numbers or two strings.
func ordered(left, right any) (order int, ok bool) {
	if a, isText := left.(string); isText {
		b, too := right.(string)
		return strings.Compare(a, b), too
	}
	a, ok := number(left)
	b, too := number(right)
	switch {
	case a < b:
		return -1, ok && too
	case a > b:
		return 1, ok && too
	}
	return 0, ok && too
}

func number(value any) (float64, bool) {
	switch n := value.(type) {
	case float64:
		return n, true
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case json.Number:
		f, err := n.Float64()
		return f, err == nil
	}
	return 0, false
}

// rewrite replaces expressions from the innermost on.
func rewrite(e expression, replace func(expression) expression) expression {
	many := func(list []expression) []expression {
		list = slices.Clone(list)
		for i := range list {
			list[i] = rewrite(list[i], replace)
		}
		return list
	}
	switch own := e.(type) {
	case nil:
		return nil
	case not:
		return not{rewrite(own.of, replace)}
	case in:
		return in{rewrite(own.value, replace), many(own.list)}
	case call:
		return call{own.apply, many(own.arguments)}
	case binary:
		return binary{own.operator, rewrite(own.left, replace), rewrite(own.right, replace)}
	}
	return replace(e)
}
