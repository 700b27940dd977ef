package objects

import (
	"context"
	"slices"
	"sync"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// Memory is an [lwm2m.Object] that keeps its values in memory. The device sets
// them with Set, and tells the client with [lwm2m.Client.Changed]; the hooks let
// it take part in what the server does. It is safe for concurrent use.
type Memory struct {
	definition lwm2m.Definition

	// OnWrite, if not nil, sees what the server writes before it is kept; an
	// error refuses the write. Set it before the client runs.
	OnWrite func(ctx context.Context, records []lwm2m.Record) error
	// OnExecute runs the executable resources; if nil they are refused (4.05).
	// Set it before the client runs.
	OnExecute func(ctx context.Context, p lwm2m.Path, arguments string) error
	// OnStream, if not nil, takes opaque resources as they arrive, see
	// [lwm2m.Streamer]; what comes in one piece OnWrite sees. Neither is kept. Set
	// it before the client runs.
	OnStream func(ctx context.Context, p lwm2m.Path, size int64) (lwm2m.Stream, error)

	mu     sync.Mutex
	values map[lwm2m.Path]lwm2m.Record
}

// NewMemory makes an object without instances; setting a value makes its instance.
func NewMemory(definition lwm2m.Definition) *Memory {
	return &Memory{definition: definition, values: map[lwm2m.Path]lwm2m.Record{}}
}

// Set keeps records; their paths name resources or resource instances.
func (m *Memory) Set(records ...lwm2m.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range records {
		m.values[r.Path] = r
	}
}

// SetValue keeps one value of a single resource.
func (m *Memory) SetValue(instance, resource uint16, v lwm2m.Value) {
	m.Set(lwm2m.Record{Path: lwm2m.NewPath(m.definition.ID, instance, resource), Value: v})
}

// Value is the value at p, or one of KindNone.
func (m *Memory) Value(p lwm2m.Path) lwm2m.Value {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.values[p].Value
}

// Remove forgets everything at and under p.
func (m *Memory) Remove(p lwm2m.Path) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(p)
}

func (m *Memory) remove(p lwm2m.Path) {
	for q := range m.values {
		if p.Contains(q) {
			delete(m.values, q)
		}
	}
}

// Definition implements [lwm2m.Object].
func (m *Memory) Definition() lwm2m.Definition { return m.definition }

// Instances implements [lwm2m.Object].
func (m *Memory) Instances() []uint16 {
	m.mu.Lock()
	defer m.mu.Unlock()
	var ids []uint16
	for p := range m.values {
		ids = append(ids, p.Instance())
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Read implements [lwm2m.Object].
func (m *Memory) Read(_ context.Context, p lwm2m.Path) ([]lwm2m.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var records []lwm2m.Record
	for q, r := range m.values {
		if p.Contains(q) {
			records = append(records, r)
		}
	}
	slices.SortFunc(records, func(a, b lwm2m.Record) int { return a.Path.Compare(b.Path) })
	return records, nil
}

// Write implements [lwm2m.Object]. Replacing an instance keeps its values that a
// server cannot write.
func (m *Memory) Write(ctx context.Context, p lwm2m.Path, mode lwm2m.WriteMode, records []lwm2m.Record) error {
	if m.OnWrite != nil {
		if err := m.OnWrite(ctx, records); err != nil {
			return err
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if mode == lwm2m.Replace {
		m.removeWritable(p)
	}
	for _, r := range records {
		if m.OnStream == nil || r.Value.Kind() != lwm2m.KindOpaque {
			m.values[r.Path] = r
		}
	}
	return nil
}

// Stream implements [lwm2m.Streamer].
func (m *Memory) Stream(ctx context.Context, p lwm2m.Path, size int64) (lwm2m.Stream, error) {
	if r, _ := m.definition.Resource(p.Resource()); m.OnStream == nil || r.Kind != lwm2m.KindOpaque {
		return nil, nil
	}
	return m.OnStream(ctx, p, size)
}

func (m *Memory) removeWritable(p lwm2m.Path) {
	for q := range m.values {
		d, _ := m.definition.Resource(q.Resource())
		if p.Contains(q) && d.Operations&lwm2m.W != 0 {
			delete(m.values, q)
		}
	}
}

// Execute implements [lwm2m.Object].
func (m *Memory) Execute(ctx context.Context, p lwm2m.Path, arguments string) error {
	if m.OnExecute == nil {
		return lwm2m.Errorf(lwm2m.CodeMethodNotAllowed, "%v cannot be executed on this device", p)
	}
	return m.OnExecute(ctx, p, arguments)
}
