// Package jsonpatch is a ready-made state transform: it applies a JSON Patch
// (RFC 6902) or a JSON Merge Patch (RFC 7386) to a JSON file, or to each line
// of an NDJSON file.
package jsonpatch

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/tranquil-iot/tranquil/sdk/transform"
)

// Filter is the transform. Either its param "patch" is a JSON Patch or its
// param "merge" a JSON Merge Patch. Members of objects come out in
// alphabetical order; numbers keep their digits.
func Filter(in io.Reader, out io.Writer, e transform.Edge) error {
	change, err := changeOf(e.Params["patch"], e.Params["merge"])
	if err != nil {
		return err
	}
	if e.Format == "ndjson" {
		return lines(in, out, change)
	}
	data, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	return document(data, out, change)
}

// Check returns why no state could be transformed with these params.
func Check(params map[string]string) error {
	_, err := changeOf(params["patch"], params["merge"])
	return err
}

// A change returns the changed document; the old one must not be used any more.
type change func(doc any) (any, error)

func changeOf(patch, mergePatch string) (change, error) {
	switch {
	case patch == "" && mergePatch == "":
		return nil, errors.New("give the param patch or merge: there is neither")
	case mergePatch == "":
		operations, err := parsePatch([]byte(patch))
		if err != nil {
			return nil, fmt.Errorf("cannot read the param patch: %w", err)
		}
		return func(doc any) (any, error) { return applyAll(operations, doc) }, nil
	case patch != "":
		return nil, errors.New("the params patch and merge exclude each other")
	}
	members, err := decode([]byte(mergePatch))
	if err != nil {
		return nil, fmt.Errorf("cannot read the param merge: %w", err)
	}
	return func(doc any) (any, error) { return merge(doc, members), nil }, nil
}

func applyAll(patch []operation, doc any) (any, error) {
	var err error
	for i, op := range patch {
		if doc, err = op.apply(doc); err != nil {
			return nil, fmt.Errorf("operation %d, %s %s: %w", i, op.Op, op.Path, err)
		}
	}
	return doc, nil
}

// lines patches one document after the other.
func lines(in io.Reader, out io.Writer, c change) error {
	r := bufio.NewReader(in)
	for n := 1; ; n++ {
		line, err := r.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(bytes.TrimSpace(line)) > 0 {
			if err := document(line, out, c); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
		if err != nil {
			return nil
		}
	}
}

// document patches data and writes it as one line. Numbers keep their digits.
func document(data []byte, out io.Writer, c change) error {
	doc, err := decode(data)
	if err != nil {
		return transform.Refuse("the document cannot be read: %v", err)
	}
	if doc, err = c(doc); err != nil {
		return transform.Refuse("%v", err)
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(doc)
}

// decode reads a document, of which nothing may be lost.
func decode(text []byte) (doc any, err error) {
	err = transform.Decode(text, &doc)
	return doc, err
}
