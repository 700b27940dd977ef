package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// A bar shows how far something is, on a terminal only: a log wants no bars.
type bar struct {
	out  io.Writer // nil: show nothing
	what string
	last int
}

func (s *session) bar(what string) *bar {
	f, ok := s.err.(*os.File)
	if !ok {
		return &bar{what: what}
	}
	if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
		return &bar{what: what}
	}
	return &bar{out: f, what: what, last: -1}
}

const barWidth = 30

// show draws the bar if it looks other than before.
func (b *bar) show(done, total int64) {
	if b.out == nil || total <= 0 {
		return
	}
	percent := int(100 * min(done, total) / total)
	if percent == b.last {
		return
	}
	b.last = percent
	full := percent * barWidth / 100
	fmt.Fprintf(b.out, "\r%s [%s%s] %3d %%", b.what, strings.Repeat("#", full), strings.Repeat(".", barWidth-full), percent)
}

// clear removes the bar.
func (b *bar) clear() {
	if b.out != nil && b.last >= 0 {
		fmt.Fprint(b.out, "\r\x1b[K")
		b.last = -1
	}
}
