package lwm2m

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	m, versions := make(Model, len(l.definitions)), r.versions()
	for id := range l.definitions {
		m[id], _ = l.Definition(id, cmp.Or(versions[id], "1.0"))
	}
	return m
}

// maxModels bounds the combinations of versions that are kept; others are made anew.
const maxModels = 256

// models gives registrations their models; those with the same versions share one.
type models struct {
	library *Library
	mu      sync.Mutex
	known   map[string]Model
}

func (m *models) of(r Registration) Model {
	var key strings.Builder
	versions := r.versions()
	for _, id := range slices.Sorted(maps.Keys(versions)) {
		if d, ok := m.library.Definition(id, versions[id]); ok {
			fmt.Fprintf(&key, "%d:%s ", id, d.version())
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	known, ok := m.known[key.String()]
	if !ok {
		known = m.library.Model(r)
		if len(m.known) < maxModels {
			m.known[key.String()] = known
		}
	}
	return known
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
