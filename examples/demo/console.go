package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// A console prints whole lines from several goroutines, with colours only on
// a terminal.
type console struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
	begin  time.Time
}

func newConsole(out *os.File) *console {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == ""
	return &console{out: out, colour: terminal, begin: time.Now()}
}

// Styles, as in ECMA-48's SGR.
const (
	bold  = "1"
	faint = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func (c *console) style(style, text string) string {
	if !c.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// title begins a scene.
func (c *console) title(number int, text string) {
	c.print("\n" + c.style(bold, fmt.Sprintf("%d. %s", number, text)))
}

// say prints one line of a source, with the time since the begin.
func (c *console) say(source, style, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	for line := range strings.SplitSeq(text, "\n") {
		since := time.Since(c.begin).Seconds()
		c.print(fmt.Sprintf("%6.1fs  %s  %s", since, c.style(style, fmt.Sprintf("%-9s", source)), line))
	}
}

func (c *console) print(line string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fmt.Fprintln(c.out, line)
}
