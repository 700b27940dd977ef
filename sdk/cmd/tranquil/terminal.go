package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// terminal is where people are asked; nil if nobody sits there.
func (s *session) terminal() *os.File {
	if in, ok := s.in.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		return in
	}
	return nil
}

// secret reads a line that is not shown.
func (s *session) secret(prompt string) ([]byte, error) {
	fmt.Fprint(s.err, prompt)
	p, err := term.ReadPassword(int(s.terminal().Fd()))
	fmt.Fprintln(s.err)
	return p, err
}

// agreed asks at the terminal whether to go on. Where nobody can be asked the
// error tells how to agree beforehand.
func (s *session) agreed(beforehand bool, question, how string) error {
	in := s.terminal()
	if beforehand {
		return nil
	}
	if in == nil {
		return fmt.Errorf("%s Nobody can be asked here: %s", question, how)
	}
	fmt.Fprintf(s.err, "%s [y/N] ", question)
	line := make([]byte, 256) // a terminal gives a line at a time
	n, err := in.Read(line)
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(string(line[:n]))) {
	case "y", "yes":
		return nil
	}
	return fmt.Errorf("nothing is signed")
}
