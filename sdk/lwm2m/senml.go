package lwm2m

import (
	"errors"
	"math"
	"strings"
	"time"
)

// SenML (RFC 8428) as LwM2M uses it (OMA LwM2M 1.1 sections 7.4.4 and 7.4.5): a
// list of entries whose base name plus name is a path. JSON and CBOR differ only
// in how an entry is written.

type senmlEntry struct {
	baseName, name string
	baseTime, time float64 // seconds
	value          Value   // KindNone if the entry has none
}

// senmlRelative is the bound below which times are relative to now (RFC 8428
// section 4.5.3).
const senmlRelative = 1 << 28

// Times are those of the years 1 to 9999, which RFC 3339 and JSON can say.
const (
	firstSecond = -62135596800
	lastSecond  = 253402300799
)

// senmlVersion is that of RFC 8428; what a newer one means nobody knows.
const senmlVersion = 10

var errSenMLVersion = errors.New("this version of SenML is not known")

// errSenMLMust is what RFC 8428 section 4.4 has a reader refuse.
var errSenMLMust = errors.New("a field whose name ends in _ has to be understood, and is not")

// senmlEntries writes records relative to base. SenML cannot say times near 1970, which
// are those of clocks that have not been set, and JSON none of other years than 1 to 9999:
// such a value is one of now.
func senmlEntries(base Path, records []Record) []senmlEntry {
	prefix := base.String()
	if single := len(records) == 1 && records[0].Path == base; !single && base.Depth() > 0 {
		prefix += "/"
	}
	entries := make([]senmlEntry, 0, len(records))
	for _, r := range records {
		e := senmlEntry{name: strings.TrimPrefix(r.Path.String(), prefix), value: r.Value}
		if at := float64(r.Time.UnixMilli()) / 1000; !r.Time.IsZero() && math.Abs(at) >= senmlRelative && at >= firstSecond && at < lastSecond+1 {
			e.time = at
		}
		entries = append(entries, e)
	}
	if len(entries) > 0 {
		entries[0].baseName = prefix
	}
	return entries
}

// senmlRecords resolves base names and base times.
func senmlRecords(entries []senmlEntry, model Model) ([]Record, error) {
	var baseName string
	var baseTime float64
	records := make([]Record, 0, len(entries))
	for _, e := range entries {
		if e.baseName != "" {
			baseName = e.baseName
		}
		if e.baseTime != 0 {
			baseTime = e.baseTime
		}
		p, err := ParsePath(baseName + e.name)
		if err != nil {
			return nil, err
		}
		if e.value.Kind() == KindNone {
			return nil, errors.New("an entry has no value")
		}
		v, err := e.value.Convert(model.kind(p))
		if err != nil {
			return nil, err
		}
		at, err := senmlTime(baseTime + e.time)
		if err != nil {
			return nil, err
		}
		records = append(records, Record{Path: p, Value: v, Time: at})
	}
	return records, nil
}

func senmlTime(seconds float64) (time.Time, error) {
	switch {
	case seconds == 0:
		return time.Time{}, nil
	case math.IsNaN(seconds) || seconds < firstSecond || math.Round(1000*seconds) >= 1000*(lastSecond+1):
		return time.Time{}, errors.New("a time is out of range")
	case math.Abs(seconds) < senmlRelative:
		return time.Now().Add(time.Duration(seconds * float64(time.Second))).UTC(), nil
	}
	return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC(), nil
}
