package web

import (
	"fmt"
	"strings"

	"github.com/tranquil-iot/tranquil/backend/internal/fleet"
)

// A drawing is the graph of state schemas: they stand in a row, transforms up lead above it, and those down below.
type drawing struct {
	Width, Height int
	Nodes         []node
	Arcs          []arc
}

type node struct {
	X, Y     int
	Schema   int
	Versions string
}

type arc struct {
	Path    string // of SVG
	X, Y    int    // of its label
	Label   string
	Lossy   bool
	Explain string
}

// Sizes of a drawing, in its own units.
const (
	nodeWidth  = 120
	nodeHeight = 56
	nodeGap    = 90
	arcHeight  = 34 // for each schema that an arc passes
	margin     = 24
)

func draw(g fleet.Graph) drawing {
	if len(g.Schemas) == 0 {
		return drawing{}
	}
	at, furthest := map[int]int{}, 1
	for i, s := range g.Schemas {
		at[s.Number] = i
	}
	for _, e := range g.Edges {
		furthest = max(furthest, abs(at[e.From]-at[e.To]))
	}
	middle := margin + furthest*arcHeight*4/3 + nodeHeight/2
	d := drawing{Width: 2*margin + len(g.Schemas)*nodeWidth + (len(g.Schemas)-1)*nodeGap, Height: 2 * middle}
	for i, s := range g.Schemas {
		d.Nodes = append(d.Nodes, node{margin + i*(nodeWidth+nodeGap), middle - nodeHeight/2, s.Number, brief(s.Versions)})
	}
	for _, e := range g.Edges {
		d.Arcs = append(d.Arcs, bend(e, at[e.From], at[e.To], middle))
	}
	return d
}

// bend is an arc from one place in the row to another.
func bend(e fleet.Edge, from, to, middle int) arc {
	side := -1 // above
	if to < from {
		side = 1
	}
	x1, x2 := center(from)-side*(-18), center(to)-side*18
	y := middle + side*nodeHeight/2
	top := y + side*abs(to-from)*arcHeight*4/3
	a := arc{
		Path: fmt.Sprintf("M%d %d C%d %d %d %d %d %d", x1, y, x1, top, x2, top, x2, y+side*4),
		X:    (x1 + x2) / 2, Y: y + side*(abs(to-from)*arcHeight+10) + 4, Lossy: e.Lossy, Label: brief(e.Packages),
		Explain: fmt.Sprintf("from schema %d to %d, in %s", e.From, e.To, strings.Join(e.Packages, ", ")),
	}
	if e.Lossy {
		a.Explain += "; it forgets something that the way back would need"
	}
	return a
}

func center(place int) int { return margin + place*(nodeWidth+nodeGap) + nodeWidth/2 }

func abs(n int) int { return max(n, -n) }

// brief is a list of versions that fits.
func brief(versions []string) string {
	switch n := len(versions); n {
	case 0:
		return ""
	case 1, 2:
		return strings.Join(versions, ", ")
	default:
		return versions[0] + " … " + versions[n-1]
	}
}
