package jq

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/itchyny/gojq"
)

// checkCalls refuses a program that calls a function of [missing], unless it
// defines one of that name itself.
func checkCalls(text string) error {
	query, err := gojq.Parse(text)
	if err != nil {
		return err
	}
	c := calls{own: map[string]bool{}}
	c.visit(reflect.ValueOf(query))
	gone := map[string]bool{}
	for _, def := range missing() {
		gone[signature(def.Name, len(def.Args))] = true
	}
	for _, f := range c.all {
		if name := signature(f.Name, len(f.Args)); gone[name] && !c.own[name] {
			return fmt.Errorf("it calls %s, which a state transform has not: it would differ from device to device", name)
		}
	}
	return nil
}

// signature writes a function as jq does, name/arity.
func signature(name string, args int) string { return fmt.Sprintf("%s/%d", name, args) }

// calls are what a program calls, and what it defines.
type calls struct {
	all []*gojq.Func
	own map[string]bool // by signature
}

// visit goes through a syntax tree, which has calls in a dozen kinds of node.
func (c *calls) visit(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return
		}
		switch node := v.Interface().(type) {
		case *gojq.Func:
			c.all = append(c.all, node)
		case *gojq.FuncDef:
			c.define(node)
		}
		c.visit(v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			c.visit(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				c.visit(v.Field(i))
			}
		}
	}
}

// define notes a function and its params, which are functions as well.
func (c *calls) define(def *gojq.FuncDef) {
	c.own[signature(def.Name, len(def.Args))] = true
	for _, arg := range def.Args {
		c.own[signature(strings.TrimPrefix(arg, "$"), 0)] = true
	}
}
