package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
	"github.com/tranquil-iot/tranquil/agent/internal/state"
)

func TestGeneration(t *testing.T) {
	for word, want := range map[string]string{
		"28": "<nil>", "028": `"028" is no generation, whose number begins with no 0 (28?)`,
		"0": `"0" is no generation, which is a number from 1`, "x": `"x" is no generation, which is a number from 1`, "-1": `"-1" is no generation, which is a number from 1`,
	} {
		if _, err := generation(word); fmt.Sprint(err) != want {
			t.Errorf("%s: %v", word, err)
		}
	}
}

func TestAdmission(t *testing.T) {
	time.Local = time.UTC
	for _, test := range []struct {
		view engine.View
		want string
	}{
		{engine.View{}, "[[window any time] [consent not needed] [checks none] [dependants none]]"},
		{
			engine.View{
				Asks: true, Schedule: "0 3 * * *", Terms: engine.Terms{Window: "Sat 00:00-24:00"},
				Opens: time.Date(2026, 12, 5, 0, 0, 0, 0, time.UTC), Dependants: map[string]string{"b": "stop", "a": "tell"},
			},
			"[[window Sat 00:00-24:00, opens 2026-12-05T00:00:00Z] [consent needed, as this device is configured] [checks 0 3 * * *] [dependant a: tell] [dependant b: stop]]",
		},
		{engine.View{Terms: engine.Terms{Consent: engine.ConsentAsk}}, "[[window any time] [consent needed, as the back end says] [checks none] [dependants none]]"},
	} {
		if got := fmt.Sprint(admission(test.view)); got != test.want {
			t.Errorf("got %s\nwant %s", got, test.want)
		}
	}
}

// Whoever asks for a generation that is not there hears which ones are.
func TestNoSuchGeneration(t *testing.T) {
	const component = "application/a"
	states, err := state.Open(filepath.Join(t.TempDir(), "state"), nil)
	if err != nil {
		t.Fatal(err)
	}
	o := operator{&agent{config: config{Components: []string{component}}, states: states}}
	_, err = o.Show(component, 99)
	if want := "there is no generation 99 of application/a; none is saved"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if _, mend := o.Mend(component, engine.Choice{Restore: 99}); fmt.Sprint(mend) != fmt.Sprint(err) {
		t.Errorf("a repair: %v", mend)
	}
	for gen := range state.Generation(2) {
		if _, err := states.Fresh(component, gen+1); err != nil {
			t.Fatal(err)
		}
		if err := states.Seal(t.Context(), component, gen+1, state.Meta{Schema: 1, Version: "1.0.0"}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = o.Show(component, 99)
	if want := "there is no generation 99 of application/a; there are: 1, 2"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// agentWith is the configuration of an agent that shows the views.
func agentWith(t *testing.T, views ...engine.View) config {
	t.Helper()
	c := config{Run: t.TempDir()}
	serveViews(t, c, views...)
	return c
}

func serveViews(t *testing.T, c config, views ...engine.View) {
	t.Helper()
	l, err := net.Listen("unix", c.control())
	if err != nil {
		t.Fatal(err)
	}
	server := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { json.NewEncoder(w).Encode(views) })}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
}

// Whoever has waited for an update hears how that one ended, even if the agent
// is at the next already.
func TestFollow(t *testing.T) {
	const component = "application/a"
	var out bytes.Buffer
	o := options{out: &out, config: agentWith(t, engine.View{
		Component: component, Progress: &engine.Progress{Update: "next", To: "3.0.0"},
		Outcome: &engine.Outcome{Update: "mine", To: "2.0.0", Result: engine.Refused, Cause: "kept/device is a device node"},
	})}
	err := o.follow(t.Context(), component, "mine")
	if got, want := out.String(), "to 2.0.0: refused (kept/device is a device node)\n"; got != want || err == nil {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
}

// An agent that is upgraded meanwhile is waited for.
func TestFollowOverARestart(t *testing.T) {
	const component = "application/a"
	away := make(chan bool)
	out := &untilAway{away: away}
	c := config{Run: t.TempDir()}
	o := options{out: out, config: c}
	ended := make(chan error)
	go func() { ended <- o.follow(t.Context(), component, "mine") }()
	<-away
	serveViews(t, c, engine.View{Component: component, Outcome: &engine.Outcome{Update: "mine", To: "2.0.0", Result: engine.Updated}})
	if err := <-ended; err != nil || !strings.Contains(out.String(), "to 2.0.0: updated") {
		t.Errorf("%v: %s", err, out)
	}
}

// untilAway tells when it was said that the agent is away.
type untilAway struct {
	bytes.Buffer
	away chan bool
}

func (u *untilAway) Write(b []byte) (int, error) {
	if strings.Contains(string(b), "The agent is away") {
		close(u.away)
	}
	return u.Buffer.Write(b)
}

func TestComponents(t *testing.T) {
	c := agentWith(t, engine.View{Component: "application/a"}, engine.View{Component: "application/b"})
	for words, want := range map[string]string{
		"":                            "application/a application/b <nil>",
		"application/b":               "application/b <nil>",
		"application/c":               "this device has no component application/c; it has application/a, application/b",
		"application/a application/b": "want components [COMPONENT]: try tranquil-agent help",
	} {
		var out bytes.Buffer
		o := options{config: c, out: &out}
		err := o.components(t.Context(), strings.Fields(words))
		var got []string
		for word := range strings.FieldsSeq(out.String()) {
			if strings.HasPrefix(word, "application/") {
				got = append(got, word)
			}
		}
		if got = append(got, fmt.Sprint(err)); strings.Join(got, " ") != want {
			t.Errorf("%q: got %q, want %q", words, got, want)
		}
	}
}

// The type of a component may be left out where its name is enough.
func TestNamed(t *testing.T) {
	views := []engine.View{{Component: "application/a"}, {Component: "application/b"}, {Component: "container/b"}}
	for name, want := range map[string]string{
		"a": "application/a <nil>", "application/b": "application/b <nil>",
		"b": " this device has no component b; it has application/a, application/b, container/b",
		"":  " this device has no component ; it has application/a, application/b, container/b",
	} {
		v, err := named(views, name)
		if got := fmt.Sprint(v.Component, " ", err); got != want {
			t.Errorf("%q: %s", name, got)
		}
	}
}

// Who wants what safe mode does not allow hears of that; and who wants to end it
// when it is over.
func TestOperateInSafeMode(t *testing.T) {
	for _, test := range []struct {
		view     engine.View
		rollback string // the error
		repair   string // what is told
	}{
		{engine.View{Component: "application/a", Fault: "the journal is lost"}, "the agent is in safe mode: repair it first (tranquil-agent repair): the journal is lost", "The agent leaves safe mode"},
		{engine.View{Component: "application/a", Installed: engine.Installed{Version: "1.0.0"}}, "there is no version of application/a from before 1.0.0", "nothing to repair"},
	} {
		var out bytes.Buffer
		o := options{config: agentWith(t, test.view), out: &out}
		if err := o.rollback(t.Context(), []string{"a"}); fmt.Sprint(err) != test.rollback {
			t.Errorf("rollback: %v, want %s", err, test.rollback)
		}
		if err := o.repair(t.Context(), nil); err != nil || !strings.Contains(out.String(), test.repair) {
			t.Errorf("repair: %q, %v; want %s", &out, err, test.repair)
		}
	}
}
