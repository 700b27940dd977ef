package container

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// identity finds the numbers of a user, and group, of the container: numbers, or
// names that its own files have (passwd(5), group(5)). "" is root.
func identity(root, user string) (uid, gid int, err error) {
	if user == "" {
		return 0, 0, nil
	}
	name, group, hasGroup := strings.Cut(user, ":")
	uid, gid, err = lookUser(root, name)
	if err == nil && hasGroup {
		gid, err = lookGroup(root, group)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("user %.80q: %w", user, err)
	}
	return uid, gid, nil
}

// maxID is the largest number of a user or group in a container: as many as it
// has of its own when it is unprivileged.
const maxID = 1<<16 - 1

func number(text string) (int, bool) {
	n, err := strconv.Atoi(text)
	return n, err == nil && n >= 0 && n <= maxID
}

func lookUser(root, name string) (uid, gid int, err error) {
	n, isNumber := number(name)
	fields, err := find(root, "etc/passwd", func(fields []string) bool {
		return fields[0] == name || isNumber && len(fields) > 2 && fields[2] == name
	})
	if fields == nil && isNumber {
		return n, 0, nil // as engines do, whatever the file is
	}
	if err == nil && len(fields) < 4 {
		err = errors.New("the container has no such user")
	}
	if err != nil {
		return 0, 0, err
	}
	uid, ok := number(fields[2])
	gid, okGroup := number(fields[3])
	if !ok || !okGroup {
		return 0, 0, errors.New("its number is none that a container has")
	}
	return uid, gid, nil
}

func lookGroup(root, name string) (int, error) {
	if n, ok := number(name); ok {
		return n, nil
	}
	fields, err := find(root, "etc/group", func(fields []string) bool { return fields[0] == name })
	if err != nil {
		return 0, err
	}
	if len(fields) < 3 {
		return 0, errors.New("the container has no such group")
	}
	n, ok := number(fields[2])
	if !ok {
		return 0, errors.New("its number is none that a container has")
	}
	return n, nil
}

// find returns the first line of a file of the container that is, split at
// colons; nil if there is none.
func find(root, name string, is func(fields []string) bool) ([]string, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	file, err := dir.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if fields := strings.Split(lines.Text(), ":"); is(fields) {
			return fields, nil
		}
	}
	return nil, lines.Err()
}
