package bridge

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/tranquil-iot/tranquil/sdk/pack"
)

// A want is what the desired properties ask of one component.
type want struct {
	version  string // "" none
	attempt  int64
	file     string // package file name or digest, "" by version
	schedule string // cron, "" none
	state    string // "transform", "saved" or "optional"; "" leaves it to the device
	remove   string // "keep" or "purge" of its saved states; "" nothing is removed
	terms    terms
	means    means
	check    bool // look for a newer package now
	mend     mend // what was decided of it

	keepsWish, keepsSchedule bool // what is asked cannot be read: the device keeps what it has
}

// readDesired understands the desired properties, in their native form and in
// the two older ones. What it cannot understand it refuses, by path.
//
//	{"components": {"application/x": {"version": "2.0.0", "attempt": 1, "package": "…", "state": "saved", "remove": true|"purge", "check": "0 */6 * * *",
//	  "repair": {"number": 1, "state": "keep"|7},
//	  "delivery": "push"|"pull", "platform": "linux/arm/v7", "object": "/9/1",
//	  "window": "Mon-Fri 01:00-04:30 Europe/Zurich", "now": "2.0.0", "consent": "ask", "consented": "update id", "refused": "update id"}}}
//	{"repair": 3} is read by readRepair
//	{"update": {"type": "Push"|"Pull", "component": "container", "componentName": "Java8", "version"?, "package"?, "schedule"?}}
//	{"method": "write", "resourceUri": "/9/0/0", "newValue": "container.Java8.java_8_v1_3_0_b.tar"}
func readDesired(desired map[string]any) (wants map[string]want, refused map[string]any) {
	wants, refused = map[string]want{}, map[string]any{}
	if v, ok := desired["components"]; ok {
		readComponents(v, wants, refused)
	}
	if v, ok := desired["update"]; ok {
		if err := readUpdate(v, wants); err != nil {
			refused["update"] = err.Error()
		}
	}
	if desired["method"] != nil || desired["resourceUri"] != nil {
		if err := readCommand(desired, wants); err != nil {
			refused["resourceUri"] = err.Error()
		}
	}
	return wants, refused
}

func readComponents(v any, wants map[string]want, refused map[string]any) {
	components, ok := v.(map[string]any)
	if !ok {
		refused["components"] = `must be an object such as {"application/x": {"version": "2.0.0"}}`
		return
	}
	for _, name := range slices.Sorted(maps.Keys(components)) {
		if strings.HasPrefix(name, "$") {
			continue // metadata
		}
		fields, ok := components[name].(map[string]any)
		if err := pack.CheckComponent(name); err != nil {
			refused["components/"+name] = err.Error()
			continue
		}
		if !ok {
			refused["components/"+name] = `must be an object such as {"version": "2.0.0"}`
			continue
		}
		w, errs := readComponent(fields)
		if wants[name] = w; len(errs) > 0 {
			refused["components/"+name] = strings.Join(errs, "; ")
		}
	}
}

// readComponent reads what it can. The rest it refuses, and closes what stands
// in doubt.
func readComponent(fields map[string]any) (w want, refused []string) {
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		known, ok := w.set(key, fields[key])
		var cause string
		switch {
		case !known:
			cause = fmt.Sprintf("unknown property %q: known are version, package, attempt, state, remove, repair, check, window, now, consent, consented, refused, delivery, platform and object", key)
		case !ok:
			cause = fmt.Sprintf("%s has a value of the wrong type: %v", key, fields[key])
		case key == "version" && w.version != "":
			if err := pack.CheckVersion(w.version); err != nil {
				cause = err.Error()
			}
		}
		if cause != "" {
			keys, refused = append(keys, key), append(refused, cause)
		}
	}
	for i, key := range keys { // after the good ones
		w.refuse(key, refused[i], want{})
	}
	return w, refused
}

// set takes a property from the twin; known is false if it is none.
func (w *want) set(key string, v any) (known, ok bool) {
	switch key {
	case "version":
		w.version, ok = v.(string)
	case "package":
		w.file, ok = v.(string)
	case "state":
		w.state, ok = v.(string)
	case "remove":
		w.remove, ok = removal(v)
	case "repair":
		w.mend, ok = readMend(v)
	case "check":
		w.schedule, ok = v.(string)
	case "attempt":
		var f float64
		f, ok = v.(float64)
		w.attempt = int64(f)
		ok = ok && float64(w.attempt) == f && w.attempt >= 0 && w.attempt <= math.MaxInt32
	case "delivery", "platform", "object":
		ok = w.means.set(key, v)
	default:
		return w.terms.set(key, v)
	}
	return true, ok
}

