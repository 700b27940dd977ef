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

var (
	number = regexp.MustCompile(`-?\d+(\.\d+)?`)
	word   = regexp.MustCompile(`\pL+`)
)

// textTwists change a file of lines.
var textTwists = []func(*rand.Rand, string) string{
	func(r *rand.Rand, content string) string { return replaceOne(r, content, number, numbers) },
	func(_ *rand.Rand, content string) string {
		return number.ReplaceAllStringFunc(content, func(n string) string { return plus(n, 1) })
	},
	func(r *rand.Rand, content string) string { // a line comes twice
		return reline(content, func(lines []string) []string {
			i := r.IntN(len(lines))
			return slices.Insert(lines, i, lines[i])
		})
	},
	func(_ *rand.Rand, content string) string {
		return number.ReplaceAllStringFunc(content, func(n string) string { return plus(n, -1) })
	},
	func(r *rand.Rand, content string) string { return replaceOne(r, content, word, strange[:1]) },
	func(r *rand.Rand, content string) string { return replaceOne(r, content, number, large) },
	func(r *rand.Rand, content string) string {
		return reline(content, func(lines []string) []string {
			i, j := r.IntN(len(lines)), r.IntN(len(lines))
			lines[i], lines[j] = lines[j], lines[i]
			return lines
		})
	},
	func(r *rand.Rand, content string) string { // a blank line
		return reline(content, func(lines []string) []string { return slices.Insert(lines, r.IntN(len(lines)), "\n") })
	},
	func(r *rand.Rand, content string) string {
		return reline(content, func(lines []string) []string {
			if len(lines) == 1 { // an empty file is another thing
				return lines
			}
			i := r.IntN(len(lines))
			return slices.Delete(lines, i, i+1)
		})
	},
}

// replaceOne replaces one of what a pattern finds.
func replaceOne(r *rand.Rand, content string, what *regexp.Regexp, by []string) string {
	found := what.FindAllStringIndex(content, -1)
	if len(found) == 0 {
		return content
	}
	at := found[r.IntN(len(found))]
	return content[:at[0]] + by[r.IntN(len(by))] + content[at[1]:]
}

// reline changes the lines of a file, which keep their ends.
func reline(content string, change func([]string) []string) string {
	lines := strings.SplitAfter(content, "\n")
	if n := len(lines) - 1; n > 0 && lines[n] == "" {
		lines = lines[:n]
	}
	return strings.Join(change(lines), "")
}

// smallerText lists the file with fewer lines, with a shorter line, or with a
// simpler number.
func smallerText(content string) iter.Seq[string] {
	return func(yield func(string) bool) {
		lines := strings.SplitAfter(content, "\n")
		for i := range lines {
			less := strings.Join(slices.Delete(slices.Clone(lines), i, i+1), "")
			if less != "" && less != content && !yield(less) {
				return
			}
		}
		for _, at := range number.FindAllStringIndex(content, -1) {
			for _, simple := range []string{"0", content[at[0] : at[0]+(at[1]-at[0])/2]} {
				if at[1]-at[0] > len(simple) && simple != "" && simple != "-" && !yield(content[:at[0]]+simple+content[at[1]:]) {
					return
				}
			}
		}
		for _, at := range word.FindAllStringIndex(content, -1) {
			_, first := utf8.DecodeRuneInString(content[at[0]:])
			if at[1]-at[0] > first && !yield(content[:at[0]+first]+content[at[1]:]) {
				return
			}
		}
	}
}
