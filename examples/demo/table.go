package main

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// A table collects what the demo claims and what was seen.
type table struct{ rows []row }

type row struct {
	what, expected, seen, downtime string
	holds                          bool
}

// wrong counts the claims that do not hold.
func (t *table) wrong() int {
	n := 0
	for _, r := range t.rows {
		if !r.holds {
			n++
		}
	}
	return n
}

// print writes the table with columns as wide as they need to be.
func (t *table) print(c *console) {
	if len(t.rows) == 0 {
		return
	}
	lines := [][]string{{"what", "expected", "seen", "downtime"}}
	for _, r := range t.rows {
		lines = append(lines, []string{r.what, r.expected, r.seen, r.downtime})
	}
	widths := make([]int, len(lines[0]))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	c.print("")
	for i, line := range lines {
		text := "  "
		for j, cell := range line {
			text += cell + strings.Repeat(" ", widths[j]-utf8.RuneCountInString(cell)+2)
		}
		c.print(t.mark(c, i-1) + strings.TrimRight(text, " "))
	}
	c.print(fmt.Sprintf("\n%d claims, %d wrong.", len(t.rows), t.wrong()))
}

// mark returns the sign in front of a row; -1 is the heading.
func (t *table) mark(c *console, i int) string {
	switch {
	case i < 0:
		return " "
	case t.rows[i].holds:
		return c.style(green, "✓")
	default:
		return c.style(red, "✗")
	}
}
