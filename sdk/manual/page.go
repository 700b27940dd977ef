package manual

import (
	"fmt"
	"strings"
)

// Page is the manual page of the program, for man(7).
func (p Program) Page(version string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %s %d \"\" %s Tranquil\n", quoted(strings.ToUpper(p.Name)), p.Section, quoted(p.Name+" "+version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(p.Name), roff(p.Summary))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n%s\n", roff(p.Name), roff(p.Synopsis))
	if p.Text != "" {
		b.WriteString(".SH DESCRIPTION\n")
		for i, paragraph := range paragraphs(p.Text) {
			if i > 0 {
				b.WriteString(".PP\n")
			}
			b.WriteString(roff(strings.Join(strings.Fields(paragraph), " ")) + "\n")
		}
	}
	b.WriteString(".SH COMMANDS\n")
	for _, c := range p.Commands {
		for i, form := range c.Forms {
			b.WriteString(map[bool]string{true: ".TP\n", false: ".TQ\n"}[i == 0])
			b.WriteString(".B " + quoted(form) + "\n")
		}
		b.WriteString(roff(c.Help) + "\n")
	}
	section(&b, "OPTIONS", p.Flags)
	section(&b, "FILES", p.Files)
	b.WriteString(".SH EXIT STATUS\n0 if it is done, 1 if it failed, 2 if it was not understood.\n")
	return b.String()
}

func section(b *strings.Builder, title string, entries []Entry) {
	if len(entries) == 0 {
		return
	}
	b.WriteString(".SH " + title + "\n")
	for _, e := range entries {
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", quoted(e.Name), roff(e.Help))
	}
}

// roff writes a text so that nothing in it is a request.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, `-`, `\-`, `'`, `\(aq`).Replace(text)
	if strings.HasPrefix(text, ".") {
		return `\&` + text
	}
	return text
}

// quoted is a text as one argument of a request.
func quoted(text string) string { return `"` + strings.ReplaceAll(roff(text), `"`, `\(dq`) + `"` }
