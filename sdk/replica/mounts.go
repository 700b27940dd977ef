package replica

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountedBelow reports whether anything is mounted below a directory, or may be.
func mountedBelow(dir string) bool {
	points, real, err := mountPoints(dir)
	return err != nil || slices.ContainsFunc(points, func(point string) bool { return point != real })
}

// Detach unmounts what is mounted on a directory, or below it, in the last place
// as in the first. Nothing in there is lost: it stays where it was mounted from,
// and so long as somebody uses it.
func Detach(dir string) error {
	points, _, err := mountPoints(dir)
	if err != nil {
		return fmt.Errorf("cannot tell what is mounted below %s: %w", dir, err)
	}
	for _, point := range slices.Backward(points) { // what was mounted last comes first
		if err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("something is mounted on %s: unmount it: %w", point, err)
		}
	}
	return nil
}

// mountPoints returns where something is mounted on a directory or below it, and
// the directory's real path.
func mountPoints(dir string) (points []string, real string, err error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err == nil {
		real, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return nil, "", err
	}
	return mounted(string(table), real), real, nil
}

// mounted looks for mount points in a table as in proc_pid_mountinfo(5).
func mounted(table, dir string) (points []string) {
	below := strings.TrimSuffix(dir, "/") + "/"
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		if point := unescape(fields[4]); point == dir || strings.HasPrefix(point, below) {
			points = append(points, point)
		}
	}
	return points
}

// unescape reads \040 for a space, and so on.
func unescape(s string) string {
	var b strings.Builder
	for {
		plain, rest, found := strings.Cut(s, `\`)
		b.WriteString(plain)
		if !found {
			return b.String()
		}
		s = rest
		if code, err := strconv.ParseUint(rest[:min(3, len(rest))], 8, 8); err == nil && len(rest) >= 3 {
			b.WriteByte(byte(code))
			s = rest[3:]
		} else {
			b.WriteByte('\\')
		}
	}
}
