package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// document is the part of the reported properties that the dashboard reads.
type document struct {
	State      string
	Components map[string]struct {
		Version string
		Stale   bool
		Update  struct {
			To               string
			UnavailableUntil *time.Time
		}
	}
	LwM2M map[string]map[string]map[string]struct {
		Value any
	}
}

// A view is what the dashboard shows: the readings, and what they are worth.
type view struct {
	Worth   string // "live", "stale", "offline"
	Why     string // component and versions
	Until   time.Time
	Reading string // "21.503 Cel", "" if there is none
}

// IPSO: object temperature, resources sensor value and unit.
const temperature, sensorValue, sensorUnit = "3303", "5700", "5701"

// read understands reported properties. What it cannot understand it does
// not show: a dashboard must not end because a device reports more than it
// knows.
func read(reported map[string]any) view {
	var d document
	text, err := json.Marshal(reported)
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	v := view{Worth: "live"}
	if err != nil {
		v.Why = "the twin is not understood: " + err.Error()
	}
	for name, c := range d.Components {
		_, name, _ = strings.Cut(name, "/")
		v.Why = name + " " + c.Version
		if c.Stale {
			v.Worth = "stale"
			if c.Update.To != c.Version {
				v.Why += ", becomes " + c.Update.To
			}
			if until := c.Update.UnavailableUntil; until != nil {
				v.Until = *until
			}
			break
		}
	}
	if d.State == "offline" || d.State == "" {
		v.Worth, v.Until = "offline", time.Time{}
	}
	if sensor := d.LwM2M[temperature]["0"]; sensor[sensorValue].Value != nil {
		v.Reading = strings.TrimSpace(fmt.Sprint(sensor[sensorValue].Value, " ", unit(sensor[sensorUnit].Value)))
	}
	return v
}

func unit(v any) string {
	s, _ := v.(string)
	return s
}

// A screen prints a view when it says something new.
type screen struct {
	out   io.Writer
	every time.Duration

	last    view
	printed time.Time // when a reading was last printed
}

func (s *screen) show(v view, now time.Time) {
	news := v.Worth != s.last.Worth || v.Why != s.last.Why || !v.Until.Equal(s.last.Until)
	if !news && (v.Reading == s.last.Reading || now.Sub(s.printed) < s.every) {
		return
	}
	s.last, s.printed = v, now
	line := fmt.Sprintf("%s  %-7s  %s", now.Format("15:04:05"), v.Worth, v.Why)
	if !v.Until.IsZero() {
		line += ", until " + v.Until.Local().Format("15:04:05")
	}
	if v.Reading != "" {
		line += ": " + v.Reading
	}
	fmt.Fprintln(s.out, line)
}
