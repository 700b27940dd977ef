package lwm2m

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Library has the definitions of objects in several versions. A device says which
// version of an object it has; [Library.Model] picks those. The zero Library is
// empty and ready; it is not safe to change while it is used.
type Library struct {
	definitions map[uint16][]Definition // by rising version
}

// Add adds definitions; one of the same object and version is replaced.
func (l *Library) Add(definitions ...Definition) {
	if l.definitions == nil {
		l.definitions = map[uint16][]Definition{}
	}
	for _, d := range definitions {
		list := slices.DeleteFunc(l.definitions[d.ID], func(e Definition) bool { return compareVersions(e.version(), d.version()) == 0 })
		list = append(list, d)
		slices.SortFunc(list, func(a, b Definition) int { return compareVersions(a.version(), b.version()) })
		l.definitions[d.ID] = list
	}
}

// Definition finds an object's definition. If the version is not there, or "",
// it gives the latest one: versions of an object differ mostly in what was added.
func (l *Library) Definition(id uint16, version string) (Definition, bool) {
	list := l.definitions[id]
	if len(list) == 0 {
		return Definition{}, false
	}
	i := slices.IndexFunc(list, func(d Definition) bool { return version != "" && compareVersions(d.version(), version) == 0 })
	if i < 0 {
		i = len(list) - 1
	}
	return list[i], true
}

// Model has each object in the version that the registration names.
func (l *Library) Model(r Registration) Model {
	m := make(Model, len(l.definitions))
	for id := range l.definitions {
		m[id], _ = l.Definition(id, r.ObjectVersion(id))
	}
	return m
}

// compareVersions compares "1.2" and "1.10" by their numbers.
func compareVersions(a, b string) int {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		if c := cmp.Compare(versionPart(x, i), versionPart(y, i)); c != 0 {
			return c
		}
	}
	return 0
}

func versionPart(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, _ := strconv.Atoi(parts[i]) // what is no number counts as 0
	return n
}
