package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/tranquil-iot/tranquil/sdk/manual"
)

type manualCmd struct{}

func (manualCmd) Run(s *session, app *kong.Kong) error {
	_, err := fmt.Fprint(s.out, described(app.Model).Page(version))
	return err
}

type completionCmd struct {
	Shell string `arg:"" enum:"bash,fish,zsh" help:"bash, fish or zsh."`
}

func (c completionCmd) Run(s *session, app *kong.Kong) error {
	text, err := described(app.Model).Completion(c.Shell)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(s.out, text)
	return err
}

// described tells people of all commands, as kong has them.
func described(app *kong.Application) manual.Program {
	p := manual.Program{
		Name: app.Name, Section: 1, Summary: "builds update packages, and has devices updated", Synopsis: "COMMAND",
		Text: app.Help,
	}
	for _, leaf := range app.Leaves(true) {
		p.Commands = append(p.Commands, manual.Command{Forms: []string{form(app, leaf)}, Help: leaf.Help})
	}
	for _, f := range app.Flags {
		if !f.Hidden {
			p.Flags = append(p.Flags, manual.Entry{Name: flagForm(f), Help: f.Help + fromEnvironment(f)})
		}
	}
	return p
}

// form is how a command is said.
func form(app *kong.Application, leaf *kong.Node) string {
	words := []string{strings.TrimPrefix(leaf.FullPath(), app.Name+" ")}
	for _, arg := range leaf.Positional {
		word := strings.ToUpper(arg.Name)
		if arg.IsCumulative() {
			word += "…"
		}
		if !arg.Required {
			word = "[" + word + "]"
		}
		words = append(words, word)
	}
	for _, group := range leaf.AllFlags(true) {
		for _, f := range group {
			if !own(app, f) {
				continue
			}
			word := flagForm(f)
			if !f.Required {
				word = "[" + word + "]"
			}
			words = append(words, word)
		}
	}
	return strings.Join(words, " ")
}

// own reports whether a flag is not one of every command.
func own(app *kong.Application, f *kong.Flag) bool {
	for _, other := range app.Flags {
		if other == f {
			return false
		}
	}
	return true
}

func flagForm(f *kong.Flag) string {
	if f.IsBool() {
		return "--" + f.Name
	}
	return "--" + f.Name + " " + strings.ToUpper(f.FormatPlaceHolder())
}

func fromEnvironment(f *kong.Flag) string {
	if len(f.Envs) == 0 {
		return ""
	}
	return " Also in the environment, as " + strings.Join(f.Envs, " or ") + "."
}
