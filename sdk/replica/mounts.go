package replica

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// mountedBelow reports whether anything is mounted below a directory, or may be.
func mountedBelow(dir string) bool {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	return err != nil || mounted(string(table), dir)
}

// mounted looks below a directory in a table as in proc_pid_mountinfo(5).
func mounted(table, dir string) bool {
	below := strings.TrimSuffix(dir, "/") + "/"
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) > 4 && strings.HasPrefix(unescape(fields[4]), below) {
			return true
		}
	}
	return false
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
