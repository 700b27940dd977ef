package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/tranquil-iot/tranquil/agent/internal/engine"
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
