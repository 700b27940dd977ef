package container

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The signals that a C library leaves to programs: systemd is asked to halt by
// SIGRTMIN+3 (signal(7)).
const (
	rtMin = 34
	rtMax = 64
)

// signalNumber reads what settings and images name signals by: "SIGTERM",
// "TERM", "15", "SIGRTMIN+3".
func signalNumber(name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= rtMax {
		return n, nil
	}
	long := "SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if n := unix.SignalNum(long); n != 0 {
		return int(n), nil
	}
	if offset, ok := strings.CutPrefix(long, "SIGRTMIN"); ok {
		if n, err := strconv.Atoi("0" + strings.TrimPrefix(offset, "+")); err == nil && rtMin+n <= rtMax {
			return rtMin + n, nil
		}
	}
	if offset, ok := strings.CutPrefix(long, "SIGRTMAX"); ok {
		if n, err := strconv.Atoi("0" + strings.TrimPrefix(offset, "-")); err == nil && rtMax-n >= rtMin {
			return rtMax - n, nil
		}
	}
	return 0, fmt.Errorf("halt: %q is no signal", name)
}
