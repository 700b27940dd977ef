package jsonpatch

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

var errMissing = errors.New("there is no such value")

// get returns the value at a path.
func get(doc any, path pointer) (any, error) {
	for _, key := range path {
		var err error
		if doc, err = child(doc, key); err != nil {
			return nil, err
		}
	}
	return doc, nil
}

// add puts a value at a path: a member is set, an element is inserted.
func add(doc any, path pointer, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	return edit(doc, path, func(parent any, key string) (any, error) {
		switch parent := parent.(type) {
		case map[string]any:
			parent[key] = value
			return parent, nil
		case []any:
			if key == "-" {
				return append(parent, value), nil
			}
			i, err := index(key, len(parent)+1)
			if err != nil {
				return nil, err
			}
			return slices.Insert(parent, i, value), nil
		}
		return nil, errMissing
	})
}

// remove takes away the value at a path.
func remove(doc any, path pointer) (any, error) {
	if len(path) == 0 {
		return nil, nil
	}
	return edit(doc, path, func(parent any, key string) (any, error) {
		if _, err := child(parent, key); err != nil {
			return nil, err
		}
		if object, ok := parent.(map[string]any); ok {
			delete(object, key)
			return object, nil
		}
		array := parent.([]any)
		i, err := index(key, len(array))
		if err != nil {
			return nil, err
		}
		return slices.Delete(array, i, i+1), nil
	})
}

// replace changes the value at a path, which must be there.
func replace(doc any, path pointer, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	return edit(doc, path, func(parent any, key string) (any, error) {
		if _, err := child(parent, key); err != nil {
			return nil, err
		}
		return set(parent, key, value)
	})
}

// edit lets change work on the parent of the last key of a path, and puts what
// it returns in the parent's place: arrays move when they grow.
func edit(doc any, path pointer, change func(parent any, key string) (any, error)) (any, error) {
	if len(path) == 1 {
		return change(doc, path[0])
	}
	next, err := child(doc, path[0])
	if err != nil {
		return nil, err
	}
	if next, err = edit(next, path[1:], change); err != nil {
		return nil, err
	}
	return set(doc, path[0], next)
}

// child returns a member of an object or an element of an array.
func child(parent any, key string) (any, error) {
	switch parent := parent.(type) {
	case map[string]any:
		if value, ok := parent[key]; ok {
			return value, nil
		}
	case []any:
		i, err := index(key, len(parent))
		if err != nil {
			return nil, err
		}
		return parent[i], nil
	}
	return nil, errMissing
}

// set changes a child that is there.
func set(parent any, key string, value any) (any, error) {
	switch parent := parent.(type) {
	case map[string]any:
		parent[key] = value
	case []any:
		i, err := index(key, len(parent))
		if err != nil {
			return nil, err
		}
		parent[i] = value
	}
	return parent, nil
}

// index reads an array index below n: digits without a leading zero.
func index(key string, n int) (int, error) {
	i, err := strconv.Atoi(key)
	if err != nil || key != strconv.Itoa(i) || i < 0 || i >= n {
		return 0, fmt.Errorf("%q is no index of an array of %d", key, n)
	}
	return i, nil
}
