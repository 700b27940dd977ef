package web

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/url"
	"strings"
	"time"

	"github.com/tranquil-iot/tranquil/backend/internal/fleet"
)

// words are what templates can say.
var words = template.FuncMap{
	"asset":    asset,
	"bytes":    amount,
	"clock":    clock,
	"first":    first,
	"join":     strings.Join,
	"path":     url.PathEscape,
	"percent":  func(share float64) int { return int(100*share + 0.5) },
	"pretty":   pretty,
	"seconds":  seconds,
	"short":    func(digest string) string { return first(19, digest) },
	"tag":      fleet.Tag,
	"timeline": timeline,
	"bars":     bars,
	"words":    func(names []string) string { return strings.Join(names, ", ") },
	"parts": func(component string) []string {
		kind, name, _ := strings.Cut(component, "/")
		return []string{kind, name}
	},
	"dict":    dict,
	"stopped": stopped,
}

// dict gives a template several things.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("%d are no pairs", len(pairs))
	}
	all := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		all[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return all, nil
}

// clock is a time that a script shows as people there read it.
func clock(t any) template.HTML {
	var at time.Time
	switch t := t.(type) {
	case time.Time:
		at = t
	case *time.Time:
		if t != nil {
			at = *t
		}
	}
	if at.Year() <= 1 {
		return "never"
	}
	at = at.UTC()
	return template.HTML(fmt.Sprintf(`<time datetime="%s">%s UTC</time>`, at.Format(time.RFC3339), at.Format("2006-01-02 15:04:05"))) // of digits only
}

func first(n int, text string) string { return text[:min(n, len(text))] }

// amount is a size for people.
func amount(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", n)
}

// seconds is a duration for people, of a number or a pointer to one.
func seconds(v any) string {
	var s float64
	switch v := v.(type) {
	case float64:
		s = v
	case *float64:
		if v != nil {
			s = *v
		}
	}
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}

// pretty is a document as people read and write it.
func pretty(v any) (string, error) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return strings.TrimSpace(b.String()), err
}

// A phase of an update, and its steps.
type phase struct {
	Name  string
	Steps []step
}

type step struct {
	Name  string
	State string // "done", "now", "back": being undone, "" ahead
}

// phases are the steps of an agent's update (agent/internal/engine/engine.go), and of one by the bridge.
var (
	byAgent = []phase{
		{"request", steps("resolve")},
		{"preparation", steps("download", "verify", "stage", "rehearse", "admit", "announce")},
		{"execution", steps("quiesce", "stop", "save", "rewrite")},
		{"transformation", steps("transform", "apply", "start", "probe", "commit", "report", "clean")},
	}
	byBridge = []phase{
		{"request", steps("resolve")},
		{"preparation", steps("clear", "permit", "vacate", "deliver", "admit")},
		{"execution", steps("install", "activate")},
		{"transformation", steps("probe")},
	}
)

func steps(names ...string) (all []step) {
	for _, name := range names {
		all = append(all, step{Name: name})
	}
	return all
}

// timeline is how far an update is.
func timeline(c fleet.Component) (all []phase) {
	known := byAgent
	if c.Object != "" {
		known = byBridge
	}
	state := "done"
	for _, p := range known {
		p.Steps = append([]step{}, p.Steps...)
		for i := range p.Steps {
			if state == "done" && p.Steps[i].Name == c.Update.Step {
				p.Steps[i].State, state = "now", ""
				if c.Update.Back {
					p.Steps[i].State = "back"
				}
				continue
			}
			p.Steps[i].State = state
		}
		all = append(all, p)
	}
	if state == "done" { // a step that is not known here
		return nil
	}
	return all
}

// A bar is a length beside another one.
type bar struct {
	Name  string
	Long  string
	Width float64 // of 100
}

// stopped tells whether somebody has to decide with which state a component goes on.
func stopped(c fleet.Component) bool {
	return !c.Running && c.Version != "" && c.Update != nil && c.Update.Result == "inconsistent"
}

// bars show the downtime that was predicted beside the one that was measured.
func bars(predicted float64, measured *float64) []bar {
	if measured == nil || *measured <= 0 || predicted <= 0 {
		return nil
	}
	most := max(predicted, *measured)
	return []bar{
		{"predicted", seconds(predicted), 100 * predicted / most},
		{"measured", seconds(*measured), 100 * *measured / most},
	}
}
