// Package boot tells one boot of a device from another.
package boot

import (
	"bytes"
	"os"
	"strings"
)

// ID is the identity of this boot. It is the kernel's, and when the first
// process began: a device that is a container boots without its kernel. It is the
// same for all processes of the device, as long as they may see the first one.
func ID() string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	first, _ := os.ReadFile("/proc/1/stat")
	return strings.TrimSpace(string(kernel)) + began(first)
}

// began reads when a process began out of its /proc/PID/stat, in clock ticks
// since the kernel's boot: the 22nd field of proc(5). The second one, its name,
// may hold anything.
func began(stat []byte) string {
	const after = 19 // the fields that follow the name, before it
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= after {
		return ""
	}
	return "/" + string(fields[after])
}
