package congestion

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestControl tells stories: each word is an event, and what follows the arrow is
// the window after it.
//
//	4x50    four answers after 50 ms each
//	loss    one request is lost that was sent just now
//	again   another one that was sent before that loss was noticed
//	silence a time-out with nothing coming
//	late    the answer to what counted as lost comes after all
//	open    the server bears several requests
func TestControl(t *testing.T) {
	for name, story := range map[string]string{
		"a slow start doubles in a round trip":         "1x50 →2 2x50 →4 4x50 →8 8x50 →16",
		"it ends where queues fill":                    "15x50 →16 20x100 →17 17x100 →18",
		"and at the widest":                            "200x50 →64",
		"loss with empty queues is no congestion":      "19x50 →20 loss →16 17x50 →17",
		"loss with full ones is":                       "19x50 20x100 loss →10 20x100 →11",
		"what is lost together counts once":            "19x50 loss →16 again →16 again →16 loss →12",
		"never fewer than one":                         "loss →1 loss →1 1x50 →2",
		"silence begins anew, with half as a limit":    "19x50 silence →1 5x50 →6 5x50 →10 9x50 →10 2x50 →11",
		"a loss that was none":                         "19x50 loss →16 late →20 1x50 →21",
		"a silence that was none":                      "19x50 silence →1 late →20 late →20",
		"several at once, when the server bears them":  "1x50 →2 open →4 open →4 4x50 →8",
		"a path that gets longer is not full for ever": "7x50 →8 2048x80 →47 loss →37",
		"one that is slow for long is filled, no more": "7x50 →8 800x150 →29",
	} {
		t.Run(name, func(t *testing.T) {
			c, now := New(2*time.Second), time.Unix(100, 0)
			lost := now
			for _, word := range strings.Fields(story) {
				if want, found := strings.CutPrefix(word, "→"); found {
					if got := strconv.Itoa(c.Window()); got != want {
						t.Fatalf("window %s (%.2f) instead of %s", got, c.window, want)
					}
					continue
				}
				tell(&c, word, &lost, &now)
			}
		})
	}
}

func tell(c *Control, word string, lost, now *time.Time) {
	*now = now.Add(time.Millisecond)
	switch word {
	case "loss":
		*lost = *now
		c.Lost(*now, now.Add(time.Millisecond))
		*now = now.Add(2 * time.Millisecond)
	case "again":
		c.Lost(*lost, *now)
	case "silence":
		*lost = *now
		c.TimedOut(*now, now.Add(time.Second))
		*now = now.Add(2 * time.Second)
	case "late":
		c.Spurious(*lost)
	case "open":
		c.Open()
	default:
		n, ms, _ := strings.Cut(word, "x")
		times, _ := strconv.Atoi(n)
		rtt, _ := strconv.Atoi(ms)
		for range times {
			c.Answered(time.Duration(rtt) * time.Millisecond)
		}
	}
}

func TestTimeout(t *testing.T) {
	c, now := New(2*time.Second), time.Unix(100, 0)
	if first := c.Timeout(1); first < 2*time.Second || first > 3*time.Second {
		t.Fatalf("waits %v for the first answer", first)
	}
	if c.Known() {
		t.Error("a round trip is known before the first")
	}
	c.Answered(40 * time.Millisecond)
	if got := c.Timeout(1); got != 40*time.Millisecond+margin {
		t.Errorf("timeout %v", got)
	}
	for range 100 {
		c.Answered(400 * time.Millisecond)
	}
	if got := c.Timeout(1); got < 400*time.Millisecond || got > 600*time.Millisecond {
		t.Errorf("timeout %v for round trips of 400 ms", got)
	}
	one := c.Timeout(1)
	if c.Timeout(3) != 4*one || c.Timeout(50) != longest {
		t.Errorf("timeouts %v and %v", c.Timeout(3), c.Timeout(50))
	}
	for range 3 { // each sent after the one before has timed out
		c.TimedOut(now, now)
		now = now.Add(time.Second)
	}
	if got := c.Timeout(1); got != 8*one {
		t.Errorf("timeout %v after three in silence", got)
	}
	c.Answered(5 * time.Second) // the path has become slow: no endless repeating
	if got := c.Timeout(1); got < 2*one {
		t.Errorf("timeout %v once an answer took 5 s", got)
	}
}

// TestAgain keeps what is known of the path, and begins carefully.
func TestAgain(t *testing.T) {
	c := New(2 * time.Second)
	for range 100 {
		c.Answered(300 * time.Millisecond)
	}
	next := c.Again()
	if next.Window() != opening || !next.Known() || next.Timeout(1) != c.Timeout(1) {
		t.Errorf("window %d, timeout %v", next.Window(), next.Timeout(1))
	}
}

// FuzzControl has anything happen: the window stays within its bounds, and there is
// always an end to the waiting.
func FuzzControl(f *testing.F) {
	f.Add([]byte("\x00\x00\x01\x02\x03\x04"))
	f.Fuzz(func(t *testing.T, events []byte) {
		c, now := New(2*time.Second), time.Unix(100, 0)
		sent := now
		for i, e := range events {
			now = now.Add(time.Duration(e) * time.Millisecond)
			switch e % 5 {
			case 0:
				c.Answered(now.Sub(sent))
			case 1:
				c.Lost(sent, now)
			case 2:
				c.TimedOut(sent, now)
			case 3:
				c.Spurious(sent)
			case 4:
				sent = now
			}
			wait := c.Timeout(1 + i%9)
			if w := c.Window(); w < 1 || w > Widest || math.IsNaN(c.window) || wait < margin || wait > longest {
				t.Fatalf("window %v, timeout %v", c.window, wait)
			}
		}
	})
}
