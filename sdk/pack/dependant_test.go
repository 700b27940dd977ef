package pack

import (
	"strings"
	"testing"
	"time"
)

func TestDependants(t *testing.T) {
	for name, test := range map[string]struct {
		d   Dependant
		bad string
	}{
		"tell":             {Dependant{Of: "application/b", Policy: PolicyTell}, ""},
		"stop":             {Dependant{Of: "application/b", Policy: PolicyStop}, ""},
		"defer":            {Dependant{Of: "application/b", Policy: PolicyDefer, MaxDelay: Duration(time.Hour)}, ""},
		"itself":           {Dependant{Of: "application/a", Policy: PolicyTell}, "itself"},
		"no policy":        {Dependant{Of: "application/b"}, "policy"},
		"no component":     {Dependant{Of: "b", Policy: PolicyTell}, "of"},
		"somebody else":    {Dependant{Component: "application/c", Of: "application/b", Policy: PolicyTell}, "leave it out"},
		"delay of another": {Dependant{Of: "application/b", Policy: PolicyStop, MaxDelay: 1}, "maxDelay"},
		"negative delay":   {Dependant{Of: "application/b", Policy: PolicyDefer, MaxDelay: -1}, "is not between 0s and 720h"},
	} {
		m := Manifest{Type: "application", Name: "a", Dependants: []Dependant{test.d}}
		err := m.checkDependants()
		if (err == nil) != (test.bad == "") || err != nil && !strings.Contains(err.Error(), test.bad) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
