package transformtest

import (
	"iter"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// isText reports whether a file that is no JSON is made of lines.
func isText(content string) bool {
	return content != "" && utf8.ValidString(content) && !strings.ContainsRune(content, 0)
}

var number = regexp.MustCompile(`-?\d+(\.\d+)?`)

// varyText changes a number in a file of lines, or repeats, drops or swaps lines.
func varyText(r *rand.Rand, content string) string {
	if found := number.FindAllStringIndex(content, -1); len(found) > 0 && r.IntN(3) > 0 {
		at := found[r.IntN(len(found))]
		return content[:at[0]] + numbers[r.IntN(len(numbers))] + content[at[1]:]
	}
	lines := strings.SplitAfter(content, "\n")
	n := len(lines)
	if lines[n-1] == "" {
		n--
	}
	i, j := r.IntN(n), r.IntN(n)
	switch r.IntN(3) {
	case 0:
		lines = slices.Insert(lines, i, lines[j])
	case 1:
		lines[i], lines[j] = lines[j], lines[i]
	case 2:
		if n > 1 { // an empty file is another thing
			lines = slices.Delete(lines, i, i+1)
		}
	}
	return strings.Join(lines, "")
}

// smallerText lists the file with fewer lines, or with a number that is 0.
func smallerText(content string) iter.Seq[string] {
	return func(yield func(string) bool) {
		lines := strings.SplitAfter(strings.TrimSuffix(content, "\n"), "\n")
		for i := range lines {
			less := strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "")
			if less != "" && !yield(less) {
				return
			}
		}
		for _, at := range number.FindAllStringIndex(content, -1) {
			if at[1]-at[0] > 1 && !yield(content[:at[0]]+"0"+content[at[1]:]) {
				return
			}
		}
	}
}
