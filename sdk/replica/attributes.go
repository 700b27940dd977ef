package replica

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// giveAttributes makes the extended attributes of a file those of another.
func giveAttributes(path, from string) (changed bool, err error) {
	want, err := attributes(from)
	if err != nil {
		return false, err
	}
	have, err := attributes(path)
	if err != nil {
		return false, err
	}
	for name := range have {
		if _, ok := want[name]; ok {
			continue
		}
		changed = true
		if err := unix.Lremovexattr(path, name); err != nil && !policy(name) && !errors.Is(err, unix.ENODATA) {
			return false, fmt.Errorf("cannot remove attribute %s of %s: %w", name, path, err)
		}
	}
	for name, value := range want {
		if old, ok := have[name]; ok && bytes.Equal(old, value) {
			continue
		}
		changed = true
		if err := unix.Lsetxattr(path, name, value, 0); err != nil && !policy(name) {
			return false, fmt.Errorf("cannot keep attribute %s of %s: %w: run this with the rights for it and on a file system that has it, or remove it (setfattr -x)", name, from, err)
		}
	}
	return changed, nil
}

// policy reports whether a device's security policy gives files an attribute:
// labels and signatures are where policy wants them, and not all processes may
// set them.
func policy(name string) bool {
	return strings.HasPrefix(name, "security.") && name != "security.capability"
}

// attributes reads all extended attributes of a file or symbolic link; a file
// system that has none is none.
func attributes(path string) (map[string][]byte, error) {
	list, err := sized(func(b []byte) (int, error) { return unix.Llistxattr(path, b) })
	if len(list) == 0 && (err == nil || errors.Is(err, unix.ENOTSUP)) {
		return nil, nil
	}
	if err != nil {
		return nil, &fs.PathError{Op: "llistxattr", Path: path, Err: err}
	}
	all := map[string][]byte{}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		value, err := sized(func(b []byte) (int, error) { return unix.Lgetxattr(path, name, b) })
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read attribute %s of %s: %w", name, path, err)
		}
		all[name] = value
	}
	return all, nil
}

// sized calls get with more and more room.
func sized(get func([]byte) (int, error)) ([]byte, error) {
	for room := 256; ; {
		buffer := make([]byte, room)
		n, err := get(buffer)
		if errors.Is(err, unix.ERANGE) && room < maxAttributes {
			room *= 16
			continue
		}
		return buffer[:max(n, 0)], err
	}
}

// maxAttributes is Linux's bound of a value, and of all names.
const maxAttributes = 64 << 10
