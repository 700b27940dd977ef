package pack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/tranquil-iot/tranquil/sdk/settings"
)

// A JSON Schema of up to maxInline bytes is an annotation of its transform. A
// longer one is a layer, which a reader that does not know of such refuses.

// JSONSchema reads the schema of a transform's result, without its white
// space; nil if it has none.
func (r *Recipe) JSONSchema(t RecipeTransform) (json.RawMessage, error) {
	if t.Schema == "" {
		return nil, nil
	}
	text, err := os.ReadFile(r.path(t.Schema))
	if err != nil {
		return nil, settings.In("schema", err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, text); err != nil {
		return nil, settings.In("schema", fmt.Errorf("%s is no JSON: %w", t.Schema, err))
	}
	if compact.Len() > MaxSchemaSize {
		return nil, settings.In("schema", fmt.Errorf("%s has %d bytes without its white space, more than %d", t.Schema, compact.Len(), MaxSchemaSize))
	}
	return compact.Bytes(), nil
}

// addSchema gives an edge its schema, or the descriptor of one that will be a
// layer.
func (r *Recipe) addSchema(edge *Transform, t RecipeTransform) error {
	text, err := r.JSONSchema(t)
	if err != nil || len(text) <= maxInline {
		edge.Schema = text
		return err
	}
	if err := checkJSON(text); err != nil {
		return settings.In("schema", fmt.Errorf("%s: %w", t.Schema, err))
	}
	edge.SchemaBlob = Descriptor{MediaType: MediaTypeSchema, Digest: DigestOf(text), Size: int64(len(text))}
	return nil
}

// schema writes the layer that the outline has announced.
func (w *layoutWriter) schema(r *Recipe, t RecipeTransform, edge Transform) error {
	if edge.SchemaBlob == (Descriptor{}) {
		return nil
	}
	text, err := r.JSONSchema(t)
	if err != nil {
		return err
	}
	d, err := w.blob(MediaTypeSchema, bytes.NewReader(text))
	if err == nil && d != edge.SchemaBlob {
		err = settings.In("schema", fmt.Errorf("%s changed while it was packed", t.Schema))
	}
	return err
}

// Blobs returns what a device needs of the transform: its module, and its
// schema if that is a layer.
func (t Transform) Blobs() []Descriptor {
	if t.SchemaBlob == (Descriptor{}) {
		return []Descriptor{t.Descriptor}
	}
	return []Descriptor{t.Descriptor, t.SchemaBlob}
}

// schemas returns the schemas that are layers, each once.
func (p *Package) schemas() []Descriptor {
	seen := map[Descriptor]bool{{}: true}
	var once []Descriptor
	for _, t := range p.Transforms {
		if !seen[t.SchemaBlob] {
			seen[t.SchemaBlob] = true
			once = append(once, t.SchemaBlob)
		}
	}
	return once
}

// joinSchemas tells each transform what the layer says of its schema.
func (p *Package) joinSchemas(layers map[string]Descriptor) error {
	used := map[string]bool{}
	for i := range p.Transforms {
		t := &p.Transforms[i]
		if t.SchemaBlob.Digest == "" {
			continue
		}
		if len(t.Schema) > 0 {
			return fmt.Errorf("transform %d: schema: is given twice", i+1)
		}
		d, ok := layers[t.SchemaBlob.Digest]
		if !ok {
			return fmt.Errorf("transform %d: schema: there is no layer %s", i+1, t.SchemaBlob.Digest)
		}
		t.SchemaBlob, used[d.Digest] = d, true
	}
	if len(used) < len(layers) {
		return errors.New("a schema belongs to no transform")
	}
	return nil
}

func (p *Package) checkSchemas() error {
	var sum int64
	for _, d := range p.schemas() {
		sum += d.Size
	}
	if sum > maxSchemas {
		return fmt.Errorf("transform: the schemas that are layers have %d bytes together, more than %d", sum, maxSchemas)
	}
	return nil
}

// Schema returns the JSON Schema of a transform's result, from wherever in the
// package it is; nil if there is none.
func (l *Layout) Schema(t Transform) ([]byte, error) {
	if t.SchemaBlob == (Descriptor{}) {
		return t.Schema, nil
	}
	text, err := l.ReadBlob(t.SchemaBlob, MaxSchemaSize)
	if err == nil {
		err = checkJSON(text)
	}
	return text, settings.In("schema", err)
}