// removal reads true, which keeps the last state, "keep", "purge", or false.
func removal(v any) (what string, ok bool) {
	if yes, is := v.(bool); is {
		return map[bool]string{true: "keep"}[yes], true
	}
	if what, _ = v.(string); what == "keep" || what == "purge" {
		return what, true
	}
	return "", false
}

// refuse leaves out a property that cannot be used. When in doubt the
// component is not updated: it needs consent, or its window is closed. A
// property that nobody knows may be a term with its name misspelt.
func (w *want) refuse(key, cause string, asked want) {
	switch key {
	case "version", "package", "attempt", "state", "remove", "delivery", "platform", "object": // they are one wish
		w.keepsWish = true
	case "check":
		w.keepsSchedule = true
	case "repair":
		w.mend = mend{}
	case "consent":
		w.terms.consent = "ask"
	case "now":
		w.terms.now = asked.terms.now
	case "consented":
		w.terms.consented = asked.terms.consented
	case "refused":
		w.terms.refused = asked.terms.refused
	default:
		w.terms.window = closedWindow(key, cause)
	}
}

// kept is w with what the device keeps.
func (w want) kept(asked want) want {
	if w.keepsWish {
		w.version, w.attempt, w.file, w.state, w.remove = asked.version, asked.attempt, asked.file, asked.state, asked.remove
	}
	if w.keepsSchedule {
		w.schedule = asked.schedule
	}
	w.keepsWish, w.keepsSchedule = false, false
	return w
}

// readUpdate reads the form of the method's description: Push is a wish, or
// without one a check now; Pull is a schedule of checks.
func readUpdate(v any, wants map[string]want) error {
	fields, _ := v.(map[string]any)
	text := func(key string) string { s, _ := fields[key].(string); return s }
	name := pack.FileName{Type: text("component"), Name: text("componentName")}.Component()
	if err := pack.CheckComponent(name); err != nil {
		return fmt.Errorf("component and componentName: %w", err)
	}
	w := wants[name]
	switch text("type") {
	case "Push":
		if version, file := text("version"), text("package"); version != "" || file != "" {
			w.version, w.file = version, file
		} else {
			w.check = true
		}
	case "Pull":
		if w.schedule = text("schedule"); w.schedule == "" {
			return fmt.Errorf(`a Pull needs a schedule such as "0 */6 * * *"`)
		}
	default:
		return fmt.Errorf("type is %q: want Push or Pull", text("type"))
	}
	wants[name] = w
	return nil
}

// readCommand reads the resource operation: a package's file name written to
// PkgName of Software Management.
func readCommand(desired map[string]any, wants map[string]want) error {
	if desired["method"] != "write" {
		return fmt.Errorf("method %v: only write is understood here", desired["method"])
	}
	uri, _ := desired["resourceUri"].(string)
	if !strings.HasPrefix(uri, "/9/") || !strings.HasSuffix(uri, "/0") {
		return fmt.Errorf("resource %q: only PkgName, /9/x/0, can be written here", uri)
	}
	value, _ := desired["newValue"].(string)
	file, err := pack.ParseFileName(value)
	if err != nil {
		return err
	}
	w := wants[file.Component()]
	w.file = value
	wants[file.Component()] = w
	return nil
}

// A mend is a repair of one component: which state it goes on with.
type mend struct {
	number int64  // 0: none
	state  string // "keep", or the number of a saved state
}

// readMend reads {"number": n, "state": "keep"} or {"number": n, "state": 7}:
// once for each number n.
func readMend(v any) (m mend, ok bool) {
	fields, _ := v.(map[string]any)
	if m.number, ok = positive(fields["number"]); !ok {
		return mend{}, false
	}
	if m.state = "keep"; fields["state"] == m.state {
		return m, true
	}
	gen, ok := positive(fields["state"])
	m.state = strconv.FormatInt(gen, 10)
	return m, ok
}

// positive reads a positive integer.
func positive(v any) (int64, bool) {
	f, ok := v.(float64)
	n := int64(f)
	return n, ok && float64(n) == f && n > 0 && n <= math.MaxInt32
}

// readRepair reads {"repair": n}: the agent shall leave safe mode, once for
// each number n.
func readRepair(desired map[string]any, refused map[string]any) int64 {
	v, asked := desired["repair"]
	if !asked {
		return 0
	}
	if n, ok := positive(v); ok {
		return n
	}
	refused["repair"] = "must be a positive integer: another number asks again"
	return 0
}
