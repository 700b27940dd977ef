package manual

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Shells are those that [Program.Completion] knows.
var Shells = []string{"bash", "fish", "zsh"}

// Completion is what a shell reads to complete the program's commands and flags;
// elsewhere it completes files.
func (p Program) Completion(shell string) (string, error) {
	switch shell {
	case "bash":
		return p.bash(), nil
	case "zsh":
		return p.zsh(), nil
	case "fish":
		return p.fish(), nil
	}
	return "", fmt.Errorf("there are completions for %s, none for %q", strings.Join(Shells, ", "), shell)
}

// next says which words may follow those that were said, by these; and which flags
// a command takes, by its words.
func (p Program) next() (follow, flags map[string][]string) {
	follow, flags = map[string][]string{}, map[string][]string{}
	for _, c := range p.Commands {
		for _, form := range c.Forms {
			path, own := words(form)
			said := []string{""}
			for _, choice := range path {
				var longer []string
				for _, before := range said {
					for _, word := range choice {
						follow[before] = insert(follow[before], word)
						longer = append(longer, strings.TrimSpace(before+" "+word))
					}
				}
				said = longer
			}
			for _, command := range said {
				for _, f := range own {
					flags[command] = insert(flags[command], f)
				}
			}
		}
	}
	return follow, flags
}

func insert(list []string, word string) []string {
	if slices.Contains(list, word) {
		return list
	}
	return append(list, word)
}

// everywhere are the flags of every command.
func (p Program) everywhere() (all []string) {
	for _, f := range p.Flags {
		_, flags := words(f.Name)
		all = append(all, flags...)
	}
	return all
}

func (p Program) function() string { return "_" + strings.ReplaceAll(p.Name, "-", "_") }

// bash counts the words that are no flags; those say which may follow.
func (p Program) bash() string {
	follow, flags := p.next()
	var b strings.Builder
	fmt.Fprintf(&b, "# Completion of %s for bash.\n%s() {\n\tlocal word said='' cur=\"${COMP_WORDS[COMP_CWORD]}\" next='' flags='%s'\n",
		p.Name, p.function(), strings.Join(p.everywhere(), " "))
	b.WriteString("\tfor word in \"${COMP_WORDS[@]:1:$((COMP_CWORD-1))}\"; do [[ $word == -* ]] || said=\"${said:+$said }$word\"; done\n\tcase \"$said\" in\n")
	for _, said := range slices.Sorted(maps.Keys(follow)) {
		fmt.Fprintf(&b, "\t'%s') next='%s' ;;\n", said, strings.Join(follow[said], " "))
	}
	b.WriteString("\tesac\n\tcase \"$said\" in\n")
	for _, said := range slices.Backward(slices.Sorted(maps.Keys(flags))) {
		fmt.Fprintf(&b, "\t'%s'*) flags=\"$flags %s\" ;;\n", said, strings.Join(flags[said], " "))
	}
	fmt.Fprintf(&b, "\tesac\n\tcase \"$cur\" in\n\t-*) COMPREPLY=($(compgen -W \"$flags\" -- \"$cur\")) ;;\n\t*) COMPREPLY=($(compgen -W \"$next\" -- \"$cur\")) ;;\n\tesac\n}\ncomplete -o default -F %s %s\n", p.function(), p.Name)
	return b.String()
}

// zsh uses what bash does, by zsh's own emulation of it; the last line is for the
// first time, when zsh has just read this because something is to be completed.
func (p Program) zsh() string {
	return fmt.Sprintf("#compdef %s\nautoload -U +X bashcompinit && bashcompinit\n%s(( ! ${+compstate} )) || _bash_complete -o default -F %s\n", p.Name, p.bash(), p.function())
}

func (p Program) fish() string {
	follow, flags := p.next()
	var b strings.Builder
	fmt.Fprintf(&b, "# Completion of %s for fish.\n", p.Name)
	for _, said := range slices.Sorted(maps.Keys(follow)) {
		when := "__fish_use_subcommand"
		if said != "" {
			when = "__fish_seen_subcommand_from " + last(said) + "; and not __fish_seen_subcommand_from " + strings.Join(follow[said], " ")
		}
		fmt.Fprintf(&b, "complete -c %s -f -n '%s' -a '%s'\n", p.Name, when, strings.Join(follow[said], " "))
	}
	for _, f := range p.everywhere() {
		fishFlag(&b, p.Name, "", f)
	}
	for _, said := range slices.Sorted(maps.Keys(flags)) {
		for _, f := range flags[said] {
			fishFlag(&b, p.Name, " -n '__fish_seen_subcommand_from "+last(said)+"'", f)
		}
	}
	return b.String()
}

func fishFlag(b *strings.Builder, program, when, flag string) {
	kind := "-l"
	if !strings.HasPrefix(flag, "--") {
		kind = "-s"
	}
	fmt.Fprintf(b, "complete -c %s%s %s %s\n", program, when, kind, strings.TrimLeft(flag, "-"))
}

func last(said string) string { return said[strings.LastIndexByte(said, ' ')+1:] }
