package twin

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a twin. Sizes count keys and values: a string its bytes in UTF-8, a number 8 bytes, a boolean 4.
// Azure leaves control characters and empty elements of arrays out of the count; here they count, since otherwise a
// device could make a document grow without end.
const (
	maxTags       = 8 << 10
	maxProperties = 32 << 10
	maxKey        = 1 << 10
	maxString     = 4 << 10
	maxDepth      = 10
	maxInteger    = 1 << 52
)

func checkObject(path string, object map[string]any, depth int) error {
	if depth > maxDepth {
		return ArgumentInvalid.With("%s: nested deeper than %d", short(path), maxDepth)
	}
	for key, value := range object {
		if err := checkKey(path, key); err != nil {
			return err
		}
		if err := checkValue(path+"."+key, value, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func checkKey(path, key string) error {
	if key == "" || len(key) > maxKey {
		return ArgumentInvalid.With("%s: a key must have 1 to %d bytes", short(path), maxKey)
	}
	for _, r := range key {
		if unicode.IsControl(r) || r == utf8.RuneError || strings.ContainsRune(".$# ", r) {
			return ArgumentInvalid.With("%s: key %.80q holds one of . $ # space or a control character", short(path), key)
		}
	}
	return nil
}

func checkValue(path string, value any, depth int) error {
	switch value := value.(type) {
	case map[string]any:
		return checkObject(path, value, depth)
	case []any:
		return checkArray(path, value, depth)
	case string:
		if len(value) > maxString {
			return ArgumentInvalid.With("%s: a string must have at most %d bytes", short(path), maxString)
		}
	case json.Number:
		if !validNumber(value) {
			return ArgumentInvalid.With("%s: number %.40s is out of range", short(path), value)
		}
	}
	return nil
}

func checkArray(path string, array []any, depth int) error {
	if depth > maxDepth {
		return ArgumentInvalid.With("%s: nested deeper than %d", short(path), maxDepth)
	}
	for _, value := range array {
		if value == nil {
			return ArgumentInvalid.With("%s: an array must not hold null", short(path))
		}
		if err := checkValue(path, value, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// validNumber accepts integers of 53 bits and finite floating point numbers.
func validNumber(number json.Number) bool {
	text := number.String()
	if len(text) > 64 { // its size counts as 8, so it must not be a way around the limits
		return false
	}
	if strings.ContainsAny(text, ".eE") {
		f, err := strconv.ParseFloat(text, 64)
		return err == nil && !math.IsInf(f, 0)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return err == nil && n >= -maxInteger && n < maxInteger
}

func size(value any) int {
	total := 0
	switch value := value.(type) {
	case map[string]any:
		for key, member := range value {
			total += len(key) + size(member)
		}
	case []any:
		for _, element := range value {
			total += max(1, size(element))
		}
	case string:
		total = len(value)
	case bool:
		total = 4
	default:
		total = 8
	}
	return total
}

// short keeps messages short where keys are long.
func short(path string) string {
	if len(path) <= 200 {
		return path
	}
	return strings.ToValidUTF8(path[:200], "") + "…"
}
