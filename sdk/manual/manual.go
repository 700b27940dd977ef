// Package manual tells what a program can do: of one description of its commands
// it makes the usage that the program prints, the manual page, and what shells
// complete.
package manual

import (
	"regexp"
	"slices"
	"strings"
)

// A Program is described for people.
type Program struct {
	Name     string // "tranquil-agent"
	Section  int    // of the manual: 1 for users, 8 for administrators
	Summary  string // one line, without a full stop
	Synopsis string // what follows the name: "COMMAND [--config FILE]"
	Commands []Command
	Flags    []Entry // those of every command, "--config FILE"
	Text     string  // paragraphs that follow
	Files    []Entry // and what lies where
}

// A Command has one way to be said, or several that are told together.
type Command struct {
	Forms []string // "state show COMPONENT GENERATION [--json]"
	Help  string
}

// An Entry is a name and what it means.
type Entry struct{ Name, Help string }

// Widths of the usage, in columns.
const (
	indent  = 2
	column  = 21 // where the help of a command begins
	longest = 100
)

// Usage is what the program prints when it is asked for help.
func (p Program) Usage() string {
	var b strings.Builder
	b.WriteString("usage: " + p.Name + " " + p.Synopsis + "\n\n")
	for _, c := range p.Commands {
		for _, form := range c.Forms[:len(c.Forms)-1] {
			b.WriteString(strings.Repeat(" ", indent) + form + "\n")
		}
		entry(&b, c.Forms[len(c.Forms)-1], c.Help)
	}
	if len(p.Flags) > 0 {
		b.WriteString("\n")
	}
	for _, f := range p.Flags {
		entry(&b, f.Name, f.Help)
	}
	for _, paragraph := range paragraphs(p.Text) {
		b.WriteString("\n")
		for _, line := range fold(paragraph, longest) {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// entry writes a name and, in the column beside it, what it means.
func entry(b *strings.Builder, name, help string) {
	line := strings.Repeat(" ", indent) + name
	if len(line) > column-indent {
		b.WriteString(line + "\n")
		line = ""
	}
	for _, text := range fold(help, longest-column) {
		b.WriteString(line + strings.Repeat(" ", column-len(line)) + text + "\n")
		line = ""
	}
}

// fold breaks a text into lines of at most so many columns, between words.
func fold(text string, width int) (lines []string) {
	for word := range strings.FieldsSeq(text) {
		last := len(lines) - 1
		if last < 0 || len(lines[last])+1+len(word) > width {
			lines = append(lines, word)
			continue
		}
		lines[last] += " " + word
	}
	return lines
}

func paragraphs(text string) []string {
	return slices.DeleteFunc(strings.Split(text, "\n\n"), func(p string) bool { return strings.TrimSpace(p) == "" })
}

// literal is a word of a form that is said as it stands.
var literal = regexp.MustCompile(`^[a-z][a-z0-9-]*(\|[a-z][a-z0-9-]*)*$`)

// flag finds the flags in a form.
var flag = regexp.MustCompile(`(^|[\[ |])(--?[a-z][a-z0-9-]*)`)

// words returns the words by which a form begins, and the flags that it names. A
// word may be a choice of several, as in "completion bash|zsh|fish".
func words(form string) (path [][]string, flags []string) {
	for word := range strings.FieldsSeq(form) {
		if !literal.MatchString(word) {
			break
		}
		path = append(path, strings.Split(word, "|"))
	}
	for _, m := range flag.FindAllStringSubmatch(form, -1) {
		flags = append(flags, m[2])
	}
	return path, flags
}
