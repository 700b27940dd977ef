package host

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Limits of a JSON Schema and of what it is held against, in bytes. Both are
// decoded into memory, the sandbox's.
const (
	maxSchema   = 1 << 20
	maxDocument = 4 << 20 // or a line of ndjson
)

// maxSubschemas bounds what may be a schema in a schema: the time to compile
// grows with its square, to 4 s on amd64.
const maxSubschemas = 20_000

// judgeMemory is the sandbox's for schemas; documents take some 20 times their
// size.
const judgeMemory = 128 << 20

// A judge holds results against a JSON Schema (2020-12 or what its $schema
// says), in a sandbox of its own: schema and result come from strangers, and
// together they can make a validator compute without end.
type judge struct {
	schema *jsonschema.Schema
	lines  bool
}

// CheckSchema refuses what is no JSON Schema, refers to another document or
// without end to itself, or multiplies by its references.
func CheckSchema(schema []byte) error {
	_, err := compileSchema(schema)
	return err
}

// alone is the loader of documents that a schema refers to.
type alone struct{}

func (alone) Load(url string) (any, error) {
	return nil, fmt.Errorf("a schema cannot refer to another document, %s", url)
}

func compileSchema(data []byte) (*jsonschema.Schema, error) {
	if len(data) > maxSchema {
		return nil, fmt.Errorf("schema has %d bytes, more than %d", len(data), maxSchema)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("schema is no JSON: %w", err)
	}
	if n := countSchemas(document); n > maxSubschemas {
		return nil, fmt.Errorf("schema has %d objects and boolean values, more than %d", n, maxSubschemas)
	}
	c := jsonschema.NewCompiler()
	c.UseLoader(alone{})
	if err := c.AddResource("schema:", document); err != nil {
		return nil, fmt.Errorf("cannot read schema: %w", wrong(err))
	}
	schema, err := c.Compile("schema:")
	if err != nil {
		return nil, fmt.Errorf("cannot read schema: %w", wrong(err))
	}
	return schema, boundSchema(schema)
}

// wrong returns what in a schema is not as the metaschema has it.
func wrong(err error) error {
	if invalid, ok := errors.AsType[*jsonschema.SchemaValidationError](err); ok {
		return leaf(invalid.Err)
	}
	return err
}

// countSchemas returns how many values in a JSON document may be schemas.
func countSchemas(document any) int {
	n := 0
	switch value := document.(type) {
	case bool:
		return 1
	case map[string]any:
		n = 1
		for _, member := range value {
			n += countSchemas(member)
		}
	case []any:
		for _, item := range value {
			n += countSchemas(item)
		}
	}
	return n
}

func newJudge(file io.Reader, format string, natives map[string]Native) (work, outcome) {
	if format == "sqlite" {
		return integrity{natives[Integrity]}, outcome{}
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSchema+1))
	if err != nil {
		return nil, outcome{Class: Crash, Reason: err.Error()}
	}
	schema, err := compileSchema(data)
	if err != nil {
		return nil, outcome{Class: BadModule, Reason: firstLine(printable(err.Error()))}
	}
	return &judge{schema, format == "ndjson"}, outcome{}
}

// run makes a judge a sandbox's work: it reads a result and writes nothing.
func (j *judge) run(_ job, in io.Reader, _, _ io.Writer) outcome {
	err := j.all(in)
	if err != nil {
		return outcome{Class: Invalid, Reason: "it is not of its schema: " + firstLine(printable(err.Error()))}
	}
	return outcome{}
}

func (j *judge) all(in io.Reader) error {
	if !j.lines {
		data, err := io.ReadAll(io.LimitReader(in, maxDocument+1))
		if err != nil {
			return err
		}
		return j.one(data)
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxDocument+1)
	n := 1
	for ; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if err := j.one(lines.Bytes()); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	if lines.Err() != nil {
		return fmt.Errorf("line %d: %w", n, lines.Err())
	}
	return nil
}

func (j *judge) one(data []byte) error {
	if len(data) > maxDocument {
		return fmt.Errorf("more than %d bytes cannot be held against a schema", maxDocument)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return err
	}
	if err := boundWork(j.schema, value); err != nil {
		return err
	}
	return leaf(j.schema.Validate(value))
}

// leaf returns the first of the causes, which names what is wrong.
func leaf(err error) error {
	invalid, ok := errors.AsType[*jsonschema.ValidationError](err)
	if !ok {
		return err
	}
	for len(invalid.Causes) > 0 {
		invalid = invalid.Causes[0]
	}
	lines := strings.Split(invalid.Error(), "\n")
	return errors.New(strings.TrimLeft(lines[len(lines)-1], "- "))
}

// hold holds a file's result against the step's schema, if it has one, and a
// database against what SQLite thinks of it.
func (s *stage) hold(ctx context.Context, f *os.File, file string) error {
	if len(s.Schema) == 0 && s.Format != "sqlite" {
		return nil
	}
	s.judging.Lock()
	defer s.judging.Unlock()
	if s.judge == nil {
		w, err := s.host.startJudge(ctx, s.Schema, s.Format)
		if err != nil {
			return err
		}
		s.judge = w
	}
	judged, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd())) // to be read only, from its start
	if err != nil {
		return err
	}
	defer judged.Close()
	limits := s.host.limits(Limits{}) // a package cannot spare itself the judge
	result, err := s.judge.call(ctx, job{}, []*os.File{judged, judged, judged}, budget{limits.Wall, limits.CPU}, nil)
	if err == nil && result.Class != "" {
		s.judge.close()
		s.judge = nil
		if s.Format == "sqlite" && (result.Class == Deadline || result.Class == ResourceLimit) {
			s.host.log().Warn("database is too large for SQLite's integrity check; only its format was checked", "edge", s.edge(), "file", file)
			s.unchecked(file)
			return nil
		}
		if result.Class == Deadline || result.Class == ResourceLimit {
			result.Reason += " to hold it against its schema"
		}
		err = &Error{Class: result.Class, Reason: result.Reason}
	}
	return err
}

func (s *stage) dismiss() {
	if s.judge != nil {
		s.judge.close()
	}
}
