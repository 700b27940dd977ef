// Jsonpatch is a ready-made state transform: it applies the JSON Patch
// (RFC 6902) in the param "patch" to a JSON file, or to each line of an NDJSON
// file. A package needs no code for it, only the edge; see transforms/README.md.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

func main() { transform.Filter(filter) }

func filter(in io.Reader, out io.Writer, e transform.Edge) error {
	patch, err := parsePatch([]byte(e.Params["patch"]))
	if err != nil {
		return fmt.Errorf("cannot read the param patch: %w", err)
	}
	if e.Format == "ndjson" {
		return lines(in, out, patch)
	}
	data, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	return document(data, out, patch)
}

// lines patches one document after the other.
func lines(in io.Reader, out io.Writer, patch []operation) error {
	r := bufio.NewReader(in)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(bytes.TrimSpace(line)) > 0 {
			if err := document(line, out, patch); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
		if err != nil {
			return nil
		}
	}
}

// document patches data and writes it as one line. Numbers keep their digits.
func document(data []byte, out io.Writer, patch []operation) error {
	doc, err := decode(data)
	if err != nil {
		return transform.Refuse("not a JSON document: %v", err)
	}
	for i, op := range patch {
		if doc, err = op.apply(doc); err != nil {
			return transform.Refuse("operation %d, %s %s: %v", i, op.Op, op.Path, err)
		}
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(doc)
}

func decode(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var doc any
	if err := decoder.Decode(&doc); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the document")
	}
	return doc, nil
}
