package cgroup

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRoots(t *testing.T) {
	for name, c := range map[string]struct {
		mounts, first string
		want          []string
	}{
		"version 2": {
			"30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n22 1 8:1 / / rw - ext4 /dev/sda1 rw\n",
			"0::/init.scope\n",
			[]string{"/sys/fs/cgroup"},
		},
		"both": {
			"31 30 0:27 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			"7:freezer:/\n0::/\n",
			[]string{"/sys/fs/cgroup/freezer", "/sys/fs/cgroup/unified"},
		},
		"in a container without a namespace": {
			"31 30 0:27 /lxc/c1 /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n32 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
			"7:freezer:/lxc/c1/inner\n",
			[]string{"/sys/fs/cgroup/freezer", "/sys/fs/cgroup/freezer/inner", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/lxc/c1/inner"},
		},
		"nothing":  {"", "", nil},
		"nonsense": {"a b c - cgroup\n\x00\n", ":\n\n::", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(c.want, roots(c.mounts, c.first)); d != "" {
				t.Error(d)
			}
		})
	}
}

// FuzzRoots: whatever the kernel tells, no group is looked for above a hierarchy.
func FuzzRoots(f *testing.F) {
	f.Add("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "0::/init.scope\n")
	f.Add("31 30 0:27 /a /p rw - cgroup cgroup rw,freezer\n", "7:freezer:/a/../../b\n")
	f.Fuzz(func(t *testing.T, mounts, first string) {
		for _, root := range roots(mounts, first) {
			if strings.Contains(root, "/../") && !strings.Contains(mounts, "/../") {
				t.Error(root)
			}
		}
	})
}
