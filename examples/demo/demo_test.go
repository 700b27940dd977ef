package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tranquil-iot/tranquil/examples/internal/rig"
)

func TestTable(t *testing.T) {
	d := demo{console: &console{out: &strings.Builder{}}}
	d.claim("it runs", "yes", "yes", true)
	d.claimAfter("1.5s", "it is unbroken", "1 to 3", "1 to 2", false)
	var out strings.Builder
	d.table.print(&console{out: &out})
	want := `
   what            expected  seen    downtime
✓  it runs         yes       yes
✗  it is unbroken  1 to 3    1 to 2  1.5s

2 claims, 1 wrong.
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	if d.table.wrong() != 1 {
		t.Errorf("%d wrong", d.table.wrong())
	}
}

func TestDescribe(t *testing.T) {
	c := rig.Component{Update: rig.Update{Phase: "execution", Step: "stop", Progress: 0.5}}
	for back, want := range map[bool]string{
		false: "execution       stop            ██████████░░░░░░░░░░  50 %",
		true:  "execution       undo stop       ██████████░░░░░░░░░░  50 %",
	} {
		if got := describe(c, back); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestLifeLine(t *testing.T) {
	log := "sensor-adapter 2.0.0 goes on after reading 41\nsensor-adapter 2.0.0 ends after reading 57\n"
	got := lifeLine.FindAllStringSubmatch(log, -1)
	if len(got) != 2 || got[1][1] != "2.0.0" || got[1][2] != "ends" || got[1][3] != "57" {
		t.Errorf("got %v", got)
	}
}
