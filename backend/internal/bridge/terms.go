package bridge

import (
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/lwm2m/objects"
)

// terms say when a component may be updated.
type terms struct {
	window    string // maintenance window, "" any time
	now       string // the version that need not wait for the window
	consent   string // "ask", or "" if updates need none
	consented string // id of the update that may begin
	refused   string // id of the update that must not
}

// A term is one of them as a resource of Component Update.
type term struct {
	resource uint16
	value    *string
}

// all lists the terms by their names in the twin.
func (t *terms) all() map[string]term {
	return map[string]term{
		"window":    {objects.ComponentWindow, &t.window},
		"now":       {objects.ComponentNow, &t.now},
		"consent":   {objects.ComponentConsent, &t.consent},
		"consented": {objects.ComponentConsented, &t.consented},
		"refused":   {objects.ComponentRefused, &t.refused},
	}
}

// set takes a term from the twin; known is false if it is none.
func (t *terms) set(name string, v any) (known, ok bool) {
	term, known := t.all()[name]
	if known {
		*term.value, ok = v.(string)
	}
	return known, ok
}

// terms are what a device was last told.
func (v values) terms(instance uint16) (t terms) {
	for _, term := range t.all() {
		*term.value = v.component(instance, term.resource).Text()
	}
	return t
}

// closedWindow is a window that never opens. The device says so, with the
// reason, in what its updates wait for.
func closedWindow(property, cause string) string {
	const most = 400 // bytes; a device takes 512
	text := "closed: " + property + " cannot be read: " + cause
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
