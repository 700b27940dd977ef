package link

import (
	"errors"
	"fmt"
	"testing"
)

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
