package fleet

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/tranquil-iot/tranquil/backend/internal/twin"
	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// An Offer is a component that there are packages of.
type Offer struct {
	Component string          `json:"component"`
	Packages  []*pack.Package `json:"packages"` // the newest first
}

// Offers lists what there are packages of, by name.
func (f *Fleet) Offers() []Offer {
	offers := []Offer{}
	if f.Shop == nil {
		return offers
	}
	for _, p := range f.Shop.Packages() {
		name := p.Manifest.Component()
		at, there := slices.BinarySearchFunc(offers, name, func(o Offer, name string) int { return strings.Compare(o.Component, name) })
		if !there {
			offers = slices.Insert(offers, at, Offer{Component: name})
		}
		offers[at].Packages = append(offers[at].Packages, p)
	}
	return offers
}

// Alarms are what somebody has to see to of the packages: signatures that expire, a
// store that is full.
func (f *Fleet) Alarms() []string {
	if f.Shop == nil {
		return []string{}
	}
	return f.Shop.Alarms()
}

// Offer answers one component; fs.ErrNotExist.
func (f *Fleet) Offer(component string) (Offer, error) {
	if err := f.noShop(); err != nil {
		return Offer{}, err
	}
	for _, o := range f.Offers() {
		if o.Component == component {
			return o, nil
		}
	}
	return Offer{}, fs.ErrNotExist
}

// Receive publishes a package that arrives in its single-file form. It is on disk, below Spool, until it is whole.
func (f *Fleet) Receive(ctx context.Context, r io.Reader) (*pack.Package, error) {
	if err := f.noShop(); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(f.Spool, "package-*.tar")
	if err != nil {
		return nil, fmt.Errorf("cannot take the package: %w", err)
	}
	defer os.Remove(file.Name())
	defer file.Close()
	if _, err := io.Copy(file, r); err != nil {
		return nil, twin.ArgumentInvalid.With("the upload broke off: %v", err)
	}
	l, err := pack.Open(file.Name())
	if err != nil {
		return nil, twin.ArgumentInvalid.With("%v", strings.ReplaceAll(err.Error(), " "+file.Name(), ""))
	}
	defer l.Close()
	return l.Package, f.publish(ctx, l)
}

func (f *Fleet) publish(ctx context.Context, l *pack.Layout) error {
	p := l.Package
	detail := map[string]any{"digest": p.Digest, "file": p.File}
	return f.Ledger.Change(ctx, "package.publish", p.Manifest.Component()+":"+p.Manifest.Version, detail, func() error {
		return f.Shop.Publish(ctx, l)
	})
}

// Withdraw takes a package back. Devices that have it keep it.
func (f *Fleet) Withdraw(ctx context.Context, component, version string) error {
	if err := f.noShop(); err != nil {
		return err
	}
	return f.Ledger.Change(ctx, "package.withdraw", component+":"+version, nil, func() error {
		return f.Shop.Withdraw(ctx, component, version)
	})
}

// Runners lists the devices by the version that they have of a component.
func Runners(devices []Device, component string) map[string][]string {
	runners := map[string][]string{}
	for _, d := range devices {
		for _, c := range d.Components {
			if c.Name == component && c.Version != "" {
				runners[c.Version] = append(runners[c.Version], d.ID)
			}
		}
	}
	return runners
}

// A Graph is what leads from one state schema to another, in all packages of a component.
type Graph struct {
	Schemas []Schema
	Edges   []Edge
}

// A Schema is a shape of the state, and the versions that have it.
type Schema struct {
	Number   int
	Versions []string // the oldest first
}

// Edge is a transform.
type Edge struct {
	From, To int // schemas
	Lossy    bool
	Packages []string // versions of the packages that bring it
}

// Graph draws the schemas of an offer.
func (o Offer) Graph() (g Graph) {
	edges := map[[2]int]*Edge{}
	schema := func(number int) *Schema {
		at, there := slices.BinarySearchFunc(g.Schemas, number, func(s Schema, n int) int { return s.Number - n })
		if !there {
			g.Schemas = slices.Insert(g.Schemas, at, Schema{Number: number})
		}
		return &g.Schemas[at]
	}
	for _, p := range slices.Backward(o.Packages) {
		if n := p.Manifest.Schema(); n > 0 {
			s := schema(n)
			s.Versions = append(s.Versions, p.Manifest.Version)
		}
		for _, t := range p.Transforms {
			schema(t.From)
			schema(t.To)
			e := edges[[2]int{t.From, t.To}]
			if e == nil {
				e = &Edge{From: t.From, To: t.To}
				edges[[2]int{t.From, t.To}] = e
			}
			e.Lossy = e.Lossy || t.Lossy
			e.Packages = append(e.Packages, p.Manifest.Version)
		}
	}
	for _, e := range edges {
		g.Edges = append(g.Edges, *e)
	}
	slices.SortFunc(g.Edges, func(a, b Edge) int { return strings.Compare(a.key(), b.key()) })
	return g
}

func (e Edge) key() string { return strconv.Itoa(1000+e.From) + strconv.Itoa(1000+e.To) }
