// Package jq is a ready-made state transform: it runs a program in the
// language of jq (https://jqlang.org, by gojq) on a JSON file, or on each line
// of an NDJSON file. Whatever the program emits is the new content: exactly one
// value for JSON, any number of values for a line.
package jq

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/itchyny/gojq"
	"github.com/tranquil-iot/tranquil/sdk/transform"
)

// Filter is the transform. Its param "program" is the program; in it, $from
// and $to are the schemas, $file is the path of the file. The functions error
// and halt_error refuse the state. There is no now, since a transform is a pure
// function, and no exp, log, pow, sin and the like, of which the last digit
// depends on the processor.
func Filter(in io.Reader, out io.Writer, e transform.Edge) error {
	code, err := codeOf(e.Params)
	if err != nil {
		return err
	}
	p := program{code: code, edge: e, out: out}
	return p.all(in)
}

// Check returns why no state should be transformed with these params. A call
// of a function that is missing on devices is refused wherever it stands: an
// example may not come by, a device may.
func Check(params map[string]string) error {
	if _, err := codeOf(params); err != nil {
		return err
	}
	if err := checkCalls(params["program"]); err != nil {
		return fmt.Errorf("cannot use the param program: %w", err)
	}
	return nil
}

func codeOf(params map[string]string) (*gojq.Code, error) {
	code, err := compile(params["program"])
	if err != nil {
		return nil, fmt.Errorf("cannot read the param program: %w", err)
	}
	return code, nil
}

func compile(text string) (*gojq.Code, error) {
	if text == "" {
		return nil, errors.New("it is missing")
	}
	query, err := gojq.Parse(text)
	if err != nil {
		return nil, located(text, err)
	}
	query.FuncDefs = append(slices.Clone(missing()), query.FuncDefs...)
	return gojq.Compile(query, gojq.WithVariables([]string{"$from", "$to", "$file"}))
}

// located adds where in the program something stands that cannot be read.
func located(text string, err error) error {
	bad, ok := errors.AsType[*gojq.ParseError](err)
	if !ok {
		return err
	}
	before := text[:min(max(bad.Offset-len(bad.Token), 0), len(text))]
	line, column := 1+strings.Count(before, "\n"), len(before)-strings.LastIndexByte(before, '\n')
	if bad.Token == "" && before == text {
		last := strings.TrimSpace(before[strings.LastIndexByte(strings.TrimSpace(before), '\n')+1:])
		err = fmt.Errorf("the program ends in the middle, after %q", last)
	}
	return fmt.Errorf("line %d, column %d: %w", line, column, err)
}

// missing are definitions of what this jq has not.
var missing = sync.OnceValue(func() []*gojq.FuncDef {
	var text strings.Builder
	for names, args := range map[string]string{
		"now sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh cbrt exp exp10 exp2 expm1 " +
			"log log10 log1p log2 gamma tgamma lgamma lgamma_r erf erfc j0 j1 y0 y1": "",
		"atan2 hypot pow jn yn": "($a; $b)",
		"fma":                   "($a; $b; $c)",
	} {
		for _, name := range strings.Fields(names) {
			fmt.Fprintf(&text, "def %s%s: error(%q);\n", name, args, "a state transform has no "+name+": it would differ from device to device")
		}
	}
	query, err := gojq.Parse(text.String() + ".")
	if err != nil {
		panic(err)
	}
	return query.FuncDefs
})

type program struct {
	code *gojq.Code
	edge transform.Edge
	out  io.Writer
}

// all runs the program on a JSON file, or on each document of one with several.
func (p *program) all(in io.Reader) error {
	if p.edge.Format == "ndjson" {
		return p.lines(in)
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	results, err := p.document(1, text)
	if err == nil && results != 1 {
		return transform.Refuse("the program emitted %d values, a file has one", results)
	}
	return err
}

func (p *program) lines(in io.Reader) error {
	d := json.NewDecoder(in)
	for n := 1; ; n++ {
		var text json.RawMessage
		err := d.Decode(&text)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return transform.Refuse("document %d cannot be read: %v", n, err)
		}
		if _, err := p.document(n, text); err != nil {
			return err
		}
	}
}

// document writes what the program makes of the n-th document, and counts it.
func (p *program) document(n int, text []byte) (int, error) {
	var doc any
	if err := transform.Decode(text, &doc); err != nil {
		return 0, transform.Refuse("document %d cannot be read: %v", n, err)
	}
	results, err := p.one(doc)
	if err != nil {
		return 0, transform.Refuse("document %d: %v", n, err)
	}
	return results, nil
}

// one writes what the program emits for a document, and counts it.
func (p *program) one(doc any) (int, error) {
	results := p.code.Run(doc, p.edge.From, p.edge.To, p.edge.File)
	for n := 0; ; n++ {
		value, more := results.Next()
		if !more {
			return n, nil
		}
		if err, ok := value.(error); ok {
			return n, reason(err)
		}
		line, err := gojq.Marshal(value)
		if err != nil {
			return n, err
		}
		if _, err := p.out.Write(append(line, '\n')); err != nil {
			return n, err
		}
	}
}

// reason words the error that a program ended with.
func reason(err error) error {
	if halt, ok := errors.AsType[*gojq.HaltError](err); ok && halt.Value() == nil {
		return errors.New("the program halted")
	}
	return err
}
