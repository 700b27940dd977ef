package link

import (
	"errors"
	"testing"
)

func TestAnswer(t *testing.T) {
	answers := map[string]bool{}
	s := start(t, Config{Consent: func(component string, yes bool) error {
		if component != "application/a" {
			return errors.New("there is no update")
		}
		answers[component] = yes
		return nil
	}})
	for _, yes := range []bool{true, false} {
		if err := Answer(t.Context(), s.Control, "application/a", yes); err != nil || answers["application/a"] != yes {
			t.Errorf("%v: %v, %v", yes, err, answers)
		}
	}
	if err := Answer(t.Context(), s.Control, "application/b", true); err == nil || err.Error() != "there is no update" {
		t.Errorf("an answer to nothing: %v", err)
	}
}
