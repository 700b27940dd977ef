package transformtest

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
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

// textValues change a file of lines.
var textValues = []kind{
	func(_ *rand.Rand, content string) string { return renumber(content, 1) },
	func(r *rand.Rand, content string) string { return border(r, content, "+07") },
	func(r *rand.Rand, content string) string { return replaceOne(r, content, word, strange[:1]) },
	func(r *rand.Rand, content string) string { return border(r, content, "9007199254740993") }, // 2⁵³ + 1
	func(r *rand.Rand, content string) string { // a line comes twice
		return reline(content, func(lines []string) []string {
			i := r.IntN(len(lines))
			return slices.Insert(lines, i, lines[i])
		})
	},
	func(r *rand.Rand, content string) string { return border(r, content, "-0") },
	func(r *rand.Rand, content string) string { return border(r, content, "9223372036854775808") }, // 2⁶³
	func(r *rand.Rand, content string) string { // a long word
		return replaceOne(r, content, word, []string{strings.Repeat("x", longLine)})
	},
	func(_ *rand.Rand, content string) string { return renumber(content, -1) },
	mark,
	func(r *rand.Rand, content string) string { return border(r, content, "0") },
	func(r *rand.Rand, content string) string { return border(r, content, "1e308") },
	func(r *rand.Rand, content string) string { // white space before the end
		return reline(content, func(lines []string) []string {
			i := r.IntN(len(lines))
			text, ended := strings.CutSuffix(lines[i], "\n")
			if lines[i] = text + " "; ended {
				lines[i] += "\n"
			}
			return lines
		})
	},
	func(r *rand.Rand, content string) string { return border(r, content, numbers[r.IntN(len(numbers))]) },
	func(r *rand.Rand, content string) string { return border(r, content, large[r.IntN(len(large))]) },
	func(r *rand.Rand, content string) string { // two lines change places
		return reline(content, func(lines []string) []string {
			i, j := r.IntN(len(lines)), r.IntN(len(lines))
			lines[i], lines[j] = lines[j], lines[i]
			return lines
		})
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

// byteOrderMark is what some editors put before the first letter; JSON never has
// it.
const byteOrderMark = "\ufeff"

func mark(_ *rand.Rand, content string) string {
	if strings.HasPrefix(content, byteOrderMark) {
		return content
	}
	return byteOrderMark + content
}

// numerals returns where the numbers are that are no part of a name.
func numerals(content string) [][]int {
	part := func(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }
	return slices.DeleteFunc(number.FindAllStringIndex(content, -1), func(at []int) bool {
		before, _ := utf8.DecodeLastRuneInString(content[:at[0]])
		after, _ := utf8.DecodeRuneInString(content[at[1]:])
		return part(before) || part(after)
	})
}

// border puts a number at the border of what programs can count, or write, in
// place of some.
func border(r *rand.Rand, content, number string) string {
	found := numerals(content)
	chosen := some(r, len(found))
	slices.Sort(chosen)
	for _, i := range slices.Backward(chosen) {
		content = content[:found[i][0]] + number + content[found[i][1]:]
	}
	return content
}

// renumber adds to all numbers.
func renumber(content string, by int64) string {
	for _, at := range slices.Backward(numerals(content)) {
		content = content[:at[0]] + plus(content[at[0]:at[1]], by) + content[at[1]:]
	}
	return content
}

// longest is how much of a line is shown.
const longest = 200

// visible shows a text with what cannot be seen in it, on a terminal or at all.
func visible(content string) string {
	var lines []string
	for line := range strings.Lines(content) {
		text, ended := strings.CutSuffix(line, "\n")
		shown := strings.Map(func(r rune) rune {
			if r == '\t' || unicode.IsPrint(r) {
				return r
			}
			return -1
		}, text)
		if shown != text || strings.HasSuffix(text, " ") {
			shown = strconv.Quote(text)
		}
		if runes := []rune(shown); len(runes) > longest {
			shown = fmt.Sprintf("%s… (%d bytes)", string(runes[:longest]), len(text))
		}
		if lines = append(lines, shown); !ended {
			lines = append(lines, "(no end of line)")
		}
	}
	if len(lines) == 0 {
		return "(empty)"
	}
	return strings.Join(lines, "\n")
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
