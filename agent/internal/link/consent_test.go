package link

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

// TestSideload brings what somebody has, as it comes.
func TestSideload(t *testing.T) {
	s := start(t, Config{Sideload: func(_ context.Context, component string, load io.Reader) (string, error) {
		b, err := io.ReadAll(load)
		if component != "application/a" {
			return "", errors.New("it is for another component")
		}
		return string(b), err
	}})
	id, err := Sideload(t.Context(), s.Control, "application/a", io.MultiReader(strings.NewReader("u"), strings.NewReader("7")))
	if err != nil || id != "u7" {
		t.Errorf("update %q, %v", id, err)
	}
	if _, err := Sideload(t.Context(), s.Control, "application/b", strings.NewReader("x")); err == nil || err.Error() != "it is for another component" {
		t.Errorf("refused: %v", err)
	}
}

func TestAnswer(t *testing.T) {
	said := ""
	say := func(component, what string) error {
		if component != "application/a" {
			return errors.New("there is no update")
		}
		said = what
		return nil
	}
	s := start(t, Config{
		Consent: func(component string, yes bool) error { return say(component, fmt.Sprint(yes)) },
		Cancel:  func(component string) error { return say(component, "cancel") },
	})
	for what, want := range map[string]string{Consent: "true", Refuse: "false", Cancel: "cancel"} {
		if err := Answer(t.Context(), s.Control, "application/a", what); err != nil || said != want {
			t.Errorf("%s: %v, said %s", what, err, said)
		}
		if err := Answer(t.Context(), s.Control, "application/b", what); err == nil || err.Error() != "there is no update" {
			t.Errorf("%s to nothing: %v", what, err)
		}
	}
}
