package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// A bar shows how far something is, on a terminal only: a log wants no bars.
type bar struct {
	out  *os.File  // nil: show nothing
	log  io.Writer // for lines now and then, where there is no terminal
	what string
	last int
	told time.Time
}

func (s *session) bar(what string) *bar {
	b := &bar{what: what, last: -1, told: time.Now()}
	f, ok := s.err.(*os.File)
	if b.log = s.err; ok && term.IsTerminal(int(f.Fd())) {
		b.out = f
	}
	return b
}

// tellEvery is how long nothing is said where there is no terminal.
const tellEvery = 10 * time.Second

// tell is show for what may take many minutes: then a log gets a line as well.
func (b *bar) tell(done, total int64) {
	b.show(done, total)
	if b.out == nil && total > 0 && time.Since(b.told) >= tellEvery {
		b.told = time.Now()
		fmt.Fprintf(b.log, "%s: %d of %d done\n", b.what, done, total)
	}
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
	what := b.what
	if wide, _, err := term.GetSize(int(b.out.Fd())); err == nil { // a longer line could not be replaced
		what = what[:max(0, min(len(what), wide-barWidth-10))]
	}
	full := percent * barWidth / 100
	fmt.Fprintf(b.out, "\r%s [%s%s] %3d %%", what, strings.Repeat("#", full), strings.Repeat(".", barWidth-full), percent)
}

// clear removes the bar.
func (b *bar) clear() {
	if b.out != nil && b.last >= 0 {
		fmt.Fprint(b.out, "\r\x1b[K")
		b.last = -1
	}
}
