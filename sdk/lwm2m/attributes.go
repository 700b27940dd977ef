package lwm2m

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Names of the notification attributes (OMA LwM2M 1.1 section 5.1.2).
const (
	attrMinPeriod = "pmin"
	attrMaxPeriod = "pmax"
	attrGreater   = "gt"
	attrLess      = "lt"
	attrStep      = "st"
)

// Attribute is one notification attribute, or its removal: what
// [Device.WriteAttributes] writes.
type Attribute struct{ query string }

// MinPeriod (pmin) is the shortest time between notifications, in whole seconds.
func MinPeriod(d time.Duration) Attribute { return periodAttribute(attrMinPeriod, d) }

// MaxPeriod (pmax) is the longest time between notifications, in whole seconds:
// after it the device notifies although nothing has changed.
func MaxPeriod(d time.Duration) Attribute { return periodAttribute(attrMaxPeriod, d) }

// GreaterThan (gt) notifies when the value rises above x or is not above it any
// more.
func GreaterThan(x float64) Attribute { return numberAttribute(attrGreater, x) }

// LessThan (lt) notifies when the value falls below x or is not below it any more.
// With GreaterThan, x must be the lower one.
func LessThan(x float64) Attribute { return numberAttribute(attrLess, x) }

// Step (st) notifies when the value differs by at least x from the last notified.
func Step(x float64) Attribute { return numberAttribute(attrStep, x) }

// Unset removes the attribute with this name: pmin, pmax, gt, lt or st.
func Unset(name string) Attribute { return Attribute{name} }

func periodAttribute(name string, d time.Duration) Attribute {
	return Attribute{name + "=" + strconv.FormatInt(int64(d/time.Second), 10)}
}

func numberAttribute(name string, x float64) Attribute {
	return Attribute{name + "=" + formatNumber(x)}
}

// formatNumber writes decimals, which the specification asks for, not exponents.
func formatNumber(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

// attributes are the attributes of one path, by name; periods are in seconds.
type attributes map[string]float64

// writeAttributes takes attributes; one without a value is removed.
func (c *Client) writeAttributes(p Path, query []string) (*Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := attributes{}
	maps.Copy(changed, c.attributes[p])
	for name, value := range queries(query) {
		if err := c.setAttribute(changed, p, name, value); err != nil {
			return nil, err
		}
	}
	if err := changed.check(); err != nil {
		return nil, err
	}
	c.attributes[p] = changed
	for _, w := range c.watches {
		if slices.ContainsFunc(w.paths, p.Contains) {
			w.reconsider()
		}
	}
	return &Message{Code: CodeChanged}, nil
}

func (c *Client) setAttribute(a attributes, p Path, name, value string) error {
	isPeriod := name == attrMinPeriod || name == attrMaxPeriod
	switch {
	case !isPeriod && name != attrGreater && name != attrLess && name != attrStep:
		return Errorf(CodeBadRequest, "the attribute %.20q is not supported", name)
	case value == "":
		delete(a, name)
		return nil
	case !isPeriod && !c.numeric(p):
		return Errorf(CodeBadRequest, "%s is for resources that are numbers", name)
	}
	parse := parseThreshold
	if isPeriod {
		parse = parsePeriod
	}
	x, err := parse(value)
	a[name] = x
	return err
}

func (c *Client) numeric(p Path) bool {
	switch c.model.kind(p) {
	case KindInteger, KindUnsigned, KindFloat, KindTime:
		return true
	}
	return false
}

func parsePeriod(value string) (float64, error) {
	seconds, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return 0, Errorf(CodeBadRequest, "%.20q is not a number of seconds", value)
	}
	return float64(seconds), nil
}

func parseThreshold(value string) (float64, error) {
	x, err := strconv.ParseFloat(value, 64)
	if err != nil || math.IsNaN(x) || math.IsInf(x, 0) || strings.ContainsAny(value, "xXpP_") {
		return 0, Errorf(CodeBadRequest, "%.20q is not a number", value)
	}
	return x, nil
}

// check refuses what contradicts itself (OMA LwM2M 1.1 section 5.1.2).
func (a attributes) check() error {
	less, hasLess := a[attrLess]
	greater, hasGreater := a[attrGreater]
	step, hasStep := a[attrStep]
	switch {
	case hasStep && step <= 0:
		return Errorf(CodeBadRequest, "st must be above 0")
	case hasLess && hasGreater && less+2*step >= greater:
		return Errorf(CodeBadRequest, "lt, with twice st, must be below gt")
	}
	return nil
}

// links gives the attributes as those of a link.
func (a attributes) links() map[string]string {
	m := make(map[string]string, len(a))
	for name, x := range a {
		m[name] = formatNumber(x)
	}
	return m
}

// effective are the attributes that hold for p: of each, that of the most
// specific level. The caller holds the lock.
func (c *Client) effective(p Path) attributes {
	all := attributes{}
	for depth := DepthObject; depth <= p.Depth(); depth++ {
		maps.Copy(all, c.attributes[p.Prefix(depth)])
	}
	return all
}

// periods of a watch: of several paths the shortest. A maximum of zero or below
// the minimum does not count.
func (c *Client) periods(paths []Path) (shortest, longest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, p := range paths {
		a := c.effective(p)
		low, high := a.period(attrMinPeriod, c.server.minPeriod), a.period(attrMaxPeriod, c.server.maxPeriod)
		if high < low {
			high = 0
		}
		if i == 0 || low < shortest {
			shortest = low
		}
		if longest == 0 || high > 0 && high < longest {
			longest = high
		}
	}
	return shortest, longest
}

// period is that of the name, or the one that the server wants of all.
func (a attributes) period(name string, usual time.Duration) time.Duration {
	if seconds, given := a[name]; given {
		return time.Duration(seconds) * time.Second
	}
	return usual
}

// conditional tells whether not every change is worth a notification.
func (a attributes) conditional() bool {
	for _, name := range []string{attrGreater, attrLess, attrStep} {
		if _, ok := a[name]; ok {
			return true
		}
	}
	return false
}

// worth tells whether the step from the last notified value to the present one
// is worth a notification.
func (a attributes) worth(last, now Value) bool {
	if !a.conditional() {
		return last != now
	}
	before, after := number(last), number(now)
	if x, ok := a[attrGreater]; ok && (before > x) != (after > x) {
		return true
	}
	if x, ok := a[attrLess]; ok && (before < x) != (after < x) {
		return true
	}
	step, ok := a[attrStep]
	return ok && math.Abs(after-before) >= step
}

func number(v Value) float64 {
	if v.Kind() == KindTime {
		return float64(int64(v.bits))
	}
	return v.Float()
}
