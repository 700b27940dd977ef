package objects

import (
	"context"
	"slices"
	"sync"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m"
)

// Instances is a [Memory] whose instances a server may create and delete. An
// instance may be without values. OnWrite also sees what an instance is created
// with.
type Instances struct {
	*Memory
	// OnDelete, if not nil, may refuse that an instance is deleted. Set it before
	// the client runs.
	OnDelete func(ctx context.Context, instance uint16) error

	mu    sync.Mutex
	empty map[uint16]bool // created, and perhaps without values
}

// NewInstances makes an object without instances.
func NewInstances(definition lwm2m.Definition) *Instances {
	return &Instances{Memory: NewMemory(definition), empty: map[uint16]bool{}}
}

// Instances implements [lwm2m.Object].
func (i *Instances) Instances() []uint16 {
	i.mu.Lock()
	defer i.mu.Unlock()
	ids := i.Memory.Instances()
	for id := range i.empty {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Create implements [lwm2m.InstanceManager].
func (i *Instances) Create(ctx context.Context, instance uint16, records []lwm2m.Record) error {
	p := lwm2m.NewPath(i.Definition().ID, instance)
	if err := i.Memory.Write(ctx, p, lwm2m.Update, records); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.empty[instance] = true
	return nil
}

// Delete implements [lwm2m.InstanceManager].
func (i *Instances) Delete(ctx context.Context, instance uint16) error {
	if i.OnDelete != nil {
		if err := i.OnDelete(ctx, instance); err != nil {
			return err
		}
	}
	i.Remove(lwm2m.NewPath(i.Definition().ID, instance))
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.empty, instance)
	return nil
}
